"""tools/bench.py, tools/figures.py and tools/machine.py: table, JSON, head line, core count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tools import machine
from tools.speed import __main__ as bench
from tools.speed.figures import Figure, number, print_table
from urnet.core import cli
from urnet.core.cpus import usable_cores

BENCH = Path(__file__).parents[2] / "tools" / "bench.py"
FIGURES = [
    Figure("loop", 190.0, "images/s", 200.0, "bare loop"),
    Figure("build", 0.01234, "s"),
    Figure("rows", 1234567.0, "rows/s", 2_000_000.0, "plain arrays"),
]


def test_the_table_shows_value_limit_and_ratio(capsys):
    print_table(FIGURES)
    assert capsys.readouterr().out.splitlines() == [
        "figure      value  unit          limit  ratio  limit is",
        "loop          190  images/s        200   0.95  bare loop",
        "build      0.0123  s",
        "rows    1,234,567  rows/s    2,000,000   0.62  plain arrays",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0, "0"), (0.001234, "0.00123"), (9.876, "9.88"), (98.76, "98.8"), (98765.4, "98,765")],
)
def test_numbers_keep_three_digits(value, text):
    assert number(value) == text


def test_a_figure_without_a_limit_has_no_ratio():
    assert [figure.ratio for figure in (Figure("a", 1, "s"), Figure("a", 1, "s", 0.0))] == [None, None]


@pytest.fixture
def measuring(monkeypatch):
    """Stand-ins for the modules that measure: each has one argument and one figure."""

    def module(name):
        def add_arguments(parser):
            parser.add_argument("--size", type=int, default=3)

        def measure(args):
            return [Figure(name, args.size, "s", 4.0, "best")]

        return types.SimpleNamespace(add_arguments=add_arguments, measure=measure)

    monkeypatch.setattr(bench, "load", module)
    monkeypatch.setattr(os, "environ", dict(os.environ))


def test_a_sub_command_measures_prints_and_writes(measuring, capsys, tmp_path):
    assert cli.run(bench.main, ["data", "--size", "2", "--json", str(tmp_path / "f.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("machine: processor ")
    assert [line.split() for line in lines[2:]] == [["data", "2.00", "s", "4.00", "0.50", "best"]]
    tree = json.loads((tmp_path / "f.json").read_text())
    assert tree["machine"] == machine.describe()
    assert tree["figures"] == [
        {"name": "data", "value": 2, "unit": "s", "limit": 4.0, "limit_name": "best", "ratio": 0.5}
    ]


def test_all_measures_everything_with_its_defaults(measuring, capsys):
    assert cli.run(bench.main, ["all"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [[name, "3.00"] for name in bench.COMMANDS]


def test_help_and_usage_can_be_followed(tmp_path):
    def call(*arguments):
        return subprocess.run([sys.executable, str(BENCH), *arguments], cwd=tmp_path, capture_output=True, text=True)

    helped, bare, wrong = call("--help"), call(), call("speed")
    assert (helped.returncode, bare.returncode, wrong.returncode) == (0, 2, 2)
    assert helped.stdout == bare.stderr
    assert all(name in helped.stdout for name in bench.COMMANDS)
    assert wrong.stderr.count("\n") == 1
    assert "choose from" in wrong.stderr


@pytest.mark.parametrize("name", bench.COMMANDS)
def test_every_sub_command_has_help(name):
    """Imports the module that measures, which must be quick: heavy libraries wait until they are needed."""
    done = subprocess.run([sys.executable, str(BENCH), name, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--json FILE" in done.stdout


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({}, 8),
    ],
)
def test_a_containers_quota_limits_the_cores(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == expected


def test_the_description_names_what_a_reader_needs(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    about = machine.describe()
    assert about["cores in use"] == str(usable_cores())
    assert about["OMP_NUM_THREADS"] == "unset"
    assert about["Python"] == ".".join(map(str, sys.version_info[:3]))
    import cv2
    import paddle

    assert about["Paddle"].split()[0] == paddle.__version__
    assert about["OpenCV"].startswith(cv2.__version__)
