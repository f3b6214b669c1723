"""Level 3: URNet: train image classifiers from web data by reweighting its instances.

The rooms of this package are numbered by level, and imports go down only (tests/test_imports.py):
0 tables, recipes, checks; 1 list reading, reweighting, metrics; 2 images, samplers, losses, checkpoints;
3 trainer, predictor, evaluation; 4 stages. Networks live outside, in ``models``, and arrive as arguments.

The names in ``__all__`` are what scripts use (docs/library.md). They come from ``urnet.library`` when first
asked for, so that ``import urnet`` itself imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "ImagePredictor",
    "InputError",
    "Measurement",
    "Table",
    "Top",
    "Transform",
    "class_ranks",
    "class_size",
    "cluster",
    "curriculum",
    "instance",
    "judge_labels",
    "label",
    "load_predictor",
    "most_suspect",
    "out_of_fold",
    "posterior",
    "relabel",
    "trusted",
]

if TYPE_CHECKING:
    from urnet.library import (
        ImagePredictor,
        InputError,
        Measurement,
        Table,
        Top,
        Transform,
        class_ranks,
        class_size,
        cluster,
        curriculum,
        instance,
        judge_labels,
        label,
        load_predictor,
        most_suspect,
        out_of_fold,
        posterior,
        relabel,
        trusted,
    )
else:  # hidden from type checkers, so that they know each name and no other

    def __getattr__(name: str) -> Any:
        """A name of ``__all__``, from ``urnet.library`` (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module 'urnet' has no attribute {name!r}")
        from urnet import library

        return getattr(library, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
