"""Runs that are killed, stopped or interrupted and go on end with the bytes of one that was not."""

import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.forked import fork, say_to
from tests.helpers.launch import program
from tests.helpers.tiny_training import run_here, start, write_images, write_recipe
from urnet.training.saving import checkpoints

TOTAL = 21  # steps: 61 rows, batches of 8, 3 epochs


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: its recipe and its stage's folder."""
    folder = tmp_path_factory.mktemp("whole")
    write_images(folder)
    recipe = write_recipe(folder)
    assert run_here(recipe) == 0
    return recipe, folder / "output" / "tiny" / "class"


def test_every_pass_is_counted(whole):
    """Of 21 steps of 8 rows, and of 2 batches of 4 for the statistics at the end."""
    state = json.loads((whole[1] / "final/state.json").read_text())
    assert state["passes"] == {"forward": 21 * 8 + 2 * 4, "backward": 21 * 8}
    before = json.loads((whole[1] / "step-00000018/state.json").read_text())
    assert before["passes"] == {"forward": 18 * 8, "backward": 18 * 8}


def test_what_nobody_counted_before_is_not_counted_after_it(whole, tmp_path):
    recipe, folder = beside(whole, tmp_path)
    shutil.copytree(whole[1], folder)
    shutil.copytree(whole[1].parent / "table", folder.parent / "table")
    for name in ("final", f"step-{TOTAL:08d}"):
        shutil.rmtree(folder / name)
    file = folder / "step-00000018/state.json"
    state = json.loads(file.read_text())
    del state["passes"]
    file.write_text(json.dumps(state))
    assert run_here(recipe, "--resume") == 0
    assert "passes" not in json.loads((folder / "final/state.json").read_text())


def beside(whole, tmp_path) -> tuple[Path, Path]:
    """The same experiment with its results elsewhere: recipe and stage folder."""
    recipe = tmp_path / "tiny.yaml"
    shutil.copy(whole[0], recipe)
    text = recipe.read_text().replace(str(whole[0].parent / "output"), str(tmp_path / "output"))
    recipe.write_text(text)
    return recipe, tmp_path / "output" / "tiny" / "class"


def assert_same_end(folder: Path, expected: Path) -> None:
    for name in ("final/model.safetensors", "best/model.safetensors", "final/classes.txt"):
        if (expected / name).exists():
            assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    for name in ("final/state.json", "best/state.json"):
        assert json.loads((folder / name).read_text()) == json.loads((expected / name).read_text())
    points = [(line.split(",")[0], line.split(",")[1]) for line in read_curves(folder)]
    assert points == [(line.split(",")[0], line.split(",")[1]) for line in read_curves(expected)]
    for name in ("val/top1", "val/top5", "lr"):  # train/loss averages over what was seen since the start
        assert values(folder, name) == values(expected, name)


def read_curves(folder: Path) -> list[str]:
    return (folder / "curves.csv").read_text().splitlines()[1:]


def values(folder: Path, name: str) -> list[str]:
    return [line.split(",")[2] for line in read_curves(folder) if line.split(",")[1] == name]


def wait_for(condition, alive, seconds=600.0) -> None:
    """Until ``condition()`` holds or the process is not ``alive()``."""
    end = time.monotonic() + seconds
    while not condition() and alive():
        assert time.monotonic() < end
        time.sleep(0.002)


def _train(said, *argv):
    say_to(said)
    sys.exit(program("train", *argv))


def test_killed_at_random_moments(whole, tmp_path):
    recipe, folder = beside(whole, tmp_path)
    chance, kills, reached = random.Random(int(time.time())), 0, []
    for attempt in range(3):
        log, resume = folder / "log.txt", ["--resume"] * (attempt > 0)
        before = log.stat().st_size if log.exists() else 0
        process = fork(_train, tmp_path / "said.txt", "-c", recipe, *resume)
        wait_for(lambda log=log, before=before: log.exists() and log.stat().st_size > before, process.is_alive)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        reached += [int(path.name[5:]) for path in checkpoints(folder)[-1:]]
    assert run_here(recipe, "--resume") == 0
    assert kills >= 1  # the tiny run may have been over before the later ones
    assert reached == sorted(reached)  # nothing that was saved is lost
    assert_same_end(folder, whole[1])
    leftovers = [p.name for p in folder.iterdir() if p.name.startswith(".")]
    assert not leftovers


def test_signals_save_a_checkpoint_and_name_their_exit_code(whole, tmp_path):
    recipe, folder = beside(whole, tmp_path)
    begun = 0
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = start(recipe, *["--resume"] * (begun > 0))
        points = len(read_curves(folder)) if begun else 0
        wait_for(
            lambda n=points: (folder / "curves.csv").exists() and len(read_curves(folder)) > n,
            lambda process=process: process.poll() is None,
        )
        process.send_signal(number)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, err
        assert out == ""
        step = json.loads((checkpoints(folder)[-1] / "state.json").read_text())["step"]
        assert max(begun, 2) <= step < TOTAL
        assert f"stopped by {number.name} at step {step} of {TOTAL}" in err
        assert not (folder / "final").exists()
        begun = step
    assert run_here(recipe, "--resume") == 0
    assert f"begin at step {begun} of {TOTAL}" in (folder / "log.txt").read_text()
    assert_same_end(folder, whole[1])


def test_a_torn_newest_file_of_curves_is_mended(whole, tmp_path):
    recipe, folder = beside(whole, tmp_path)
    shutil.copytree(whole[1], folder)
    shutil.copytree(whole[1].parent / "table", folder.parent / "table")
    for name in ("final", "best", f"step-{TOTAL:08d}"):
        shutil.rmtree(folder / name)
    curves = folder / "curves.csv"
    curves.write_text(curves.read_text() + "21,train/lo")
    assert [p.name for p in checkpoints(folder)] == ["step-00000018"]
    assert run_here(recipe, "--resume") == 0
    # The run went on from step 18; what was best at step 15 or before is in that checkpoint's state.
    assert (folder / "final/model.safetensors").read_bytes() == (whole[1] / "final/model.safetensors").read_bytes()
    assert [line.split(",")[:2] for line in read_curves(folder)] == [
        line.split(",")[:2] for line in read_curves(whole[1])
    ]


def test_only_the_newest_checkpoints_are_kept(whole):
    assert [p.name for p in checkpoints(whole[1])] == ["step-00000018", "step-00000021"]
    assert sorted(p.name for p in (whole[1] / "step-00000018").iterdir()) == [
        "ema.safetensors",
        "model.safetensors",
        "optimizer.safetensors",
        "recipe.yaml",
        "state.json",
    ]


def test_other_workers_and_another_folder_give_the_same_weights(whole, tmp_path):
    recipe, folder = beside(whole, tmp_path)
    assert run_here(recipe, "-o", "data.workers=2", "-o", "stages.class.checkpoint_every=100 steps") == 0
    assert_same_end(folder, whole[1])
