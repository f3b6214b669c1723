"""A run of all five stages, killed at any moment and resumed, ends with the bytes of one that was not."""

import json
import random
import signal
import time

import pytest

from tests.helpers.tiny_stages import SHORT
from tests.helpers.tiny_training import run, start
from tests.helpers.webvision import N_CLASSES, write_web

STAGE = {**SHORT, "checkpoint_every": "1 steps", "batch_size": 8, "balance": 1.0}
STAGES = [
    {**STAGE, "name": "class", "balance": 0.0, "reweight": {"method": "class_size"}, "loss_weight": ["class_weight"]},
    {**STAGE, "name": "cluster", "reweight": {"method": "cluster"}, "sampling_weight": ["cluster_weight"]},
    {**STAGE, "name": "instance", "reweight": {"method": "instance"}, "sampling_weight": ["instance_weight"]},
    {**STAGE, "name": "bag", "sampling_weight": ["relevance"], "bags": {"size": 2}},
    {
        **STAGE,
        "name": "label",
        "reweight": {"method": "label", "rho": "inf", "certainty": 1},
        "targets": "label",
        "sampling_weight": ["label_weight"],
        "loss_weight": ["target_weight"],
    },
]
FILES = [
    *(f"{stage['name']}/final/model.safetensors" for stage in STAGES),
    *(f"table/{name}.arrow" for name in ("base", "class", "cluster", "instance", "bag", "label")),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The recipe and the folder of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    write_web(folder / "web", 2)
    tree = {
        "name": "five",
        "output": str(folder / "output"),
        "stages": STAGES,
        "transform": {"size": 32},
        "data": {"root": str(folder / "web"), "n_classes": N_CLASSES},
        "model": {"name": "ResNet8_small32"},
    }
    (folder / "five.yaml").write_text(json.dumps(tree))
    done = run(folder / "five.yaml")
    assert done.returncode == 0, done.stderr
    return folder / "five.yaml", folder / "output/five"


def assert_same_bytes(folder, expected):
    for file in FILES:
        assert (folder / file).read_bytes() == (expected / file).read_bytes(), file


def test_killed_at_random_moments_of_any_stage(whole, tmp_path):
    recipe, expected = whole
    chance, kills = random.Random(int(time.time())), 0
    for attempt in range(5):
        process = start(recipe, "-o", f"output={tmp_path}", *["--resume"] * (attempt > 0))
        time.sleep(chance.uniform(1.5, 4.5))  # Paddle takes a second or two to import
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    done = run(recipe, "-o", f"output={tmp_path}", "--resume")
    assert done.returncode == 0, done.stderr
    assert kills >= 1
    assert_same_bytes(tmp_path / "five", expected)
    assert not list((tmp_path / "five").rglob("*.tmp"))
    assert not (tmp_path / "five/measure").exists()


def test_stage_by_stage_is_the_same_as_at_once(whole, tmp_path):
    recipe, expected = whole
    for options in (("--until", "cluster"), ("--stage", "instance"), ()):
        done = run(recipe, "-o", f"output={tmp_path}", *options)
        assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished already, kept") == 3
    assert_same_bytes(tmp_path / "five", expected)
