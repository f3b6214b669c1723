"""What each stage adds, beside plain training, the baselines and right labels: the benchmark."""
