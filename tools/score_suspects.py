"""How good a list of suspects is, where the truth is known: figures of tools/suspects.py on data with planted faults.

    python tools/score_suspects.py suspects.csv --truth truth.csv

The truth is for scoring only. docs/suspects.md has the figures that were measured with it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from urnet.core import cli
from urnet.core.checks import InputError

EPILOG = """\
The truth is a CSV file with the columns path and truth: a class, off_topic, or broken (left out of everything but
"unreadable"). It may also have duplicate_of and leak_of: the path of the picture that shows the same as this row.

With --features and --root, the features and the folder of tools/suspects.py, the same evidence is computed for each of
--seeds, and cleanlab's for each of --strengths on the same features and folds: logistic regression, self-confidence
and normalised margin.

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""
OFF_TOPIC, BROKEN = "off_topic", "broken"
FOLDS = 10  # of label_quality


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/score_suspects.py",
        description="Score a list of suspects against the truth.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("suspects", metavar="FILE.csv", help="the list that tools/suspects.py wrote, with all pictures")
    add("--truth", required=True, metavar="FILE.csv", help="CSV file that says what the pictures really show")
    add(
        "--features",
        metavar="FILE",
        help="the file of features that it kept: also score cleanlab on them (extra `benchmark`)",
    )
    add("--root", metavar="DIR", help="with --features: the folder of the pictures")
    add("--seeds", default="0,1,2", metavar="N,N", help="with --features: seeds of the folds [0,1,2]")
    add("--strengths", default="0.03,0.01,0.006,0.003,0.001", metavar="C,C", help="with --features: cleanlab's C")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Read, score, print."""
    args = parser().parse_args(argv)
    if (args.features is None) != (args.root is None):
        raise InputError("--features and --root: found one without the other; cleanlab's figures need both")
    found = read_rows(args.suspects, ("path", "given", "suggested", "label_quality", "verdict", "group", "in_classes"))
    truth = {row["path"]: row for row in read_rows(args.truth, ("path", "truth"))}
    missing = truth.keys() - {row["path"] for row in found}
    strange = [row["path"] for row in found if row["path"] not in truth]
    if missing or strange:
        raise InputError(
            f"{args.suspects} and {args.truth}: {len(missing)} paths only in the truth, {len(strange)} only in the list"
            f" ({(sorted(missing) + strange)[0]}); the same pictures are needed"
        )
    for name, value in list_figures(found, truth):
        print(f"{name:34} {value}")
    if args.features is not None:
        for line in compared(args, found, truth):
            print(line, flush=True)


def list_figures(
    found: Sequence[Mapping[str, str]], truth: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """(name, value) of a list: how well it orders, suggests, and finds each kind of fault."""
    seen = [row for row in found if truth[row["path"]]["truth"] != BROKEN]
    given, suggested = (np.array([row[name] for row in seen]) for name in ("given", "suggested"))
    true = np.array([truth[row["path"]]["truth"] for row in seen])
    quality = np.array([float(row["label_quality"]) for row in seen])
    yield from _label_figures(given, true, suggested, quality, np.arange(len(seen)))
    off = true == OFF_TOPIC
    if off.any():
        inside = np.array([float(row["in_classes"] or 1) for row in seen])
        yield "off topic: AUC", f"{_auc(off, -inside):.4f}"
        yield _found("off topic", {i for i, row in enumerate(seen) if row["verdict"] == "off topic"}, set(_rows(off)))
    broken = {path for path, row in truth.items() if row["truth"] == BROKEN}
    yield _found("unreadable", {row["path"] for row in found if row["verdict"] == "unreadable"}, broken)
    if any(row.get("duplicate_of") for row in truth.values()):
        planted = {(path, row["duplicate_of"]) for path, row in truth.items() if row.get("duplicate_of")}
        yield _found(
            "near duplicates, pairs", _pairs({r["path"]: r["group"] for r in found if r["group"]}), _closed(planted)
        )
    if any(row.get("leak_of") for row in truth.values()):
        leaks = {path for path, row in truth.items() if row.get("leak_of")}
        yield _found("leaks", {row["path"] for row in found if row["verdict"] == "leak from validation"}, leaks)


def _label_figures(
    given: np.ndarray, true: np.ndarray, suggested: np.ndarray, quality: np.ndarray, order: np.ndarray
) -> Iterator[tuple[str, str]]:
    bad, off = given != true, true == OFF_TOPIC
    wrong = bad & ~off
    yield "wrong or off topic: AUC", f"{_auc(bad, -quality):.4f} ({bad.sum()} of {len(bad)})"
    for n in (100, 300):
        if n <= len(bad):
            yield f"precision at {n}", f"{bad[order[:n]].mean():.4f}"
    if wrong.any():
        yield "right suggestions of the wrong", f"{np.mean(suggested[wrong] == true[wrong]):.4f}"


def compared(
    args: argparse.Namespace, found: Sequence[Mapping[str, str]], truth: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Lines: ours and cleanlab's figures on the kept features, for each seed of the folds."""
    seen = sorted((r for r in found if truth[r["path"]]["truth"] != BROKEN), key=lambda row: row["path"])
    features = kept_features(Path(args.features), [Path(args.root) / row["path"] for row in seen])
    if importlib.util.find_spec("cleanlab") is None:
        raise InputError("cleanlab is not installed; pip install -e '.[benchmark]' brings it")
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    from urnet.reweight.evidence.folds import fold_of_rows, hashes_and_mean, joined
    from urnet.reweight.label_quality import label_quality

    names = sorted({row["given"] for row in seen})
    labels = np.array([names.index(row["given"]) for row in seen])
    given, true = np.array(names)[labels], np.array([truth[row["path"]]["truth"] for row in seen])
    groups = np.array([int(row["group"] or -1) for row in seen])

    def line(name: str, seed: int, quality: np.ndarray, best: np.ndarray) -> str:
        figures = _label_figures(given, true, np.array(names)[best], quality, np.argsort(quality, kind="stable"))
        return f"{name:34} seed {seed}: " + ", ".join(value.partition(" ")[0] for _, value in figures)

    yield "AUC, precision at 100, at 300, right suggestions:"
    for seed in map(int, args.seeds.split(",")):
        ours = label_quality(features, labels, len(names), groups=groups, folds=FOLDS, seed=seed)
        yield line("label_quality", seed, ours["label_quality"], ours["suggested"])
        fold = fold_of_rows(joined(hashes_and_mean(features, seed)[0], groups), labels, FOLDS)
        for strength in map(float, args.strengths.split(",")):
            model = LogisticRegression(C=strength, max_iter=1000)
            p = cross_val_predict(model, features, labels, cv=PredefinedSplit(fold), method="predict_proba")
            for method in ("self_confidence", "normalized_margin"):
                score = get_label_quality_scores(labels, p, method=method)
                yield line(f"cleanlab {method} C={strength:g}", seed, score, p.argmax(axis=1))


def kept_features(path: Path, files: Sequence[Path]) -> np.ndarray:
    """(n, d) float32 features of the files, by their content."""
    from urnet.data.kept.kept_features import records_of

    records = records_of(path)
    place = {row.tobytes(): i for i, row in enumerate(records["about"]["content"])}
    rows = [place.get(hashlib.sha256(file.read_bytes()).digest(), -1) for file in files]
    if -1 in rows:
        raise InputError(f"{path}: has no features of {files[rows.index(-1)]}; run tools/suspects.py again")
    return records["features"][rows].astype(np.float32)


def read_rows(path: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file that has these columns."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            found, rows = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    lacking = [name for name in columns if name not in found]
    if lacking or not rows:
        what = f"has no column {lacking[0]}" if lacking else "has no rows"
        raise InputError(f"{path}: {what}; CSV with a header of {', '.join(columns)} is accepted")
    return rows


def _auc(bad: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(bad, score)) if bad.any() and not bad.all() else float("nan")


def _rows(mask: np.ndarray) -> list[int]:
    return [int(row) for row in np.flatnonzero(mask)]


def _found(name: str, said: set, there: set) -> tuple[str, str]:
    right = len(said & there)
    recall = f"{right / len(there):.4f}" if there else "-"
    precision = f"{right / len(said):.4f}" if said else "-"
    return name, f"recall {recall} ({right} of {len(there)}), precision {precision} ({len(said)} said)"


def _pairs(group_of: Mapping[str, str]) -> set[tuple[str, str]]:
    """The unordered pairs of paths in one group."""
    members: dict[str, list[str]] = {}
    for path, group in group_of.items():
        members.setdefault(group, []).append(path)
    return {(a, b) for paths in members.values() for a in paths for b in paths if a < b}


def _closed(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs of what hangs together by ``pairs``: two copies of one picture are copies of each other."""
    group_of: dict[str, str] = {}
    for a, b in sorted(pairs):
        one, other = group_of.setdefault(a, a), group_of.setdefault(b, b)
        group_of = {path: one if group == other else group for path, group in group_of.items()}
    return _pairs(group_of)


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv[1:]))
