"""Methods of other systems to compare with, behind the same interfaces as the reweightings."""
