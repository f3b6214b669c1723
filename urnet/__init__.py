"""URNet: train image classifiers from web data by reweighting its instances.

The rooms of this package are numbered by level, and imports go down only (tests/test_imports.py):
0 tables, recipes, checks; 1 list reading, reweighting, metrics; 2 images, samplers, losses, checkpoints;
3 trainer, predictor, evaluation; 4 stages. Networks live outside, in ``models``, and arrive as arguments.
"""

__version__ = "0.1.0"
