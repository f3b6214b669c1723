"""Creates, fills and opens a measurement of the training images; shards.py holds its arrays.

FOLDER/measurement.json, written before any shard, describes what is measured. Several processes ("ranks") may fill
one folder: they coordinate through the file system only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from urnet.core.atomic_files import atomic_file, recover_folder
from urnet.core.checks import InputError
from urnet.core.signals import GracefulStop
from urnet.features.shards import Description, ShardedArray, fault_of, missing_shards

FILE = "measurement.json"
LAYOUT = 1
POLL_SECONDS = 0.25
SILENCE_SECONDS = 600.0  # without any sign of life in the folder: loading a network takes a minute or two


class Measurement:
    """What a network computed from N images. A row that is not ``readable`` has ``given`` nan, and 0 elsewhere.

    ``features`` float16 (N, width), ``index`` int32 (N, k) and ``prob`` float16 (N, k), the k most probable
    classes, best first, 0..1: ShardedArrays, mapped. ``given`` float32 (N,), the probability of the given
    label, 0..1, and ``readable`` bool (N,): NumPy arrays, read when first asked for. ``describe``: the
    Description.
    """

    def __init__(self, folder: Path, describe: Description) -> None:
        """Of shards that were checked: ``open`` and ``wait_complete`` do."""
        self.folder, self.describe = folder, describe
        self.features, self.index, self.prob = (
            ShardedArray(folder, describe, name) for name in ("features", "index", "prob")
        )

    @classmethod
    def open(cls, folder: str | Path) -> Measurement:
        """Open a folder. Raises InputError that names what is missing or broken."""
        folder = Path(folder)
        describe = read_description(folder)
        if describe is None:
            raise InputError(f"{folder / FILE}: not found; a measurement's folder is needed")
        missing = missing_shards(folder, describe)
        if missing:
            raise InputError(
                f"{fault_of(folder, describe, missing[0])}; of {describe.n_shards} shards {len(missing)} "
                "are incomplete; measuring again completes them"
            )
        return cls(folder, describe)

    @property
    def passes(self) -> int:
        """How many images passed the network for the whole of it."""
        return self.describe.n_rows * self.describe.views

    @cached_property
    def given(self) -> np.ndarray:
        """float32 (N,)."""
        return ShardedArray(self.folder, self.describe, "given")[:]

    @cached_property
    def readable(self) -> np.ndarray:
        """bool (N,)."""
        return ShardedArray(self.folder, self.describe, "readable")[:]


def read_description(folder: Path) -> Description | None:
    """The description in FOLDER/measurement.json; None where there is none. Raises InputError for another file."""
    file = Path(folder) / FILE
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        if tree.pop("layout") != LAYOUT:
            raise ValueError
        return Description(**tree)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        raise InputError(f"{file}: does not describe a measurement of layout {LAYOUT}") from None


def begin(
    folder: Path,
    about: Description,
    *,
    rank: int = 0,
    replace: bool = False,
    timeout: float = SILENCE_SECONDS,
    stop: GracefulStop | None = None,
) -> None:
    """Make ``folder`` a place for this measurement: rank 0 describes it, the others wait until it has.

    What is there of the same measurement stays. Raises InputError where another one is there, which
    ``replace`` removes; TimeoutError as ``wait_complete``.
    """
    if _is_of(folder, about, replace):
        return
    if rank > 0:
        _poll(folder, lambda: _is_of(folder, about, replace), "the description by rank 0", timeout, stop)
        return
    for path in [*folder.glob("shard-*"), *folder.glob(".shard-*")]:
        shutil.rmtree(path)
    recover_folder(folder / FILE)
    with atomic_file(folder / FILE, replace=True) as temporary:
        said = dataclasses.asdict(about)
        if about.views == 1:  # as before there were several, so that the file is the same
            del said["views"]
        text = json.dumps({"layout": LAYOUT, **said}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def _is_of(folder: Path, about: Description, replace: bool) -> bool:
    """Whether ``folder`` is described as ``about``; InputError where it is another's that is to stay."""
    shard = next(folder.glob("shard-*"), None)  # asked first: the description is written before any shard
    found = read_description(folder)
    if found == about or replace:
        return found == about
    if found is None and shard is not None:
        raise InputError(f"{shard}: it is not known what it belongs to, as {folder / FILE} is missing; remove {folder}")
    if found is not None:
        key, old, new = _difference(found, about)
        raise InputError(f"{folder}: was measured with {key} {old}, now it is {new}; remove it, or have it replaced")
    return False


def _difference(found: Description, about: Description) -> tuple[str, Any, Any]:
    old, new = dataclasses.asdict(found), dataclasses.asdict(about)
    return next((key, old[key], new[key]) for key in old if old[key] != new[key])


def wait_complete(
    folder: Path,
    about: Description,
    *,
    timeout: float = SILENCE_SECONDS,
    stop: GracefulStop | None = None,
    poll: float = POLL_SECONDS,
) -> Measurement:
    """Wait until all shards are whole and open them.

    Raises TimeoutError when nothing changed in ``folder`` for ``timeout`` seconds (a process that writes a
    shard shows so after every batch), Interrupted when ``stop`` says so. ``poll``: seconds between two looks.
    """
    missing = list(range(about.n_shards))

    def complete() -> bool:
        missing[:] = [number for number in missing if fault_of(folder, about, number)]
        return not missing

    _poll(folder, complete, "shards of other processes", timeout, stop, poll)
    return Measurement(folder, about)


def _poll(
    folder: Path,
    done: Callable[[], bool],
    what: str,
    timeout: float,
    stop: GracefulStop | None,
    poll: float = POLL_SECONDS,
) -> None:
    """Ask ``done`` until it is so; see ``wait_complete``. Clocks of other machines are not compared."""
    seen, since = _signs(folder), time.monotonic()
    while not done():
        if stop is not None:
            stop.check()
        signs = _signs(folder)
        if signs != seen:
            seen, since = signs, time.monotonic()
        if time.monotonic() - since > timeout:
            raise TimeoutError(
                f"{folder}: waited for {what}, but nothing changed there for {timeout:g} s; "
                "has another process of this run ended?"
            )
        time.sleep(poll)


def _signs(folder: Path) -> dict[str, int]:
    """Names and times of what is in ``folder``: they change while somebody works there."""
    signs: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # renamed just now
                signs[entry.name] = entry.stat().st_mtime_ns
    return signs
