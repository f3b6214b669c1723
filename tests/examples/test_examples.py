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
    copied = {path.name: path.parent.name for path in (tmp_path / "sorted").rglob("*") if path.is_file()}
    by_class = {}
    for path, label in best.items():
        by_class.setdefault(label, set()).add(copied[path.rsplit("/", 1)[-1]])
    assert len(copied) == len(best)
    assert all(len(folders) == 1 for folders in by_class.values())  # images of one class share a folder
    assert len(set().union(*by_class.values())) == len(by_class)
