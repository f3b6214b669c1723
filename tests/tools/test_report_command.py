"""tools/report.py as a user meets it: what it writes and says, and what it refuses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.report import Page, make_table, write_columns, write_run
from tools import report
from urnet.core import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folders of a full table and of its run."""
    folder = tmp_path_factory.mktemp("toy")
    table = make_table(folder)
    write_columns(table)
    return table.folder, write_run(folder / "toy", table.base_hash)


def call(*arguments):
    return cli.run(report.main, [str(argument) for argument in arguments])


def test_the_tool_writes_page_and_list(made, tmp_path, capsys):
    table, run = made
    out, suspects = tmp_path / "r.html", tmp_path / "s.csv"
    for number in (None, 2):
        limit = [] if number is None else ["--max_suspects", number]
        done = call("--run", run, "--table", table, "--out", out, "--suspects", suspects, *limit)
        assert done == 0
        first, second = capsys.readouterr().out.splitlines()
        assert re.fullmatch(rf"{out}: 0\.\d MB, \d+ images \(\d+ missing or unreadable, 0 left out\)", first)
        assert second == f"{suspects}: {number or 4} of 4 suspect rows"
        assert len(suspects.read_text().splitlines()) == (number or 4) + 1
    Page(out.read_text(encoding="utf-8"))


def test_the_tool_as_a_program_finds_the_runs_own_table(tmp_path):
    table = make_table(tmp_path / "toy", images=False)
    run = write_run(tmp_path / "toy", table.base_hash)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/report.py"), "--run", str(run)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (run / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "-1"], "--classes: found -1; 0 or more is accepted"),
        (["--per_class", "-1"], "--per_class: found -1"),
        (["--top", "-1"], "--top: found -1"),
        (["--max_mb", "0"], "--max_mb: found 0; more than 0 is accepted"),
        (["--excel"], "--excel only affects a CSV file; it needs --suspects FILE.csv"),
        (["--out", "photo.jpg"], "--out photo.jpg: .jpg is the name of a picture, which would be replaced"),
        (["--max_suspects", "-3"], "--max_suspects: found -3; 0 or more is accepted"),
        (["--show", "4"], "--show: no class '4'; accepted is 0..3 or a name"),
        (["--show", "zerro"], "nearest: zero"),
        (["--benchmark", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--table", "nowhere"], "nowhere/base.arrow: not found"),
    ],
)
def test_what_the_tool_refuses(made, capsys, arguments, message):
    table, run = made
    assert call("--run", run, "--table", table, *arguments) == 2
    refused = capsys.readouterr()
    assert message in refused.err
    assert refused.err.count("\n") == 1
    assert not (run / "report.html").exists()


def test_suspects_without_evidence_and_a_run_without_a_table_are_refused(tmp_path, capsys):
    table = make_table(tmp_path, images=False)
    run = write_run(tmp_path / "toy", table.base_hash)
    assert call("--run", run) == 2
    assert "table: not found; give the table's folder with --table" in capsys.readouterr().err
    assert call("--run", run, "--table", table.folder, "--suspects", tmp_path / "s.csv") == 2
    assert "has no evidence about labels yet" in capsys.readouterr().err
    assert not (tmp_path / "s.csv").exists()
