"""Speed: each figure with its limit on the same machine in the same run."""
