"""The ablation as a user meets it: refusals, and the whole tool once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.benchmark import write_data, write_recipe
from tools.ablation.__main__ import main
from urnet.core import cli

ROOT = Path(__file__).parents[2]


def test_bad_input_is_one_line(tmp_path, capsys):
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path)
    good = ["--data", data, "--out", tmp_path / "out", "--recipe", recipe]
    (data / "truth_train.txt").write_text("google_images_resized/q1/g0.png one\n")
    for arguments, message in (
        (["--data", tmp_path / "none"], "none is not a folder"),
        (good, "truth_train.txt:1: class 'one' is not an integer"),
        ([*good, "-o", "seed=3"], "-o seed=3: the benchmark sets name, output, seed, data.table itself"),
    ):
        assert cli.run(main, [*map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1) and message in err
    bad_seeds = ("", "1,", "a", "1,1", "1.5", "9" * 19)
    for flags in (*(("--seeds", text) for text in bad_seeds), ("--jobs", "0"), ("--budget", "tiny")):
        with pytest.raises(SystemExit, match="2"):
            main(flags)
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f"argument {flags[0]}: " in err
    assert not (tmp_path / "out").exists()


def test_the_whole_tool_once(tmp_path, capsys):
    """Real processes: first weights and the oracle; then the same line again, with nothing left to do."""
    data, recipe = write_data(tmp_path / "the data"), write_recipe(tmp_path)
    tree = yaml.safe_load(recipe.read_text())
    for stage in tree["stages"]:
        stage.update(duration="1 steps", schedule={"lr": 0.01})
    recipe.write_text(yaml.safe_dump(tree))
    arguments = ["--data", data, "--out", tmp_path / "out", "--recipe", recipe, "--seeds", "3", "--jobs", "2"]
    command = [sys.executable, ROOT / "tools/benchmark.py", *arguments, "--methods", "untrained,oracle"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out/result.json").read_text()
    found = json.loads(text)
    assert [(e["method"], e["seed"]) for e in found] == [("untrained", 3), ("oracle", 3)]
    for one in found:
        assert 0 <= one["top1_last"] <= 100 and one["seconds"] > 0 and one["peak_mb"] > 100
    # the ladder's five steps of 4 rows, three measurings of 12, statistics of 8: as much as eight steps and statistics
    assert [e["epochs"] for e in found] == pytest.approx([0, 8 / 3], abs=1e-3)
    assert [(e["forward"], e["backward"]) for e in found] == [(0, 0), (8 * 4 + 8, 8 * 4)]
    assert found[1]["cost"] == pytest.approx((5 * 4 + 3 * 12 + 8 + 2 * 5 * 4) / 3, abs=1e-3)
    assert (tmp_path / "out/result.md").is_file()
    assert "`oracle`" in done.stdout
    assert cli.run(main, [*map(str, arguments), "--methods", "oracle"]) == 0
    assert (tmp_path / "out/result.json").read_text() == text
    assert "oracle-seed3: finished already, kept: oracle" in capsys.readouterr().err
