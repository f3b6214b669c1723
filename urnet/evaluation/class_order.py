"""Whether prediction files, and a file of names, mean the same class by the same number, by the names they have."""

from __future__ import annotations

from collections.abc import Sequence

from urnet.data.lists.class_names import check_order, read_class_file
from urnet.evaluation.prediction_reader import CLASSES, read_names

LOOKS = 20_000  # rows of a file whose names are looked at


def agreed_names(files: Sequence[str], given: str | None, n_classes: int | None) -> list[str]:
    """The names (C,) in the file ``given`` (--class_names), [] without one.

    Raises InputError where a name is one class's there, or in a prediction file, and another class's in another one:
    networks that were trained on classes in another order must not be scored or combined as if it were the same.
    """
    names = None if given is None else read_class_file(given, n_classes)
    width = n_classes or (CLASSES if names is None else len(names.names))
    first: tuple[str, list[str]] | None = None
    for file in files:
        own = read_names(file, width, LOOKS)
        if not own:
            continue
        if names is not None:
            names.check_order(own, file)
        if first is not None:
            seen = [name if known else "" for name, known in zip(own, first[1], strict=True)]
            check_order(seen, first[1], [file] * width, first[0])
        first = first or (file, own)
    return [] if names is None else names.names
