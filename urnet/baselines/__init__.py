"""Level 1: what rival systems compute from arrays, behind the same interfaces as the reweightings."""
