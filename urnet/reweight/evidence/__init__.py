"""What the reweightings are computed from: out-of-fold predictions, texts, search ranks, noise models."""
