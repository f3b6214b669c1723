"""Everything here that only a GPU can show, run once on one: ``sh tools/gpu_check.sh``."""
