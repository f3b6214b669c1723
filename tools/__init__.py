"""Commands: one per file or a folder, run as `python -m tools.NAME` or `python tools/NAME.py`."""
