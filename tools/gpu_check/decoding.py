"""``data.decoder: dali`` compared with OpenCV: the same views, files that DALI cannot read, images a second."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tools.gpu_check.rows import OK, Row, Settings, Skipped, attempt
from tools.speed.photographs import write_photographs
from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.core.cpus import usable_cores
from urnet.data.images.decode import read_image
from urnet.data.loading.dali_loader import DaliLoader
from urnet.data.loading.dali_pipeline import require_dali
from urnet.data.loading.loader import Batch, ImageSource, Loader
from urnet.runtime.device_to_host import device_done
from urnet.runtime.precision import choose_device

LEVELS = 4.0  # mean grey levels apart: nvJPEG's inverse transform is its own; another box or flip is 30 and more
WARM_UP = 2  # batches


def check(settings: Settings) -> Iterator[Row]:
    """On a GPU dali's pipeline is the card's, in a dry run the CPU's."""
    choose_device(settings.device)
    n, size = settings.size((512, 224), (16, 64))
    there = attempt("nvidia-dali", _version)
    yield there
    if there.state != OK:
        return
    yield attempt("dali's views compared with OpenCV's", _beside, settings, n, size)
    yield attempt("files that dali cannot read, in one batch", _odd, settings, size)
    yield attempt("a JPEG damaged in the middle", _damaged, settings, size)
    yield attempt("images/s of 500 x 375 pixels, one process", _speed, settings, n, size)


def _version() -> str:
    try:
        require_dali()
    except InputError as error:
        raise Skipped(str(error)) from None
    import nvidia.dali

    return str(nvidia.dali.__version__)


def _files(settings: Settings, name: str, n: int) -> list[str]:
    return [str(file) for file in write_photographs(settings.folder / name, n)]


def _source(files: list[str], size: int, jitter: float = 0.0) -> ImageSource:
    return ImageSource(files.__getitem__, Transform(size=size, jitter=jitter), train=True, reduced=False)


def _apart(one: Batch, other: Batch) -> np.ndarray:
    """Grey levels between the images of two batches, uint8 (B, S, S, 3)."""
    assert one.rows.tolist() == other.rows.tolist() and one.readable.tolist() == other.readable.tolist()
    apart: np.ndarray = np.abs(one.images.astype(np.int16) - other.images.numpy())
    return apart


def _beside(settings: Settings, n: int, size: int) -> str:
    files, found = _files(settings, "views", n), []
    for jitter in (0.0, 0.4):
        jobs = [(draw, np.arange(n)) for draw in range(2)]
        pairs = zip(*(kind(_source(files, size, jitter), jobs) for kind in (Loader, DaliLoader)), strict=True)
        apart = np.stack([_apart(*pair) for pair in pairs])
        assert apart.mean() <= LEVELS, f"jitter {jitter}: {apart.mean():.1f} grey levels apart"
        found.append(f"jitter {jitter}: mean {apart.mean():.2f}, largest {apart.max()} grey levels apart")
    return "; ".join(found)


def _odd(settings: Settings, size: int) -> str:
    files = _files(settings, "odd", 6)
    image = read_image(files[0])
    for file, kind, change in (
        (files[1], ".jpg", image[..., 0]),
        (files[2], ".png", image),
        (files[3], ".webp", image),
    ):
        Path(file).write_bytes(cv2.imencode(kind, change)[1].tobytes())
    Path(files[4]).write_bytes(b"")
    loader = DaliLoader(_source(files, size), [(0, np.arange(6))])
    apart = _apart(next(iter(Loader(_source(files, size), [(0, np.arange(6))]))), next(iter(loader)))
    assert not apart[1:5].any() and apart.mean() <= LEVELS and list(loader.bad) == [4]
    return "grey, PNG, WebP as OpenCV makes them; the empty file is named"


def _damaged(settings: Settings, size: int) -> str:
    files = _files(settings, "damaged", 4)
    data = Path(files[1]).read_bytes()
    Path(files[1]).write_bytes(data[: len(data) // 2] + bytes(len(data) // 2) + b"\xff\xd9")
    jobs = [(draw, np.arange(4)) for draw in range(2)]
    pairs = list(zip(*(kind(_source(files, size), jobs) for kind in (Loader, DaliLoader)), strict=True))
    means = np.stack([_apart(*pair) for pair in pairs]).mean((0, 2, 3, 4))
    assert max(means[[0, 2, 3]]) <= LEVELS, f"its neighbours are {means.round(1).tolist()} grey levels apart"
    who = "OpenCV made its batch" if not means.any() else f"dali made it, {means[1]:.2f} grey levels apart"
    return f"{who}; its neighbours are {max(means[[0, 2, 3]]):.2f} apart"


def _speed(settings: Settings, n: int, size: int) -> str:
    files, batch = _files(settings, "speed", n), settings.size(256, 8)
    rounds, workers = settings.size(20, 3), min(8, usable_cores())
    rows = [np.arange(first, first + batch) % n for first in range(0, rounds * batch, batch)]
    found = []
    for kind, name in ((DaliLoader, "dali"), (Loader, "OpenCV")):
        loader, start = kind(_source(files, size), list(enumerate(rows)), workers=workers), 0.0
        for number, _ in enumerate(loader, 1):
            if number == WARM_UP:
                device_done()
                start = time.perf_counter()
        device_done()
        found.append(f"{name} {(rounds - WARM_UP) * batch / (time.perf_counter() - start):.0f}")
    return f"{', '.join(found)}; {workers} workers each, {os.cpu_count()} cores, nothing trained meanwhile"
