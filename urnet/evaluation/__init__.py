"""What predictions are worth: accuracy, calibration, ensembles of several networks, prediction files."""
