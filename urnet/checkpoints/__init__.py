"""Weights in and out: safetensors, .pdparams, the 2018 release's files."""
