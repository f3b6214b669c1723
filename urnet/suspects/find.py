"""From labelled pictures to what is wrong with each: features, groups, leaks, evidence about the label, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from urnet.core.checks import InputError
from urnet.report.photos import Photos
from urnet.report.suspects import UNKNOWN, VERDICTS, Evidence
from urnet.reweight.label_quality import label_quality
from urnet.reweight.near_duplicates import leaks, near_duplicates
from urnet.reweight.off_topic import off_topic
from urnet.suspects.extract import Extracted, Work, extracted
from urnet.suspects.network import FeatureNetwork
from urnet.suspects.verdicts import Findings, verdicts

SOURCE = "P(given label) of a head that was not trained on the picture, times in_classes"


@dataclass(frozen=True)
class Suspects:
    """What was found in ``photos``: ``evidence`` of each, ``reasons`` of the unreadable ones (row -> why).

    ``computed``: so many of all pictures, validation included, went through the network; the others were kept.
    """

    photos: Photos
    evidence: Evidence
    reasons: dict[int, str]
    computed: int

    def counts(self) -> dict[str, int]:
        """How many pictures each verdict has."""
        return self.evidence.counts()


def find_suspects(
    photos: Photos,
    network: FeatureNetwork,
    *,
    validation: Photos | None = None,
    work: Work | None = None,
    seed: int = 0,
) -> Suspects:
    """Judge every picture's label without training the network, and without a validation set (docs/suspects.md).

    ``photos``: labelled pictures (``read_photos``, or your own); ``network``: whose features they are judged by
    (``network_of``); ``validation``: pictures that must not be among them, their labels are not looked at; ``work``:
    how features are computed and where they are kept; ``seed``: of the folds. The same arguments give the same result.
    Raises InputError where none of the pictures can be read.
    """
    if not len(photos.labels):
        raise InputError("photos: has no picture; one or more are accepted")
    n, no_validation = len(photos.labels), Photos([], np.zeros(0, np.int32), [])
    others = validation or no_validation
    files = [*photos.files(np.arange(n)), *others.files(np.arange(len(others.labels)))]
    with extracted(files, network, work or Work()) as all_of:
        own, val = _part(all_of, 0, n), _part(all_of, n, len(files))
        group = near_duplicates(own.features, own.hashes, thumbnails=own.thumbnails)
        leak = np.full(n, -1, np.int32)
        if validation is not None:
            leak = leaks(
                own.features,
                own.hashes,
                val.features,
                val.hashes,
                thumbnails=own.thumbnails,
                val_thumbnails=val.thumbnails,
            )
    evidence = _evidence(photos, others, own, group, leak, seed)
    if validation is not None:
        photos = replace(photos, val_root=validation.root)
    return Suspects(photos, evidence, own.unreadable, all_of.computed)


def _part(of: Extracted, begin: int, end: int) -> Extracted:
    """Rows ``begin`` to ``end``; arrays are views."""
    part = slice(begin, end)
    unreadable = {row - begin: reason for row, reason in of.unreadable.items() if begin <= row < end}
    thumbnails = of.thumbnails.part(part)
    return Extracted(of.features[part], of.hashes[part], of.pixels[part], thumbnails, unreadable, of.computed)


def _evidence(
    photos: Photos, validation: Photos, own: Extracted, group: np.ndarray, leak: np.ndarray, seed: int
) -> Evidence:
    good = own.readable
    labels, n_classes = photos.labels[good], len(photos.class_names)
    features = own.features if good.all() else own.features[good]
    judged = _judged(features, labels, n_classes, group[good], seed)
    full = {name: _spread(values, good) for name, values in judged.items()}
    quality = np.where(good, full["label_quality"], np.float32(UNKNOWN)).astype(np.float32)
    suggested = np.where(good, full["suggested"], -1).astype(np.int32)
    findings = Findings(
        photos.labels,
        good,
        suggested,
        full["given_prob"],
        full["suggested_prob"],
        quality,
        np.where(good, full["in_classes"], np.float32(1)),
        group,
        leak,
        own.pixels,
    )
    verdict, same_as = verdicts(findings)
    return Evidence(
        suggested=suggested,
        label_quality=quality,
        verdict=verdict,
        suggested_prob=np.where(good, full["suggested_prob"], np.float32(np.nan)),
        group=group,
        in_classes=np.where(good, full["in_classes"], np.float32(np.nan)),
        same_as=_paths_of(photos, validation, same_as, np.where(verdict == LEAK, leak, -1)),
        source=SOURCE,
    )


LEAK = VERDICTS.index("leak from validation")


def _judged(
    features: np.ndarray, labels: np.ndarray, n_classes: int, group: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Evidence about the labels of readable pictures, (m,) arrays."""
    topic = off_topic(features, labels=labels, groups=group, seed=seed)
    if len(np.unique(labels)) < 2:  # nothing else could be suggested
        one = np.ones(len(labels), np.float32)
        return {
            "suggested": labels,
            "suggested_prob": one,
            "given_prob": one,
            "label_quality": topic["in_classes"],
            "in_classes": topic["in_classes"],
        }
    found = label_quality(features, labels, n_classes, shrinkage="auto", seed=seed)
    return {
        "suggested": found["suggested"],
        "suggested_prob": found["suggested_prob"],
        "given_prob": found["relevance"],
        "label_quality": found["relevance"] * topic["in_classes"],
        "in_classes": topic["in_classes"],
    }


def _spread(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Values of the readable rows at their places among all; 0 elsewhere."""
    if good.all():
        return values
    full = np.zeros(len(good), values.dtype)
    full[good] = values
    return full


def _paths_of(photos: Photos, validation: Photos, same_as: np.ndarray, leak: np.ndarray) -> Sequence[str]:
    """The path of the picture that each row shows the same as, a validation picture's in its own folder."""
    texts = [""] * len(same_as)
    rows = np.flatnonzero((same_as >= 0) & (leak < 0))
    for row, path in zip(rows.tolist(), photos.path_texts(same_as[rows]).to_pylist(), strict=True):
        texts[row] = path
    rows = np.flatnonzero(leak >= 0)
    for row, path in zip(rows.tolist(), validation.path_texts(leak[rows]).to_pylist(), strict=True):
        texts[row] = path
    return texts
