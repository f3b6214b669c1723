"""Inference programs kept between runs, so that infer.py and eval.py start sooner.

The folder is URNET_CACHE, or ~/.cache/urnet; an empty URNET_CACHE turns the cache off. An entry is a folder
named after the hash of all that its program depends on; it holds the program and ``entry.json`` with the
hashes of its files, which are compared at every use. Anyone who may write there can change your predictions,
as anyone can who may write into the checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paddle

from urnet.checkpoints import foreign, paddleclas_names, pytorch_names, renaming, torch_files, torch_forms
from urnet.checkpoints.in_classes import reference_file
from urnet.checkpoints.weight_files import weight_files
from urnet.core import cli
from urnet.core.atomic_files import atomic_folder, file_hash
from urnet.core.checks import InputError
from urnet.inference import program
from urnet.nn import fold_batch_norm, in_classes, normalise, pair

VARIABLE = "URNET_CACHE"
ENTRY = "entry.json"
LAYOUT = 1  # of an entry; another number finds no old entry
WEIGHTS = (torch_files, torch_forms, foreign, renaming, pytorch_names, paddleclas_names)  # how others' weights are read
# what a program is made by, in addition to the network's code
OURS = (normalise, program, fold_batch_norm, in_classes, pair, *WEIGHTS)


@dataclass(frozen=True)
class ProgramSource:
    """All that a program is made from. ``code`` is the folder of the network's Python files; ``output`` is one of
    ``program.OUTPUTS``."""

    weights: str | Path  # as checkpoint.read_weights takes it
    network: str
    n_classes: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    code: Path
    output: str = "probabilities"

    def key(self) -> str:
        """SHA-256 of the weights' bytes, the network's and our code, the numbers, and Paddle's version."""
        ours = [Path(str(module.__file__)) for module in OURS]
        parts = {
            "layout": LAYOUT,
            "output": self.output,
            "paddle": [paddle.__version__, paddle.version.commit],
            "network": [self.network, self.n_classes, self.image_size, *self.mean, *self.std],
            "weights": _hashes([*weight_files(self.weights), *filter(None, [reference_file(self.weights)])]),
            "code": _hashes([*sorted(Path(self.code).glob("*.py")), *ours]),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def cache_folder() -> Path | None:
    """Where programs are kept; None: nowhere, as an empty URNET_CACHE says."""
    place = os.environ.get(VARIABLE)
    if place is None:
        try:
            return Path.home() / ".cache" / "urnet"
        except RuntimeError:  # no home
            return None
    return Path(place).expanduser() if place else None


def find_program(folder: Path, key: str) -> Path | None:
    """The entry of ``key``, if it is there and whole; it counts as just used."""
    entry = Path(folder) / key
    try:
        files = json.loads((entry / ENTRY).read_text(encoding="utf-8"))["files"]
        whole = all(files[name] == file_hash(entry / name) for name in program.FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):  # a folder that may only be read serves as well
        os.utime(entry / ENTRY)
    return entry if whole else None


def keep_program(
    folder: Path,
    key: str,
    source: ProgramSource,
    write: Callable[[Path], None],
    *,
    most_entries: int = 8,
    most_bytes: int = 4 << 30,
) -> Path | None:
    """The entry of ``key`` (of ``source``), which ``write(folder)`` fills unless another process has.

    A damaged entry is written again, with a note on stderr. None where nothing can be kept, with a note: the
    folder cannot be written, or the weights changed since the key was made. Beyond ``most_entries`` and
    ``most_bytes`` the entries used least recently are removed.
    """
    entry = Path(folder) / key
    try:
        with _locked(folder):
            if find_program(folder, key):
                return entry
            if entry.exists():
                _note(f"{entry}: is damaged; it is written again")
                _remove(entry)
            with atomic_folder(entry) as temporary:
                write(temporary)
                if source.key() != key:
                    raise InputError(f"{source.weights}: changed while it was read")
                files = {name: file_hash(temporary / name) for name in program.FILES}
                about = {"network": source.network, "weights": str(source.weights), "files": files}
                (temporary / ENTRY).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            _remove_oldest(folder, entry, most_entries, most_bytes)
    except (InputError, OSError, RuntimeError) as error:
        if find_program(folder, key):  # without locks: another process was quicker
            return entry
        _note(f"the inference program cannot be kept for the next run ({error}); {VARIABLE} names its folder")
        return None
    return entry


def _hashes(files: list[Path]) -> list[tuple[str, str]]:
    return [(file.name, file_hash(file)) for file in files]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process writes there. Leftovers of killed ones are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        except (ImportError, OSError):  # no such system, or file system: whole folders must do
            yield
            return
        for leftover in folder.glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _remove_oldest(folder: Path, newest: Path, most_entries: int, most_bytes: int) -> None:
    """Keep the entries used last, within both bounds; ``newest`` in any case."""
    entries = [path.parent for path in folder.glob(f"*/{ENTRY}")]
    entries.sort(key=lambda entry: (entry == newest, (entry / ENTRY).stat().st_mtime), reverse=True)
    total = 0
    for number, entry in enumerate(entries):
        total += sum(file.stat().st_size for file in entry.iterdir())
        if entry != newest and (number >= most_entries or total > most_bytes):
            shutil.rmtree(entry, ignore_errors=True)


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _note(text: str) -> None:
    if cli.is_main():
        print(f"note: {text}", file=sys.stderr)
