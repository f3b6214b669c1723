"""Features and probabilities of the training images, kept in shards."""
