"""The speed of tools/serve.py, compared with infer.py's own loop on the same images.

Both have the same network, batch size and threads, and are asked in turn. The service is asked by this process, over
HTTP, so that it shares the cores with what asks it; infer.py reads the files itself. "alone" is a request that comes
when there is no other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tools import serve
from tools.service.client import form, load, running
from tools.speed.figures import Figure
from tools.speed.infer import ROOT, InferRun, make_checkpoint
from tools.speed.photographs import write_photographs
from tools.speed.timing import per_second, take_turns
from urnet.core import cli
from urnet.runtime.threads import compute_threads, import_paddle

N_CLASSES, LONE = 100, 20  # classes of the networks; lone requests
CASES = (("ResNet8_small32", 32, 1), ("ResNet8_small32", 32, 16), ("ResNet18", 224, 1))  # pixels, images per request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    count = cli.number(int, 1)
    parser.add_argument("--images", type=count, default=256, help="JPEG files of 500 x 375 pixels [256]")
    parser.add_argument("--batch_size", type=count, default=16, help="images computed at once [16]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Each case compared with infer.py, and the latencies."""
    missing = serve.missing()
    if missing:
        print(f"note: the service is not measured, as these are not installed: {', '.join(missing)}", file=sys.stderr)
        return []
    import_paddle()
    with cli.results_only(), tempfile.TemporaryDirectory(prefix="urnet-bench-") as folder:
        files = write_photographs(Path(folder, "images"), args.images)
        return [figure for case in CASES for figure in measure_case(Path(folder), files, args.batch_size, *case)]


def measure_case(
    root: Path, files: Sequence[Path], batch_size: int, model: str, size: int, together: int
) -> list[Figure]:
    """The service's images a second between two passes of infer.py, and how long requests last."""
    place, weights = root / model, root / f"{model} weights"
    network = ["--pretrained_model", str(weights), "--model", model, "--class_dim", str(N_CLASSES)]
    network += ["--image_shape", f"3,{size},{size}"]
    if not place.exists():
        make_checkpoint(weights, model, N_CLASSES)
        command = [sys.executable, str(ROOT / "tools" / "export.py"), *network, "--out", str(place)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    blobs = [(file.name, file.read_bytes()) for file in files]
    requests = [form(blobs[i : i + together]) for i in range(0, len(blobs), together)]
    connections = max(2, 2 * batch_size // together)
    infer = InferRun(*network, "--img_path", root / "images", "--batch_size", batch_size)
    latencies: dict[str, Sequence[float]] = {}

    def service() -> float:
        flags = ["--batch_size", str(batch_size), "--queue", "1024", "--timeout", "600"]
        with running(place, *flags, threads=compute_threads()) as started:
            load(started.port, requests[: 2 * batch_size], 2)
            seconds, latencies["together"], statuses = load(started.port, requests, connections)
            latencies["alone"] = load(started.port, requests[:LONE], 1)[1]
        if set(statuses) != {200}:
            raise RuntimeError(f"{model}, {together} a request: statuses {sorted(set(statuses))}")
        return seconds

    seconds = take_turns({"service": service}, limits={"infer": infer.loop})
    name = f"serve {model}, {together} a request"
    own, limit = (per_second(len(files), seconds[key]) for key in ("service", "infer"))
    p50, p99 = 1000 * np.percentile(latencies["together"], (50, 99))
    return [
        Figure(name, own, "images/s", limit, "infer.py's own loop"),
        Figure(f"{name}, p50, {connections} at a time", float(p50), "ms"),
        Figure(f"{name}, p99, {connections} at a time", float(p99), "ms"),
        Figure(f"{name}, p50, alone", 1000 * float(np.median(latencies["alone"])), "ms"),
    ]
