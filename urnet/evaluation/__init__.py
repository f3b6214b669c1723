"""Predictions judged: accuracy, calibration, ensembles, prediction files."""
