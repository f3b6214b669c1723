"""tools/benchmark.py as a user meets it: refusals, and the whole tool once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.benchmark import write_data, write_recipe

ROOT = Path(__file__).parents[2]
TOOL = str(ROOT / "tools/benchmark.py")


def call(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_bad_input_is_one_line(tmp_path):
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path)
    good = ["--data", data, "--out", tmp_path / "out", "--recipe", recipe]
    (data / "truth_train.txt").write_text("google_images_resized/q1/g0.png one\n")
    for arguments, message in (
        (["--data", tmp_path / "none"], "none is no folder"),
        ([*good, "--seeds", "1,x"], "--seeds: found 'x'"),
        (good, "truth_train.txt:1: class 'one' is no integer"),
        ([*good, "--budget", "tiny"], "--budget: invalid choice"),
        ([*good, "-o", "seed=3"], "-o seed=3: the benchmark sets name, output, seed, data.table itself"),
    ):
        done = call(*arguments)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_whole_tool_once(tmp_path):
    """Real processes: first weights and the oracle; then the same line again, with nothing left to do."""
    data, recipe = write_data(tmp_path / "the data"), write_recipe(tmp_path)
    tree = yaml.safe_load(recipe.read_text())
    for stage in tree["stages"]:
        stage.update(duration="1 steps", schedule={"lr": 0.01})
    recipe.write_text(yaml.safe_dump(tree))
    arguments = ["--data", data, "--out", tmp_path / "out", "--recipe", recipe, "--seeds", "3", "--jobs", "2"]
    done = call(*arguments, "--methods", "untrained,elr,oracle")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out/result.json").read_text())
    assert [(e["method"], e["seed"]) for e in found] == [("untrained", 3), ("elr", 3), ("oracle", 3)]
    for one in found:
        assert 0 <= one["top1_last"] <= 100
        assert one["seconds"] > 0
        assert one["peak_mb"] > 100
    assert [e["epochs"] for e in found] == pytest.approx([0, 2, 5 / 3], abs=1e-3)  # elr: two whole batches
    assert (tmp_path / "out/result.md").is_file()
    assert "`oracle`" in done.stdout
    again = call(*arguments, "--methods", "oracle")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "out/result.json").read_text()) == found
    assert "oracle-seed3: finished already, kept: oracle" in again.stderr
