"""Which rows make a batch: epochs, bags of one class, curricula."""
