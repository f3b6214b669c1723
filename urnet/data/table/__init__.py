"""The table of training rows: a folder of memory-mapped Arrow files."""
