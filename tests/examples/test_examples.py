"""The scripts of examples/ do what they say."""

import re
import runpy
import sys

import pytest

from tests.conftest import ROOT
from tests.helpers.predict import Toys


@pytest.fixture
def run(capsys, monkeypatch):
    """What a script says, run as a program in this process, which has imported Paddle already."""

    def said(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        except SystemExit as left:
            assert not left.code, capsys.readouterr().err
        return capsys.readouterr().out

    return said


def test_planted_wrong_labels_are_found(run):
    lines = run("find_wrong_labels.py").splitlines()
    found = [re.match(r"of the (\d+) most suspect labels (\d+)% are wrong", line) for line in lines[:3]]
    assert [int(match[1]) for match in found] == [50, 100, 179]
    assert all(int(match[2]) >= 80 for match in found)
    wrong, other = map(float, re.findall(r"\d\.\d\d", lines[3]))
    assert wrong < 0.5 < other


def test_images_are_sorted_into_the_classes_that_the_network_sees(run, tmp_path):
    toys = Toys(tmp_path)
    told = run("sort_by_class.py", toys.checkpoint, toys.images, tmp_path / "sorted", "--least", "0")
    assert told == f"{len(toys.names)} of {len(toys.names)} images copied to {tmp_path / 'sorted'}\n"
    best = dict(zip(toys.names, toys.labels.tolist(), strict=True))
    copied = sorted(
        path.relative_to(tmp_path / "sorted") for path in (tmp_path / "sorted").rglob("*") if path.is_file()
    )
    assert sorted(str(path.relative_to(path.parts[0])) for path in copied) == sorted(best)  # sub-folders are kept
    assert {int(path.parts[0].split()[0]) == best[str(path.relative_to(path.parts[0]))] for path in copied} == {True}
