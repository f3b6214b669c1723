"""The scripts of examples/ do what they say."""

import re
import subprocess
import sys

from tests.conftest import ROOT
from tests.helpers.predict import Toys


def run(name, *arguments):
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_planted_wrong_labels_are_found():
    lines = run("find_wrong_labels.py").splitlines()
    found = [re.match(r"of the (\d+) most suspect labels (\d+)% are wrong", line) for line in lines[:3]]
    assert [int(match[1]) for match in found] == [50, 100, 179]
    assert all(int(match[2]) >= 80 for match in found)
    wrong, other = map(float, re.findall(r"\d\.\d\d", lines[3]))
    assert wrong < 0.5 < other


def test_images_are_sorted_into_the_classes_that_the_network_sees(tmp_path):
    toys = Toys(tmp_path)
    told = run("sort_by_class.py", toys.checkpoint, toys.images, tmp_path / "sorted", "--least", "0")
    assert told == f"{len(toys.names)} of {len(toys.names)} images copied to {tmp_path / 'sorted'}\n"
    best = dict(zip(toys.names, toys.labels.tolist(), strict=True))
    copied = sorted(
        path.relative_to(tmp_path / "sorted") for path in (tmp_path / "sorted").rglob("*") if path.is_file()
    )
    assert sorted(str(path.relative_to(path.parts[0])) for path in copied) == sorted(best)  # sub-folders are kept
    assert {int(path.parts[0].split()[0]) == best[str(path.relative_to(path.parts[0]))] for path in copied} == {True}
