"""The speed of tools/serve.py, beside infer.py's own loop on the same images; hostile bodies' cost.

Both have the same network, batch size and threads, and are asked in turn. The service is asked by this process, over
HTTP, so that it shares the cores with what asks it; infer.py reads the files itself. "alone" is a request that comes
when there is no other.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tools import serve
from tools.service.client import Ask, Running, ask_once, form, hostile, load, running
from tools.speed.figures import Figure, Times, rate
from tools.speed.infer import ROOT, InferRun, make_checkpoint
from tools.speed.memory import MB
from tools.speed.photographs import write_photographs
from tools.speed.timing import take_turns
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.runtime.threads import compute_threads, import_paddle

N_CLASSES, LONE = 100, 20  # classes of the networks; lone requests
GROWTH = 64 << 20  # bytes of memory that hostile bodies may cost the service: what is in its queue


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
    with cli.results_only(), tempfile.TemporaryDirectory(prefix="urnet-bench-") as folder:
        root = Path(folder)
        files = write_photographs(root / "images", args.images)
        figures = [figure for case in CASES for figure in measure_case(args, case, root, files)]
        return [*figures, *measure_hostile(args, exported(CASES[0], root), files)]


def flags_of(case: Case, root: Path) -> list[str]:
    """The network's flags, for tools/export.py and infer.py."""
    flags = ["--pretrained_model", str(root / f"{case.model} weights"), "--model", case.model]
    return [*flags, "--class_dim", str(N_CLASSES), "--image_shape", f"3,{case.size},{case.size}"]


def exported(case: Case, root: Path) -> Path:
    """The case's network with random weights, exported by tools/export.py."""
    place = root / case.model
    if not place.exists():
        make_checkpoint(root / f"{case.model} weights", case.model, N_CLASSES)
        command = [sys.executable, str(ROOT / "tools" / "export.py"), *flags_of(case, root), "--out", str(place)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return place


def measure_case(args: argparse.Namespace, case: Case, root: Path, files: Sequence[Path]) -> list[Figure]:
    """The service's images a second between two passes of infer.py, and how long requests last."""
    place, blobs = exported(case, root), [(file.name, file.read_bytes()) for file in files]
    requests = [form(blobs[i : i + case.together]) for i in range(0, len(blobs), case.together)]
    connections = max(2, 2 * args.batch_size // case.together)
    infer = InferRun(*flags_of(case, root), "--img_path", root / "images", "--batch_size", args.batch_size)
    latencies: dict[str, Sequence[float]] = {}

    def service() -> float:
        flags = ["--batch_size", str(args.batch_size), "--queue", "1024", "--timeout", "600"]
        with running(place, *flags, threads=compute_threads()) as started:
            load(started.port, requests[: 2 * args.batch_size], 2)
            seconds, latencies["together"], statuses = load(started.port, requests, connections)
            latencies["alone"] = load(started.port, requests[:LONE], 1)[1]
        if set(statuses) != {200}:
            raise RuntimeError(f"{case}: statuses {sorted(set(statuses))}")
        return seconds

    seconds = take_turns({"service": service}, limits={"infer": infer.loop})
    name = f"serve {case.model}, {case.together} a request"
    own, limit = (Times(len(files), seconds[key]) for key in ("service", "infer"))

    def latency(text: str, kind: str, share: int) -> Figure:
        return Figure(f"{name}, p{share}, {text}", 1000 * float(np.percentile(latencies[kind], share)), "ms")

    return [
        rate(name, "images/s", own, limit, "infer.py's own loop"),
        latency(f"{connections} at a time", "together", 50),
        latency(f"{connections} at a time", "together", 99),
        latency("alone", "alone", 50),
    ]


def measure_hostile(args: argparse.Namespace, place: Path, files: Sequence[Path]) -> list[Figure]:
    """Memory of the service after all requests, less what it was after the first tenth of them."""
    seeds = [file.read_bytes() for file in files[:3]]
    requests = hostile(args.hostile, seeds, bomb_side=3000)
    first, rest = requests[: len(requests) // 10], requests[len(requests) // 10 :]
    with running(place, "--max_pixels", "4000000", "--batch_size", str(args.batch_size)) as service:
        statuses = ask_all(service, first)
        before, start = service.rss(), time.perf_counter()
        statuses |= ask_all(service, rest)
        seconds, growth = time.perf_counter() - start, service.rss() - before
        good = form([(str(i), seed) for i, seed in enumerate(seeds)])
        if ask_once(service.port, good)[0] != 200 or service.process.poll() is not None:
            raise RuntimeError("the service does not answer any more")
    print(f"hostile requests' statuses (0: hung up): {sorted(statuses)}", file=sys.stderr)
    if 500 in statuses:
        raise RuntimeError("a hostile request was answered with 500")
    name = f"serve, {len(requests)} hostile requests"
    return [
        Figure(f"{name}, memory", growth / MB, "MB more", GROWTH / MB, "not to be reached"),
        Figure(f"{name}, speed", len(rest) / seconds, "requests/s"),
    ]


def ask_all(service: Running, requests: Sequence[Ask]) -> set[int]:
    """The statuses that came, 0 for none."""
    found = set()
    for request in requests:
        with contextlib.suppress(OSError):
            found.add(ask_once(service.port, request)[0])
    return found
