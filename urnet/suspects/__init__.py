"""From a folder of photographs to a list of what is wrong in it: features, evidence, duplicates, verdicts."""
