"""Ensembles: images a second of each method, files to file, compared with a plain sum of the same files.

The members are generated: somewhat right probabilities of --classes classes, the --topk best of each image in a file.
The limit reads the files' classes and scores and adds them up, checks nothing, and chooses and writes nothing.
Seconds are those of the processor, of one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tools import ensemble
from tools.speed.figures import Figure
from tools.speed.timing import Work, per_second, take_turns
from urnet.core.cli import number
from urnet.core.top_k import topk
from urnet.evaluation.ensemble import METHODS, block_rows
from urnet.evaluation.prediction_writer import open_predictions

LIMIT = "plain sum of the files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    for name, default, text in (
        ("members", 20, "prediction files"),
        ("images", 6144, "images in each"),
        ("topk", 100, "classes per image in each"),
        ("classes", 5000, "classes"),
        ("rounds", 3, "turns of each method; medians count"),
    ):
        parser.add_argument(f"--{name}", type=number(int, 1), default=default, help=f"{text} [{default}]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Images a second of every method, and of one with accuracies."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_members(root, args)
        flags = ["--members", *map(str, sorted(root.glob("[0-9]*.arrow"))), "--topk", str(min(5, args.topk))]
        works: dict[str, Work] = {}
        for method in METHODS:
            more = ["--weights", *["1"] * args.members] if method == "weighted" else []
            more += ["--votes", str(args.topk)] if method.startswith("vote") else []
            works[method] = seconds_of(ensemble.main, [*flags, "--out", f"{root}/out.arrow", "--method", method, *more])
        works["mean with --list"] = seconds_of(ensemble.main, [*flags, "--list", f"{root}/list.txt"])
        limits = {LIMIT: seconds_of(plain_sum, root, args.classes)}
        seconds = take_turns(works, args.rounds, limits)
    limit = per_second(args.images, seconds.pop(LIMIT))
    size = f"{args.members} members, top-{args.topk} of {args.classes:,}"
    return [
        Figure(f"ensemble: {name}, {size}", per_second(args.images, taken), "images/s", limit, LIMIT)
        for name, taken in seconds.items()
    ]


def make_members(root: Path, args: argparse.Namespace) -> None:
    """The members' files and their list."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, args.classes, args.images)
    names = [f"val/{i:06d}.jpg" for i in range(args.images)]
    (root / "list.txt").write_text("".join(f"{name} {label}\n" for name, label in zip(names, labels, strict=True)))
    for member in range(args.members):
        with open_predictions(root / f"{member:03d}.arrow", n_classes=args.classes) as file:
            assert file is not None
            for start in range(0, args.images, 1024):
                own = labels[start : start + 1024]
                logits = 2 * rng.standard_normal((len(own), args.classes), np.float32)
                logits[np.arange(len(own)), own] += 4
                p = np.exp(logits)
                rows = pa.array(names[start : start + 1024]), *topk(p / p.sum(axis=1, keepdims=True), args.topk)
                file.write_rows(*rows, [""] * len(own))


def seconds_of(function: Callable[..., object], *arguments: object) -> Work:
    """The work of a call, in the processor's seconds; what it prints goes nowhere."""

    def work() -> float:
        with contextlib.ExitStack() as stack:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
                stack.enter_context(redirect(nowhere))
            start = time.process_time()
            function(*arguments)
            return time.process_time() - start

    return work


def plain_sum(root: Path, n_classes: int) -> float:
    """The largest sum of scores, by nothing but reading and adding."""
    files = [pa.ipc.open_file(pa.OSFile(str(file))) for file in sorted(root.glob("[0-9]*.arrow"))]
    most, size = 0.0, block_rows(n_classes)
    for i in range(files[0].num_record_batches):
        columns = [
            [batch.column(name).flatten().to_numpy().reshape(len(batch), -1) for name in ("classes", "scores")]
            for batch in (file.get_batch(i) for file in files)
        ]
        for start in range(0, len(columns[0][0]), size):
            rows = slice(start, start + size)
            places = n_classes * np.arange(len(columns[0][0][rows]))[:, None]
            totals = np.zeros(len(places) * n_classes)
            for classes, scores in columns:
                totals[places + classes[rows]] += scores[rows]
            most = max(most, float(totals.max()))
    return most
