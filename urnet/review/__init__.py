"""A local page on which a person looks at suspects and decides: ``tools/review.py``, docs/review.md."""
