"""tools/suspects.py's features from JPEG files, compared with its bare engine, and a second call.

The bare engine is the same program on one prepared batch, measured before and after. The second call finds the features
in their file and reads the pictures only to see that they are the same.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np

import models
from tools.speed.figures import Figure
from tools.speed.photographs import write_photographs
from tools.speed.timing import per_second, take_turns, timed
from urnet.core import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    add, count = parser.add_argument, cli.number(int, 1)
    add("--model", default="EfficientNetLite0", help="network, with random weights [EfficientNetLite0]")
    add("--images", type=count, default=320, help="JPEG files of 500 x 375 pixels [320]")
    add("--batch_size", type=count, default=4, help="pictures computed at once [4]")
    add("--workers", type=cli.number(int, 0), default=0, help="processes that decode [0]")
    add("--rounds", type=count, default=3, help="how often both are measured [3]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """The stream from files to kept features and the bare engine, and the second call and the first."""
    with cli.results_only(), tempfile.TemporaryDirectory(prefix="urnet-bench-") as folder:
        root = Path(folder)
        files = [str(file) for file in write_photographs(root / "images", args.images)]
        with patch.dict(os.environ, {"URNET_CACHE": str(root / "cache")}):  # not the user's own
            return _figures(args, root, files)


def _figures(args: argparse.Namespace, root: Path, files: Sequence[str]) -> list[Figure]:
    from tools.speed.infer import make_checkpoint
    from urnet.checkpoints.published import transform_of
    from urnet.runtime.threads import import_paddle
    from urnet.suspects.extract import Work, extracted
    from urnet.suspects.network import FeatureNetwork

    import_paddle()
    make_checkpoint(root / "checkpoint", args.model, 1000)
    network = FeatureNetwork(models.build, args.model, root / "checkpoint", 1000, transform_of(args.model))
    extractor, size = network.extractor(args.batch_size), network.transform.size
    batch = np.random.default_rng(0).integers(0, 256, (args.batch_size, size, size, 3), np.uint8)
    extractor.features(batch)  # the first batch prepares the engine

    def stream(kept: Path | None) -> float:
        work = Work(args.batch_size, workers=args.workers, kept=kept, show=False)
        start = time.perf_counter()
        with patch.object(FeatureNetwork, "extractor", lambda *_: extractor), extracted(files, network, work):
            return time.perf_counter() - start

    n = max(1, len(files) // args.batch_size // 2)  # before the stream, and again after it
    limits = {"bare": timed(extractor.features, batch, times=n)}
    seconds = take_turns({"stream": lambda: stream(None)}, args.rounds, limits)
    own, bare = per_second(len(files), seconds["stream"]), per_second(n * args.batch_size, seconds["bare"])
    stream(root / "kept")
    again = per_second(1, take_turns({"again": lambda: stream(root / "kept")}, args.rounds)["again"])
    return [
        Figure("features from files", own, "images/s", bare, "bare engine, one prepared batch"),
        Figure("second call", 1 / again, "s", len(files) / own, "the first one"),
    ]
