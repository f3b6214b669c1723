"""Feed damaged files to every door where bytes of others come in, for as long as is asked.

    python tools/fuzz.py --seconds 60
    python tools/fuzz.py --door images --seconds 600 --seed 7 --out finds

Real files are edited at random (tools/fuzz_edits.py) and must be read right or be refused as documented
(tools/fuzz_doors.py); with atheris (requirements-fuzz.txt) the edits follow what the code has not done yet. A
find is any other error, a wrong result, an input that takes more than 5 seconds or 256 MiB, one that kills
the process or never comes back. stdout has a line a door; exit code 1 where there is a find, whose input is
kept under --out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.fuzz_edits import mutate
from urnet.core import cli
from urnet.core.checks import InputError, check_choice

DOORS = ("images", "lists", "metadata", "recipes", "fluid", "safetensors", "pdparams")
MOST_SECONDS, MOST_MIB = 5.0, 256  # of one input
GRACE = 60  # seconds after which a process that says nothing more hangs
START = 120  # seconds it may take to import everything


class Tally:
    """What came of a door's executions; ``tally.json`` and the last input are on the disk all the while."""

    def __init__(self, folder: Path, check: Any) -> None:
        self.folder, self.check = folder, check
        self.executions, self.finds, self.engine = 0, 0, "edits"
        self._known: set[tuple] = set()
        self._written = 0.0

    def run(self, data: bytes) -> None:
        """Check one input. The file ``input`` holds it before anything is done with it."""
        (self.folder / "input").write_bytes(data)
        start, before = time.perf_counter(), _peak_mib()
        try:
            self.check(data, self.folder / "read")
            what: tuple = ()
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            what = (type(error).__name__, Path(frame.filename).name, str(frame.lineno), str(error)[:200])
        seconds, mib = time.perf_counter() - start, _peak_mib() - before
        self.executions += 1
        if not what and seconds > MOST_SECONDS:
            what = ("slow", f"{seconds:.1f} s")
        if not what and mib > MOST_MIB:
            what = ("large", f"{mib:.0f} MiB")
        if what:
            self._keep(data, what)
        if time.monotonic() - self._written > 0.2:
            self.write()

    def _keep(self, data: bytes, what: tuple) -> None:
        """One input of every kind of find; counted are all."""
        self.finds += 1
        if what[:3] not in self._known:
            self._known.add(what[:3])
            (self.folder / f"find-{len(self._known)}").write_bytes(data)
            (self.folder / f"find-{len(self._known)}.txt").write_text(": ".join(what), encoding="utf-8")

    def write(self) -> None:
        """Put the counts on the disk, whole."""
        self._written = time.monotonic()
        text = json.dumps({"executions": self.executions, "finds": self.finds, "engine": self.engine})
        (self.folder / "tally.part").write_text(text)
        (self.folder / "tally.part").replace(self.folder / "tally.json")


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def fuzz_door(name: str, seconds: float, seed: int, folder: Path, guided: bool) -> None:
    """Fuzz one door in this process; what comes of it is in ``folder``."""
    atheris = _atheris() if guided else None
    if atheris is None:
        door = importlib.import_module("tools.fuzz_doors").DOORS[name]
    else:
        with atheris.instrument_imports(include=["urnet"]):
            door = importlib.import_module("tools.fuzz_doors").DOORS[name]
    tally, seeds = Tally(folder, door.check), door.seeds()
    for data in seeds:
        tally.run(data)
    tally.write()
    if atheris is not None:
        tally.engine = "atheris"
        _guide(atheris, tally, seeds, seconds, seed)
    rng, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        tally.run(mutate(seeds, rng))
    tally.write()


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        return None


def _guide(atheris: Any, tally: Tally, seeds: Sequence[bytes], seconds: float, seed: int) -> None:
    """Let libFuzzer choose the inputs. It ends the process, and takes whole seconds from 1 on."""
    corpus = tally.folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds):
        (corpus / str(number)).write_bytes(data)
    options = {
        "max_total_time": max(1, round(seconds)),
        "seed": seed + 1,
        "max_len": 1 << 16,
        "verbosity": 0,
        "rss_limit_mb": 0,
        "timeout": 2 * GRACE,
        "artifact_prefix": f"{tally.folder}/",
    }
    atheris.PredictionJob(["fuzz", *(f"-{key}={value}" for key, value in options.items()), str(corpus)], tally.run)
    atheris.Fuzz()


def watch(
    name: str,
    seconds: float,
    seed: int,
    folder: Path,
    guided: bool,
    *,
    work: Callable[..., None] = fuzz_door,
    patience: float = START + GRACE,
) -> dict[str, Any]:
    """Fuzz a door in a process of its own, so that its death or silence is a find as well."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=work, args=(name, seconds, seed, folder, guided))
    process.start()
    process.join(seconds + patience)
    hangs = process.is_alive()
    process.kill()
    process.join()
    tally = {"executions": 0, "finds": 0, "engine": "none"}
    if (folder / "tally.json").is_file():
        tally = json.loads((folder / "tally.json").read_text())
    if hangs or process.exitcode not in (0, None):
        tally["finds"] += 1
        how = "hangs" if hangs else f"the process ended with code {process.exitcode}"
        (folder / "find-last.txt").write_text(how)
        if (folder / "input").is_file():
            (folder / "find-last").write_bytes((folder / "input").read_bytes())
    return tally


def keep(name: str, seed: int, folder: Path, out: Path) -> list[str]:
    """Copy a door's finds to ``out``; a line each: the file, and what happened."""
    lines = []
    for text in sorted(folder.glob("find-*.txt")):
        out.mkdir(parents=True, exist_ok=True)
        target = out / f"{name}-{seed}-{text.stem.partition('-')[2]}"
        source = text.with_suffix("")
        if source.is_file():
            target.write_bytes(source.read_bytes())
        lines.append(f"  {target}: {text.read_text(encoding='utf-8')}")
    return lines


def main(argv: Sequence[str]) -> int:
    """Fuzz door after door, print a line each."""
    parser = cli.Parser(prog="tools/fuzz.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="in all, shared by the doors [60]")
    parser.add_argument("--door", help=f"one of {', '.join(DOORS)} [all]")
    parser.add_argument("--seed", type=int, default=0, help="of the edits [0]")
    parser.add_argument("--plain", action="store_true", help="edits at random, also where atheris is there")
    parser.add_argument("--out", type=Path, default=Path("fuzz_finds"), help="where finds go [fuzz_finds]")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    args = parser.parse_args(argv)
    if not 0 < args.seconds < 1e6:
        raise InputError(f"--seconds: found {args.seconds}; more than 0 and less than a million are accepted")
    doors = DOORS if args.door is None else (check_choice("--door", args.door, DOORS),)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk would be what is measured
    finds = 0
    for name in doors:
        with tempfile.TemporaryDirectory(prefix="urnet-fuzz-", dir=memory) as folder:
            tally = watch(name, args.seconds / len(doors), args.seed, Path(folder), not args.plain)
            print(f"{name}: {tally['executions']} executions ({tally['engine']}), {tally['finds']} finds")
            for line in keep(name, args.seed, Path(folder), args.out):
                print(line)
        finds += tally["finds"]
        sys.stdout.flush()
    return cli.FAILED if finds else cli.DONE


if __name__ == "__main__":
    sys.exit(cli.run(main))
