"""Faults at chosen moments: a small run of all stages, and what befalls the process that carries it out."""

from __future__ import annotations

import contextlib
import ctypes
import fnmatch
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import train
from tests.helpers.forked import fork, say_to
from tests.helpers.webvision import N_CLASSES, write_web
from urnet.core import cli

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

STAGE = {
    "duration": "4 steps",
    "batch_size": 8,
    "eval_every": "2 steps",
    "checkpoint_every": "1 steps",
    "log_every": 1,
    "ema": {"decay": 0.9, "bn_batches": 1},
    "schedule": {"lr": 0.05},
    "balance": 1.0,
    "measure": {"batch_size": 8},
}
STAGES = [
    {
        **STAGE,
        "name": "class",
        "balance": 0.0,
        "reweight": {"method": "class_size"},
        "loss_weight": ["class_weight"],
        "mixup": 0.2,
        "label_smoothing": 0.1,
    },
    {**STAGE, "name": "cluster", "reweight": {"method": "cluster"}, "sampling_weight": ["cluster_weight"]},
    {**STAGE, "name": "instance", "reweight": {"method": "instance"}, "sampling_weight": ["instance_weight"]},
    {**STAGE, "name": "bag", "sampling_weight": ["relevance"], "loss_weight": ["relevance"], "bags": {"size": 2}},
    {
        **STAGE,
        "name": "label",
        "reweight": {"method": "label", "rho": "inf", "certainty": 1},
        "targets": "label",
        "sampling_weight": ["label_weight"],
        "loss_weight": ["target_weight"],
    },
]
NAMES = tuple(stage["name"] for stage in STAGES)
FILES = (
    *(f"{name}/{kept}/model.safetensors" for name in NAMES for kept in ("final", "best")),
    *(f"table/{name}.arrow" for name in ("base", *NAMES)),
)


def make_web(root: Path) -> None:
    """The images of all runs: 36 rows of three classes, WebVision's layout, one image unreadable."""
    write_web(root, 2)
    image = min(root.rglob("q*/*.jpg"))
    image.write_bytes(image.read_bytes()[:99])


def write_recipe(folder: Path, web: Path) -> Path:
    """FOLDER/five.yaml over ``make_web``'s images; results go to FOLDER/output/five."""
    tree = {
        "name": "five",
        "output": str(folder / "output"),
        "stages": STAGES,
        "transform": {"size": 32},
        "data": {"root": str(web), "n_classes": N_CLASSES, "max_bad": 1},
        "model": {"name": "ResNet8_small32"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "five.yaml").write_text(json.dumps(tree))
    return folder / "five.yaml"


def prediction(expected: Path, web: Path, output: Path) -> list:
    """infer.py's arguments: the last weights of a run, all its training images."""
    return [
        "--model",
        "ResNet8_small32",
        "--class_dim",
        3,
        "--pretrained_model",
        expected / "label/final",
        "--img_path",
        web / "google_images_resized",
        "--engine",
        "dygraph",
        "--use_gpu",
        "False",
        "--max_bad",
        9,
        "--output",
        output,
    ]


def assert_same_bytes(home: Path, expected: Path, files: Any = FILES) -> None:
    """Weights and tables are those of another run, byte for byte, and nothing else is left over."""
    for file in files:
        assert (home / file).read_bytes() == (expected / file).read_bytes(), file
    assert not [path for path in home.rglob(".*") if path.name != ".lock"]
    assert not (home / "measure").exists()


# --- a process to be killed


def start(recipe: Path, pattern: str | None = None) -> multiprocessing.Process:
    """`train.py -c RECIPE --resume` in a process of its own, which kills itself ``before`` a ``pattern``.

    The process is a fork of one that has imported Paddle already, so that a kill costs no seconds. What it
    says goes to RECIPE.txt.
    """
    return fork(_resume, str(recipe), pattern)


def _resume(recipe: str, pattern: str | None) -> None:
    say_to(f"{recipe}.txt")
    if pattern is not None:
        before(pattern, kill)
    sys.exit(cli.run(train.main, ["-c", recipe, "--resume"]))


def finish(recipe: Path) -> None:
    """Go on with the run to its end."""
    process = start(recipe)
    process.join(600)
    assert process.exitcode == 0, Path(f"{recipe}.txt").read_text()[-2000:]


# --- at which moment


def operations(event: str, args: tuple) -> list[str]:
    """What Python's audit event says of files that are changed: "open PATH" (for writing), "os.mkdir PATH",
    "os.rename FROM" and "os.rename TO PATH", "os.remove PATH", "os.rmdir PATH"."""
    if event == "open" and isinstance(args[0], (str, bytes, Path)) and (args[2] or 0) & WRITES:
        return [f"open {os.fsdecode(args[0])}"]
    if event in ("os.mkdir", "os.remove", "os.rmdir"):
        return [f"{event} {os.fsdecode(args[0])}"]
    if event in ("os.rename", "os.link"):
        return [f"{event} {os.fsdecode(args[0])}", f"{event} TO {os.fsdecode(args[1])}"]
    return []


def before(pattern: str, action: Callable[[], None], nth: int = 1) -> Callable[[], bool]:
    """Call ``action`` once, just before this process's ``nth`` operation that ``pattern`` describes.

    Returns whether it came to that; asking also ends the watch (a hook itself cannot be taken back).
    """
    left = [nth]

    def watch(event: str, args: tuple) -> None:
        if left[0] > 0 and any(fnmatch.fnmatchcase(text, pattern) for text in operations(event, args)):
            left[0] -= 1
            if left[0] == 0:
                action()

    def happened() -> bool:
        reached, left[0] = left[0] == 0, 0
        return reached

    sys.addaudithook(watch)
    return happened


# --- what befalls it


def kill() -> None:
    """As by the kernel's memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill(folder: Path) -> None:
    """Leave no byte free on the disk of ``folder``."""
    with (folder / "ballast").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(1 << 16))


def limit(size: int = resource.RLIM_INFINITY) -> None:
    """No file of this process may grow beyond ``size`` bytes (Python ignores SIGXFSZ: it is an OSError)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@contextlib.contextmanager
def modes_count() -> Iterator[None]:
    """Let the modes of files hold for this thread even if it is root's: put its CAP_DAC_* rights aside."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3, this thread
    assert libc.capget(header, data) == 0
    effective = data[0]
    data[0] &= ~0b110  # CAP_DAC_OVERRIDE is number 1, CAP_DAC_READ_SEARCH number 2
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[0] = effective
        assert libc.capset(header, data) == 0


# --- disks that are full, places that may not be written


@contextlib.contextmanager
def disk(kind: str, folder: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Make ``folder``; yield what makes its disk full and what makes room again.

    "fill": a file system of its own in memory, which needs the right to mount, with a large file in it.
    "limit": the files of this process may not grow, which needs no right.
    """
    folder.mkdir()
    if kind == "limit":
        try:
            yield lambda: limit(30), limit
        finally:
            limit()
        return
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield lambda: fill(folder), lambda: (folder / "ballast").unlink(missing_ok=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def place(kind: str, folder: Path) -> Iterator[Path]:
    """A folder that ``locked`` can lock in this way."""
    if kind == "modes":
        folder.mkdir()
        yield folder
        return
    with disk("fill", folder):
        yield folder


@contextlib.contextmanager
def locked(kind: str, folder: Path) -> Iterator[None]:
    """What is in ``folder`` may be read only: by the modes of the folders, or by its file system."""
    if kind == "modes":
        places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for place in places:
            place.chmod(0o555)
        try:
            with modes_count():
                yield
        finally:
            for place in places:
                place.chmod(0o755)
        return
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
