"""One word about each picture, from all that is known about it; of several that fit the first one counts.

1. ``unreadable``: the file is not a picture that can be read.
2. ``leak from validation``: it shows the same as a validation picture.
3. ``off topic``: ``in_classes`` is below 0.5, so it is far from the pictures of every class.
4. ``duplicate under another label``: a picture that shows the same has another label. Both have the verdict, but for
   one whose label a person decided.
5. ``wrong label``: another class is suggested, and is at least ``TIMES`` as probable as the given label (ours); never
   in a class of fewer than ``FEW`` different pictures, of which too little is known.
6. ``near duplicate``: a picture that shows the same has the same label, and is the one to keep: of a group the one with
   the most pixels, of equal ones the one with the better label, then the first.
7. ``fine``: none of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from urnet.report.suspects import VERDICTS

TIMES = 3.0  # how much more probable than the given label the suggested one must be: of the two 3 in 4
FEW = 5  # different pictures of a class from which a wrong label is told; of fewer every second one would be


@dataclass(frozen=True)
class Findings:
    """What is known of n pictures, (n,) each: ``labels`` int, ``readable`` bool; ``suggested`` int, -1 none;
    ``given_prob`` and ``suggested_prob`` of the two classes, ``label_quality`` and ``in_classes`` float in 0..1;
    ``group`` int, -1 alone; ``leak`` int, the validation picture that shows the same, -1 none; ``pixels`` int;
    ``certain`` bool, a person decided that the label is right.
    """

    labels: np.ndarray
    readable: np.ndarray
    suggested: np.ndarray
    given_prob: np.ndarray
    suggested_prob: np.ndarray
    label_quality: np.ndarray
    in_classes: np.ndarray
    group: np.ndarray
    leak: np.ndarray
    pixels: np.ndarray
    certain: np.ndarray | None = None


def verdicts(found: Findings) -> tuple[np.ndarray, np.ndarray]:
    """The verdict of each picture, int8 (n,), a place in ``VERDICTS``; and the row that it shows the same as, -1 none.

    Of a group the row to keep is named by the others; where labels differ, the best row of another label is.
    """
    same_as, other_label = _within_groups(found)
    suggests = (found.suggested >= 0) & (found.suggested != found.labels)
    different = np.bincount(found.labels[found.readable & (same_as < 0)], minlength=int(found.labels.max()) + 1)
    suggests &= different[found.labels] >= FEW
    rules = {  # the last one that fits is what is seen
        "near duplicate": same_as >= 0,
        "wrong label": suggests & (found.suggested_prob >= TIMES * found.given_prob),
        "duplicate under another label": other_label if found.certain is None else other_label & ~found.certain,
        "off topic": found.in_classes < 0.5,
        "leak from validation": found.leak >= 0,
        "unreadable": ~found.readable,
    }
    verdict = np.full(len(found.labels), VERDICTS.index("fine"), np.int8)
    for name, fits in rules.items():
        verdict[fits] = VERDICTS.index(name)
    return verdict, same_as


def _within_groups(found: Findings) -> tuple[np.ndarray, np.ndarray]:
    """The row that a row shows the same as, -1 for none and for the one to keep; and whose group has other labels."""
    rows = np.flatnonzero(found.group >= 0)
    best_first = np.lexsort((rows, -found.label_quality[rows], -found.pixels[rows], found.group[rows]))
    same_as = np.full(len(found.group), -1, np.int64)
    other_label = np.zeros(len(found.group), bool)
    for members in np.split(rows[best_first], np.flatnonzero(np.diff(found.group[rows][best_first])) + 1):
        if len(members) < 2:
            continue
        labels = found.labels[members]
        same_as[members[1:]] = members[0]
        if (labels != labels[0]).any():
            other_label[members] = True
            for row, label in zip(members.tolist(), labels.tolist(), strict=True):
                same_as[row] = members[labels != label][0]
    return same_as, other_label
