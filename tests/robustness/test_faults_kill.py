"""Killed twenty times, anywhere in a run of all stages, and at its most delicate moments: the same bytes."""

import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import infer
from tests.helpers.faults import NAMES, assert_same_bytes, finish, make_web, prediction, start, write_recipe
from urnet.core import cli
from urnet.training.saving import checkpoints

KILLS = 20
POLL = 0.005  # seconds between two looks at a run, which cost it time on the same core


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed: images, results, seconds from its start to its first file, to each
    (stage, step) and to its end."""

    web: Path
    home: Path
    first: float
    steps: dict
    end: float


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are killed
    folder = tmp_path_factory.mktemp("whole")
    make_web(folder / "web")
    recipe = write_recipe(folder, folder / "web")
    start(recipe, "open *").join(600)  # the first fork waits for Paddle's import
    begun = time.time()
    finish(recipe)
    end, home = time.time() - begun, folder / "output/five"
    steps = {}
    for name in NAMES:
        points = [line.split(",") for line in (home / name / "curves.csv").read_text().splitlines()]
        steps.update({(name, int(p[0])): float(p[3]) - begun for p in points if p[1] == "lr"})
    return Whole(folder / "web", home, (home / ".lock").stat().st_mtime - begun, steps, end)


def reached(home: Path) -> tuple[str, int]:
    """Stage and step of the newest checkpoint; ("", 0) before the first one."""
    for name in reversed(NAMES):
        if checkpoints(home / name):
            return name, int(checkpoints(home / name)[-1].name[5:])
    return "", 0


def predictions(home: Path, web: Path, file: Path) -> bytes:
    """What infer.py writes with the last weights of a run."""
    assert cli.run(infer.main, [str(argument) for argument in prediction(home, web, file)]) == 0
    return file.read_bytes()


def assert_same_end(whole: Whole, home: Path, folder: Path) -> None:
    assert_same_bytes(home, whole.home)
    assert predictions(home, whole.web, folder / "a.csv") == predictions(whole.home, whole.web, folder / "b.csv")


def wait_until_after(place: tuple[str, int], seconds: float, whole: Whole, home: Path, process: Any) -> None:
    """Until ``seconds`` after the process has the run's lock and the run stands at ``place``, or until the
    next checkpoint or the process's end, where that is earlier."""
    order = [("", 0), *whole.steps]
    while process.is_alive():
        handles = Path(f"/proc/{process.pid}/fd").glob("*")
        with contextlib.suppress(OSError):  # the process ends just now
            if any(handle.resolve() == home / ".lock" for handle in handles):
                break
        time.sleep(POLL)
    while process.is_alive() and order.index(reached(home)) < order.index(place):
        time.sleep(POLL)
    end = time.monotonic() + seconds
    while process.is_alive() and order.index(reached(home)) <= order.index(place) and time.monotonic() < end:
        time.sleep(POLL)


@pytest.mark.slow
def test_killed_twenty_times_evenly_over_the_run(whole, tmp_path):
    """Once in each twentieth of the undisturbed run's time, counted from the last checkpoint before it.

    Moments and not seconds since the start, as a run that is resumed does not begin anew.
    """
    recipe, chance = write_recipe(tmp_path, whole.web), random.Random(5)
    home, seen, killed = tmp_path / "output/five", [], 0
    for k in range(KILLS):
        moment = (k + chance.random()) / KILLS * whole.end
        passed = {place: at for place, at in {("", 0): whole.first, **whole.steps}.items() if at <= moment}
        process = start(recipe)
        if passed:
            place, at = max(passed.items(), key=lambda item: item[1])
            wait_until_after(place, moment - at, whole, home, process)
        else:
            time.sleep(moment)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        seen.append(reached(home))
    finish(recipe)
    assert killed >= KILLS - 4  # a faster run than the undisturbed one is over before the last moments
    assert {name for name, _ in seen} >= {"", *NAMES}, seen
    assert seen == sorted(seen, key=[("", 0), *whole.steps].index)  # nothing that was saved is lost
    assert_same_end(whole, home, tmp_path)


DELICATE = {  # just before which operation (fault_toys.operations), in the order of a run
    "base.arrow is begun": "open */table/.base.arrow.*",
    "base.arrow has its name": "os.* TO */table/base.arrow",
    "a stage says what it is begun with": "os.rename TO */class/inputs.json",
    "the first checkpoint is begun": "os.mkdir */class/.step-00000001.*",
    "a checkpoint is half written": "open */class/.step-00000002.*/state.json",
    "the list of unreadable images has its name": "os.rename TO */class/unreadable.txt",
    "a checkpoint has its name": "os.rename TO */class/step-00000003",
    "an old checkpoint is half removed": "os.rmdir *step-00000002",
    "the classes' means have their name": "os.rename TO */class/best/in_classes.safetensors",
    "the last weights have their name": "os.rename TO */class/final",
    "a shard is begun": "os.mkdir */measure/cluster/.shard-*",
    "a shard has its name": "os.rename TO */measure/cluster/shard-00000",
    "a column file is begun": "open */table/.cluster.arrow.*",
    "a column file has its name": "os.rename TO */table/cluster.arrow",
    "a measurement is half removed": "os.rmdir *shard-00000",
    "the attention has its name": "os.rename TO */table/bag.arrow",
    "a stage of bags has its last weights": "os.mkdir */bag/.final.*",
    "targets are written": "os.rename TO */table/label.arrow",
    "the very last weights have their name": "os.rename TO */label/final",
}


QUICK = (  # the kinds that take part in every run of the suite
    "base.arrow has its name",
    "a checkpoint is half written",
    "an old checkpoint is half removed",
    "a column file is begun",
    "a measurement is half removed",
    "the very last weights have their name",
)


@pytest.mark.parametrize("moments", [QUICK, pytest.param(tuple(DELICATE), marks=pytest.mark.slow)], ids=["six", "all"])
def test_killed_at_delicate_moments(whole, tmp_path, moments):
    recipe, home = write_recipe(tmp_path, whole.web), tmp_path / "output/five"
    for what in moments:
        process = start(recipe, DELICATE[what])
        process.join(600)
        assert process.exitcode == -signal.SIGKILL, (what, Path(f"{recipe}.txt").read_text()[-2000:])
    finish(recipe)
    assert_same_end(whole, home, tmp_path)
