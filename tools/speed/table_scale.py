"""What a table of 16 million rows may cost one machine, and what it costs: columns, order, report.

Each figure stands beside the most that is wanted of 16 million rows, whatever number was measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.speed.figures import Figure

MOST = "wanted: at most, for 16 million rows"
COLUMNS = {
    "class_sizes": "class sizes and their weights",
    "write": "writing 4 columns",
    "read": "reading them",
    "product": "multiplying sampling weights",
}
BAG = 4  # rows of a bag
REPOSITORY = Path(__file__).resolve().parents[2]


def run_step(name: str, *arguments: object) -> dict[str, float]:
    """What a step of tools/speed/table_steps.py tells."""
    done = subprocess.run(_command(name, *arguments), cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def _command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "tools.speed.table_steps", name, *map(str, arguments)]


def measure_scale(root: Path, n_classes: int) -> list[Figure]:
    """The figures of ROOT/table, which gets the columns of four stages; files go to ROOT as well."""
    table = root / "table"
    made = run_step("columns", table, n_classes)
    figures = [Figure(words, made[name], "s") for name, words in COLUMNS.items()]
    together = sum(made[name] for name in COLUMNS)
    figures.append(Figure("these four together", together, "s", 10, MOST))
    figures += _opening(table)
    figures += _order(table)
    (root / "run").mkdir()
    told = run_step("report", root / "run", table, root)
    return [
        *figures,
        Figure(f"report and list of {told['suspects'] / 1e6:.2f} M suspects", told["seconds"], "s", 60, MOST),
        Figure("processor time of that", told["seconds_cpu"], "s"),
        Figure("peak memory of that", told["peak"], "MB", 2000, MOST),
    ]


def _opening(table: Path) -> list[Figure]:
    """Two processes open the table and read the same columns; both are alive when memory is counted."""
    pair = [
        subprocess.Popen(
            _command("opening", table), cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    streams = [(process.stdin, process.stdout) for process in pair]
    for _, told in streams:
        assert told is not None
        told.readline()  # it has read
    first, _ = pair[0].communicate("\n")
    pair[1].communicate("\n")
    if any(process.returncode for process in pair):
        raise RuntimeError("a process that opened the table failed")
    told = json.loads(first)
    return [
        Figure("opening the table with all columns", told["seconds"], "s", 1, MOST),
        Figure("processor time of that", told["seconds_cpu"], "s"),
        Figure("memory of its own that a process has from it", told["private"], "MB", 100, MOST),
        Figure(
            "a process's part of the mapped files, two processes",
            told["shared_out"],
            "MB",
            told["resident"] / 2,
            "half of the pages that are in memory",
        ),
    ]


def _order(table: Path) -> list[Figure]:
    """A rank's part of a weighted, balanced epoch, in rows and in bags."""
    rows, bags = (run_step("order", table, bag) for bag in (0, BAG))
    return [
        Figure("a rank's labels and weights read", rows["columns"], "s"),
        Figure("a rank's first weighted, balanced batch", rows["first"], "s", 5, MOST),
        Figure("processor time of that", rows["first_cpu"], "s"),
        Figure("the same from the middle of an epoch", rows["middle"], "s", 5, MOST),
        Figure("peak memory of that", rows["peak"], "MB", 300, MOST),
        Figure("memory while batches are drawn", rows["kept"], "MB", 300, MOST),
        Figure(f"a rank's first batch of bags of {BAG}", bags["first"], "s"),
        Figure("processor time of that", bags["first_cpu"], "s"),
        Figure("peak memory of that", bags["peak"], "MB", 300, MOST),
    ]
