"""Run on a GPU, in about ten minutes, everything here that has never run on one, and print one table to send back.

    sh tools/gpu_check.sh            all checks; the table also goes to gpu_check.txt
    sh tools/gpu_check.sh --cpu      a minimal dry run without a GPU, which shows that the checks work

Each row is ok, failed (with the first line of the error) or skipped (with the reason). Every check runs in its own
process, so one that fails or crashes does not stop the others. Nothing is downloaded; pictures are generated. The exit
code is 1 if any check failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.gpu_check.isolated import run_apart
from tools.gpu_check.rows import FAILED, OK, SKIPPED, Row, Settings
from tools.speed.figures import aligned
from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError, check_choice
from urnet.core.cpus import usable_cores

SAID_LINES = 40  # of what a failed check said, in the file
DRY_LIMIT = 1200.0  # seconds of a check in a dry run: more than anything takes on a busy machine


@dataclass(frozen=True)
class Check:
    """``module``'s rows, in at most ``limit`` seconds on a GPU, under ``environment``."""

    module: str
    limit: float
    environment: dict[str, str] = field(default_factory=dict)


TF32, NO_TF32 = ({"NVIDIA_TF32_OVERRIDE": value} for value in ("1", "0"))
CHECKS = {
    "machine": Check("machine_facts", 60),
    "tests": Check("gpu_tests", 240),
    "amp": Check("amp_losses", 120),
    "steps": Check("step_counts", 120),
    "layouts": Check("layouts", 240, TF32),
    "layouts-fp32": Check("layouts", 120, NO_TF32),
    "decode": Check("decoding", 180),
    "compile": Check("compiled", 240),
    "infer": Check("engines", 240),
    "stages": Check("stages", 180),
    "processes": Check("several", 420),
}


def make_parser() -> cli.Parser:
    """The flags."""
    parser = cli.Parser(
        prog="tools/gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cpu", action="store_true", help="a minimal dry run on the CPU")
    add("--only", nargs="+", default=list(CHECKS), metavar="NAME", help=f"run only these checks: {', '.join(CHECKS)}")
    add("--out", type=Path, default=Path("gpu_check.txt"), metavar="FILE", help="file for the table [gpu_check.txt]")
    add("--debug", action="store_true", help="show a traceback on errors")
    return parser


def main(argv: Sequence[str]) -> int:
    """Check after check, then the table; 1 if a row failed."""
    args = make_parser().parse_args(argv)
    for name in args.only:
        check_choice("--only", name, tuple(CHECKS))
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"--out: {args.out.parent} is not a folder; a file in an existing one is accepted")
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    gpus = 0 if args.cpu else count_gpus()
    kind = f"{gpus} GPU(s)" if gpus else "dry run on the CPU; its figures mean nothing"
    start, rows, said, table = time.monotonic(), list[tuple[str, ...]](), list[str](), list[str]()
    with tempfile.TemporaryDirectory(prefix="urnet-gpu-check-") as scratch:
        settings = Settings(gpus, Path(scratch))
        for name in args.only:
            print(f"gpu_check: {name}", file=sys.stderr)
            log = Path(scratch) / f"{name}.txt"
            found, seconds = run_check(name, settings, log)
            rows += [_cells(name, row, "" if number else f"{seconds:.0f}") for number, row in enumerate(found)]
            if any(row.state == FAILED for row in found):
                said += [f"--- {name} said", *log.read_text(errors="replace").splitlines()[-SAID_LINES:]]
            table = [*_lines(rows), f"{_counts(rows)}; {kind}; {time.monotonic() - start:.0f} s"]
            with atomic_file(args.out, replace=True) as part:  # after every check: what is known is not lost
                part.write_text("\n".join([*table, *said]) + "\n", encoding="utf-8")
    print("\n".join(table))
    print(f"gpu_check: send back {args.out}", file=sys.stderr)
    return cli.FAILED if any(row[2] == FAILED for row in rows) else cli.DONE


def run_check(name: str, settings: Settings, log: Path) -> tuple[list[Row], float]:
    """Its rows and seconds; what it says goes to ``log``."""
    check, begun = CHECKS[name], time.monotonic()
    environment = {"URNET_CACHE": str(settings.folder / "cache"), **check.environment}
    module, limit = f"tools.gpu_check.{check.module}", settings.size(check.limit, DRY_LIMIT)
    rows = run_apart(_context(settings.gpus), module, settings, environment, limit, log)
    return rows, time.monotonic() - begun


def _lines(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return aligned([("check", "what", "result", "s", "found"), *rows], left=(0, 1, 2, 4))


def _counts(rows: Sequence[tuple[str, ...]]) -> str:
    states = [row[2] for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in (OK, FAILED, SKIPPED))


def count_gpus() -> int:
    """GPUs that Paddle sees. Raises InputError without one."""
    from urnet.runtime.threads import import_paddle

    import_paddle()
    import paddle

    from urnet.runtime.precision import has_gpu

    if not has_gpu():
        why = "finds no GPU" if paddle.is_compiled_with_cuda() else "is a build without CUDA"
        raise InputError(f"this Paddle {why}; --cpu tries the checks without one")
    return int(paddle.device.cuda.device_count())


def _context(gpus: int) -> Any:
    """On a GPU new interpreters, as CUDA does not survive a fork; else forks of one that has imported Paddle."""
    if gpus:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paddle"])
    return context


def _cells(name: str, row: Row, seconds: str) -> tuple[str, ...]:
    return name, row.what, row.state, seconds, " ".join(row.found.split())


if __name__ == "__main__":
    sys.exit(cli.run(main))
