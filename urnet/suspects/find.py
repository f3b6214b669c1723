"""From labelled pictures to what is wrong with each: features, groups, leaks, evidence about the label, verdict."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.core.checks import InputError
from urnet.data.decisions.matching import NONE as NO_CLASS
from urnet.data.decisions.matching import Matcher, matched
from urnet.data.decisions.reader import read_decisions
from urnet.data.decisions.records import Decisions
from urnet.report.photos import Photos
from urnet.report.suspects import UNKNOWN, VERDICTS, Evidence, in_order, write_csv
from urnet.reweight.evidence.decided import CERTAIN, NONE
from urnet.reweight.label_quality import label_quality
from urnet.reweight.near_duplicates import leaks, near_duplicates
from urnet.reweight.worth_asking import worth_asking
from urnet.suspects.extract import Extracted, Work, extracted
from urnet.suspects.network import FeatureNetwork
from urnet.suspects.verdicts import Findings, verdicts

SOURCE = "how likely the picture shows its label, times how likely it shows any of the classes"
MANY = 20_000  # pictures from which on the matrices are large enough for several threads
LEAK = VERDICTS.index("leak from validation")


@dataclass(frozen=True)
class Suspects:
    """What was found in ``photos``: ``evidence`` of each, ``reasons`` of the unreadable ones (row -> why).

    ``computed``: so many of all pictures, validation included, went through the network; the others were kept.
    ``asked``: the rows that are worth a person's look most, in this order, where ``find_suspects`` was to find them.
    """

    photos: Photos
    evidence: Evidence
    reasons: dict[int, str]
    computed: int
    asked: np.ndarray | None = None

    def rows(self, n: int | None = None) -> np.ndarray:
        """The first ``n`` pictures (None: all) in the list's order: the most suspect first."""
        return in_order(self.evidence, paths=self.photos.paths)[:n]

    def write_csv(self, path: str | Path, n: int | None = None, *, excel: bool = False) -> int:
        """Write ``rows(n)`` as the list of docs/suspects.md and return their number; an existing file is replaced."""
        rows = self.rows(n)
        write_csv(Path(path), self.photos, self.evidence, rows, excel=excel)
        return len(rows)

    def write_asked(self, path: str | Path, *, excel: bool = False) -> int:
        """Write the rows ``asked`` as a list of the same columns and return their number; see ``write_csv``."""
        if self.asked is None:
            raise InputError("asked: is None; find_suspects(…, ask=N) finds the rows")
        write_csv(Path(path), self.photos, self.evidence, self.asked, excel=excel)
        return len(self.asked)

    def counts(self) -> dict[str, int]:
        """How many pictures each verdict has."""
        return self.evidence.counts()


def find_suspects(
    photos: Photos,
    network: FeatureNetwork,
    *,
    validation: Photos | None = None,
    decisions: Decisions | str | Path | None = None,
    work: Work | None = None,
    seed: int = 0,
    ask: int = 0,
) -> Suspects:
    """Judge every picture's label without training the network, and without a validation set (docs/suspects.md).

    ``photos``: labelled pictures (``read_photos``, or your own); ``network``: whose features they are judged by
    (``feature_network``); ``validation``: pictures that must not be among them, their labels are not looked at;
    ``decisions``: what a person decided about some of them, a decisions.csv or what ``read_decisions`` gives; those
    labels are certain and help to judge the others, and what shows none of the classes is out. The result's photos
    have the decided labels, its evidence the ``given`` ones.
    ``work``: how features are computed and where they are kept; ``seed``: of the folds; ``ask``: how many rows
    ``asked`` has at most (``worth_asking``): never one that is unreadable, a leak or in the decisions, and one of each
    group. The same arguments give the same result.
    Raises InputError where none of the pictures can be read.
    """
    if not len(photos.labels):
        raise InputError("photos: has no picture; one or more are accepted")
    decided, seen, given = None, np.zeros(len(photos.labels), bool), photos.labels
    if decisions is not None:
        photos, decided, seen = _decided(photos, decisions)
    n, no_validation = len(photos.labels), Photos([], np.zeros(0, np.int32), [])
    others = validation or no_validation
    files = [*photos.files(np.arange(n)), *others.files(np.arange(len(others.labels)))]
    with extracted(files, network, work or Work()) as all_of, _threads_that_pay(n):
        own, val = _part(all_of, 0, n), _part(all_of, n, len(files))
        if (work or Work()).show:
            with_val = f" and with {len(others.labels):,} of validation" if validation is not None else ""
            print(f"comparing {n:,} pictures with each other{with_val} …", file=sys.stderr, flush=True)
        group = near_duplicates(own.features, own.hashes, thumbnails=own.thumbnails)
        leak = np.full(n, -1, np.int32)
        if validation is not None:
            _note_unreadable(validation, val.unreadable)
            leak = leaks(
                own.features,
                own.hashes,
                val.features,
                val.hashes,
                thumbnails=own.thumbnails,
                val_thumbnails=val.thumbnails,
            )
        evidence, found = _evidence(photos, others, own, (group, leak), seed, decided)
        asked = _asked(photos, own, evidence, found, seen, n=ask, decided=decided, seed=seed) if ask else None
    if decided is not None:
        evidence = replace(evidence, given=given, decided=decided)
    if validation is not None:
        photos = replace(photos, val_root=validation.root)
    return Suspects(photos, evidence, own.unreadable, all_of.computed, asked)


def _threads_that_pay(n: int) -> AbstractContextManager[Any]:
    """One thread for matrices of few rows: two take as long on two cores, and much longer beside other programs."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1 if n < MANY else None)


def _note_unreadable(validation: Photos, reasons: dict[int, str]) -> None:
    if reasons:
        row = min(reasons)
        (first,) = validation.path_texts(np.array([row])).to_pylist()
        print(
            f"note: {validation.root}: {len(reasons)} of {len(validation.labels)} validation pictures cannot be "
            f"read, so their leaks are not found; the first: {first}: {reasons[row]}",
            file=sys.stderr,
        )


def _part(of: Extracted, begin: int, end: int) -> Extracted:
    """Rows ``begin`` to ``end``; arrays are views."""
    part = slice(begin, end)
    unreadable = {row - begin: reason for row, reason in of.unreadable.items() if begin <= row < end}
    thumbnails = of.thumbnails.part(part)
    return Extracted(of.features[part], of.hashes[part], of.pixels[part], thumbnails, unreadable, of.computed)


def _decided(photos: Photos, decisions: Decisions | str | Path) -> tuple[Photos, np.ndarray, np.ndarray]:
    """The photos with the decided labels; int8 (n,), what was decided: ``label_quality``'s ``decided``; and bool (n,),
    which were looked at, skipped ones too.
    """
    found = decisions if isinstance(decisions, Decisions) else read_decisions(decisions)
    rows, labels = matched(found, photos.paths, photos.labels, photos.class_names, Path(photos.root))
    decided, new = np.zeros(len(photos.labels), np.int8), photos.labels.copy()
    decided[rows] = np.where(labels == NO_CLASS, NONE, CERTAIN)
    new[rows] = np.where(labels == NO_CLASS, photos.labels[rows], labels)
    seen = Matcher(found, Path(photos.root), photos.class_names).find(photos.paths.cast(pa.string())) >= 0
    return replace(photos, labels=new), decided, seen


def _evidence(
    photos: Photos,
    validation: Photos,
    own: Extracted,
    same: tuple[np.ndarray, np.ndarray],
    seed: int,
    decided: np.ndarray | None,
) -> tuple[Evidence, dict[str, np.ndarray]]:
    """What the list has of each row, and what ``label_quality`` found."""
    good, (group, leak), n_classes = own.readable, same, len(photos.class_names)
    found = label_quality(
        own.features, photos.labels, n_classes, groups=group, readable=good, decided=decided, seed=seed
    )
    if decided is not None:
        found["suggested"] = np.where(decided == NONE, -1, found["suggested"])
        found["suggested_prob"] = np.where(decided == NONE, np.float32(np.nan), found["suggested_prob"])
    findings = Findings(
        labels=photos.labels,
        readable=good,
        suggested=found["suggested"],
        given_prob=found["relevance"],
        suggested_prob=found["suggested_prob"],
        label_quality=found["label_quality"],
        in_classes=found["in_classes"],
        group=group,
        leak=leak,
        pixels=own.pixels,
        certain=None if decided is None else decided == CERTAIN,
    )
    verdict, same_as = verdicts(findings)
    unknown = np.float32(np.nan)
    evidence = Evidence(
        suggested=np.where(good, found["suggested"], -1).astype(np.int32),
        label_quality=np.where(good, found["label_quality"], np.float32(UNKNOWN)),
        verdict=verdict,
        suggested_prob=np.where(good, found["suggested_prob"], unknown),
        group=group,
        in_classes=np.where(good, found["in_classes"], unknown),
        same_as=_paths_of(photos, validation, same_as, np.where(verdict == LEAK, leak, -1)),
        source=SOURCE,
    )
    return evidence, found


def _asked(
    photos: Photos, own: Extracted, evidence: Evidence, found: dict[str, np.ndarray], seen: np.ndarray, **settings: Any
) -> np.ndarray:
    """The rows to ask a person about, by ``worth_asking``; of copies under one label the one to keep."""
    ask = ~(evidence.is_of("leak from validation") | evidence.is_of("near duplicate") | seen)
    settings |= {"groups": evidence.group, "readable": own.readable, "ask": ask}
    return worth_asking(own.features, photos.labels, len(photos.class_names), found, **settings)


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
