"""tools/fuzz.py: what counts as a find, what is kept of it, and a short run over all doors."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import fuzz
from tools.fuzz_edits import mutate

ROOT = Path(__file__).parents[2]


def faulty(data, place):
    """A door with faults: it cannot stand two letters."""
    if b"x" in data:
        raise KeyError("no x")
    assert b"y" not in data, "wrong for y"


def test_finds_are_counted_and_one_of_each_kind_is_kept(tmp_path):
    tally = fuzz.Tally(tmp_path, faulty)
    for data in (b"a", b"ax", b"bx", b"y", b"b"):
        tally.run(data)
    assert (tally.executions, tally.finds) == (5, 3)
    lines = fuzz.keep("lists", 7, tmp_path, tmp_path / "out")
    assert [(tmp_path / "out" / f"lists-7-{n}").read_bytes() for n in (1, 2)] == [b"ax", b"y"]
    assert re.search(r"out/lists-7-1: KeyError: test_fuzz_tool\.py: \d+: 'no x'", lines[0])
    assert "AssertionError" in lines[1] and len(lines) == 2
    assert (tmp_path / "input").read_bytes() == b"b"


def test_an_input_that_is_slow_or_takes_much_memory_is_a_find(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 0.05)
    tally = fuzz.Tally(tmp_path, lambda data, place: time.sleep(0.1))
    tally.run(b"1")
    assert (tmp_path / "find-1.txt").read_text().startswith("slow: 0.1")
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 60)
    peaks = iter((100.0, 100.0 + fuzz.MOST_MIB, 400.0, 401.0 + fuzz.MOST_MIB))
    monkeypatch.setattr(fuzz, "_peak_mib", lambda: next(peaks))
    tally.check = lambda data, place: None
    tally.run(b"2")
    assert tally.finds == 1
    tally.run(b"3")
    assert (tmp_path / "find-2.txt").read_text() == "large: 257 MiB"


def dies(name, seconds, seed, folder, guided):
    tally = fuzz.Tally(folder, lambda data, place: os.kill(os.getpid(), signal.SIGSEGV))
    tally.write()
    tally.run(b"deadly")


def hangs(name, seconds, seed, folder, guided):
    fuzz.Tally(folder, lambda data, place: time.sleep(600)).run(b"endless")


@pytest.mark.parametrize(("work", "kept", "words"), [(dies, b"deadly", "code -11"), (hangs, b"endless", "hangs")])
def test_an_input_that_kills_or_stops_the_process_is_found(tmp_path, work, kept, words):
    folder = tmp_path / "folder"
    folder.mkdir()
    tally = fuzz.watch("lists", 0, 0, folder, False, work=work, patience=60 if work is dies else 6)
    assert tally["finds"] == 1
    (line,) = fuzz.keep("lists", 0, folder, tmp_path)
    assert words in line
    assert (tmp_path / "lists-0-last").read_bytes() == kept


def test_the_same_seed_makes_the_same_edits():
    seeds = [b"one file", b"another file"]
    first, second = ([mutate(seeds, rng) for _ in range(99)] for rng in (random.Random(3), random.Random(3)))
    assert first == second
    assert len(set(first)) > 50


@pytest.mark.parametrize("engine", [["--plain"], []])
def test_two_seconds_over_all_doors_find_nothing(tmp_path, engine):
    door = ["--door", "fluid"] if not engine else []
    flags = ["--seconds", "2", "--out", str(tmp_path / "out"), *engine, *door]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/fuzz.py"), *flags], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == (["fluid"] if door else list(fuzz.DOORS))
    for line in lines:
        count = re.fullmatch(r"\w+: (\d+) executions \((edits|atheris)\), 0 finds", line)
        assert count and int(count[1]) > 5, line
    assert not (tmp_path / "out").exists()


def test_bad_usage_is_one_line():
    for flags, words in ((["--door", "image"], "nearest: images"), (["--seconds", "0"], "more than 0")):
        done = subprocess.run(
            [sys.executable, str(ROOT / "tools/fuzz.py"), *flags], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr
