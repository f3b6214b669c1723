"""What every package uses: errors and checks, files written whole, signals, progress, the frame of a command line."""
