"""Evaluates predictions: accuracy, calibration, ensembles of several networks, prediction files."""
