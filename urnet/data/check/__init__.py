"""What is found out about a data set before anything is trained: tools/check.py."""
