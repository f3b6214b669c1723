"""What every package uses: errors and checks, files written whole, signals, progress, shared command-line code."""
