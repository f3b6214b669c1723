"""The benchmark: what each stage adds, compared with plain training, the baselines and right labels."""
