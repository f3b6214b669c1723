"""Predictors, inference programs, and the flags of infer.py and eval.py."""
