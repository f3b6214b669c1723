"""One stage of training: the trainer, its step, objective and log."""
