"""What rival systems compute from arrays, behind the same interfaces as the reweightings."""
