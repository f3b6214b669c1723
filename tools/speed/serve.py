"""The speed of tools/serve.py, beside infer.py's own loop on the same images; hostile bodies' cost.

Both have the same network, batch size and threads, and are asked in turn. The service is asked by this
process, over HTTP, so that it shares the cores with what asks it; infer.py reads the files itself. "alone" is
a request that comes when there is no other.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tools import serve
from tools.service.client import ROOT, Ask, Running, ask_once, form, hostile, load, running
from tools.speed.figures import Figure
from tools.speed.infer import infer_arguments, make_checkpoint, make_images
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.runtime.threads import compute_threads, import_paddle

N_CLASSES, LONE = 100, 20  # classes of the networks; lone requests
GROWTH = 64 << 20  # bytes of memory that hostile bodies may cost the service: what is in its queue
MB = 1e6


class Case(NamedTuple):
    """A network, its size, and how many images a request has."""

    model: str
    size: int
    together: int


CASES = (Case("ResNet8_small32", 32, 1), Case("ResNet8_small32", 32, 16), Case("ResNet18", 224, 1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    add = parser.add_argument
    add("--images", type=int, default=256, help="JPEG files of 500 x 375 pixels [256]")
    add("--batch_size", type=int, default=16, help="images computed at once [16]")
    add("--hostile", type=int, default=1000, help="hostile requests [1000]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Each case beside infer.py, the latencies, and the memory after hostile requests."""
    if args.images < 1 or args.batch_size < 1 or args.hostile < 0:
        raise InputError("--images, --batch_size: 1 or more are accepted; --hostile: 0 or more")
    missing = serve.missing()
    if missing:
        print(f"note: the service is not measured: not installed: {', '.join(missing)}", file=sys.stderr)
        return []
    import_paddle()
    figures: list[Figure] = []
    with cli.results_only(), tempfile.TemporaryDirectory(prefix="urnet-bench-") as folder:
        root = Path(folder)
        make_images(root / "images", args.images)
        for case in CASES:
            figures += measure_case(args, case, root)
        figures += measure_hostile(args, root)
    return figures


def exported(case: Case, root: Path) -> Path:
    """The case's network with random weights, exported by tools/export.py."""
    place = root / case.model
    if not place.exists():
        make_checkpoint(root / f"{case.model} weights", case.model, N_CLASSES)
        command = [sys.executable, str(ROOT / "tools" / "export.py"), *line_of(case, root)]
        subprocess.run([*command, "--out", str(place)], check=True, stdout=sys.stderr)
    return place


def line_of(case: Case, root: Path) -> list[str]:
    """The network's flags, for tools/export.py and infer.py."""
    line = ["--pretrained_model", str(root / f"{case.model} weights"), "--model", case.model]
    return [*line, "--class_dim", str(N_CLASSES), "--image_shape", f"3,{case.size},{case.size}"]


def measure_case(args: argparse.Namespace, case: Case, root: Path) -> list[Figure]:
    """Half of infer.py's images, the service's, the other half."""
    place = exported(case, root)
    files = sorted((root / "images").iterdir())
    blobs = [(file.name, file.read_bytes()) for file in files]
    groups = [blobs[i : i + case.together] for i in range(0, len(blobs), case.together)]
    requests = [form(group) for group in groups]
    loop = InferLoop(args, case, root)
    first = loop.seconds()
    flags = ["--batch_size", str(args.batch_size), "--queue", "1024", "--timeout", "600"]
    with running(place, *flags, threads=compute_threads()) as service:
        load(service.port, requests[: 2 * args.batch_size], 2)
        connections = max(2, 2 * args.batch_size // case.together)
        seconds, latencies, statuses = load(service.port, requests, connections)
        lone = load(service.port, requests[:LONE], 1)[1]
    if set(statuses) != {200}:
        raise RuntimeError(f"{case}: statuses {sorted(set(statuses))}")
    rate, limit = len(files) / seconds, 2 * len(files) / (first + loop.seconds())
    name = f"serve {case.model}, {case.together} a request"
    figures = [Figure(name, rate, "images/s", limit, "infer.py's own loop")]
    for share in (50, 99):
        text = f"{name}, p{share}, {connections} at a time"
        figures.append(Figure(text, 1000 * float(np.percentile(latencies, share)), "ms"))
    return [*figures, Figure(f"{name}, p50, alone", 1000 * float(np.median(lone)), "ms")]


class InferLoop:
    """infer.py's loop over all images, its engine warm."""

    def __init__(self, args: argparse.Namespace, case: Case, root: Path) -> None:
        import models
        from urnet.inference.cli_job import PredictionJob

        line = [*line_of(case, root), "--img_path", str(root / "images"), "--use_gpu", "False"]
        self.setup = PredictionJob(infer_arguments([*line, "--batch_size", str(args.batch_size)]), models.NAMES)
        self.images = self.setup.images(need_labels=False)
        self.setup.start(models.build)
        self.predictor: Any = self.setup.predictor(len(self.images))
        self.predictor.probabilities(np.zeros((1, case.size, case.size, 3), np.uint8))

    def seconds(self) -> float:
        """Of one pass over all images."""
        import infer

        begin = time.perf_counter()
        with open(os.devnull, "w") as results, self.setup.processes() as group:  # noqa: PTH123
            infer.predict_images(self.setup, self.predictor, self.images, results, None, group)
        return time.perf_counter() - begin


def measure_hostile(args: argparse.Namespace, root: Path) -> list[Figure]:
    """Memory of the service after all requests, less what it was after the first tenth of them."""
    from tools.fuzz_doors import image_seeds

    flags = ["--max_pixels", "4000000", "--batch_size", str(args.batch_size)]
    requests = hostile(args.hostile, image_seeds(), bomb_side=3000)
    good = form([(str(i), blob) for i, blob in enumerate(image_seeds()[:3])])
    with running(exported(CASES[0], root), *flags) as service:
        warm = len(requests) // 10
        counts = ask_all(service, requests[:warm])
        before = service.rss()
        begin = time.perf_counter()
        counts.update(ask_all(service, requests[warm:]))
        seconds = time.perf_counter() - begin
        growth = service.rss() - before
        if ask_once(service.port, good)[0] != 200 or service.process.poll() is not None:
            raise RuntimeError("the service does not answer any more")
    print(f"hostile requests' statuses (0: hung up): {sorted(counts)}", file=sys.stderr)
    if 500 in counts:
        raise RuntimeError("a hostile request was answered with 500")
    name = f"serve, {len(requests)} hostile requests"
    return [
        Figure(f"{name}, memory", growth / MB, "MB more", GROWTH / MB, "not to be reached"),
        Figure(f"{name}, speed", len(requests[warm:]) / seconds, "requests/s"),
    ]


def ask_all(service: Running, requests: list[Ask]) -> set[int]:
    """The statuses that came, 0 for none."""
    found = set()
    for request in requests:
        with contextlib.suppress(OSError):
            found.add(ask_once(service.port, request)[0])
    return found
