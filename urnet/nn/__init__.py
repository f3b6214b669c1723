"""Parts of a training step that know tensors: losses, moving averages, optimiser, schedule."""
