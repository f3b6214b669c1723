"""Stages that train the classifier, or the last part of the network, on activations that are kept."""

import json

import numpy as np
import pytest
import yaml

import eval as evaluation
from tests.helpers.predict import run
from tests.helpers.tiny_training import run_here, write_images, write_recipe
from urnet.checkpoints.safetensors_io import read_safetensors

FROZEN = {
    "batch_size": 8,
    "duration": "3 epochs",
    "optimizer": {"clip_norm": 5.0},
    "schedule": {"lr": 0.05},
    "eval_every": "5 steps",
    "checkpoint_every": "3 steps",
    "log_every": 2,
}
HEAD_ONLY = {"method": "instance", "relevance": "posterior", "evidence": {"text": 0, "rank_bins": 0, "noise": 0}}
STAGES = [
    {**FROZEN, "name": "whole", "duration": "6 epochs", "eval_every": "9 epochs"},
    {**FROZEN, "name": "one", "train": "classifier", "ema": {"decay": 0.9}},
    {
        **FROZEN,
        "name": "two",
        "train": "classifier",
        "views": 2,
        "mixup": 0.2,
        "reweight": HEAD_ONLY,
        "sampling_weight": ["instance_weight"],
    },
    {**FROZEN, "name": "top", "train": "top", "views": 3, "ema": {"decay": 0.9}},
    {**FROZEN, "name": "again", "train": "classifier", "reweight": {**HEAD_ONLY, "suffix": "_again"}},
]


def write(folder, stages=STAGES, **data):
    path = write_recipe(folder)
    tree = yaml.safe_load(path.read_text())
    tree["model"]["name"], tree["stages"] = "ResNet8_small32", stages
    tree["data"].update(data)
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen")
    write_images(folder)
    assert run_here(write(folder)) == 0
    return folder / "output" / "tiny"


def weights(home, stage):
    return read_safetensors(home / stage / "final" / "model.safetensors")


def learned(home, before, after):
    first, second = weights(home, before), weights(home, after)
    return {name for name in first if not np.array_equal(first[name], second[name])}


def test_only_what_is_trained_changes_by_a_bit(home):
    for before, after in (("whole", "one"), ("one", "two"), ("top", "again")):
        assert learned(home, before, after) == {"fc.weight", "fc.bias"}
    changed = learned(home, "two", "top")
    assert {name.split(".")[0] for name in changed} == {"fc", "units"}
    assert {name.split(".")[1] for name in changed if name.startswith("units")} == {"2"}
    assert not [name for name in changed if name.endswith(("._mean", "._variance"))]


def test_what_was_logged_is_what_the_images_give(home, capsys):
    images = home.parents[1]
    for stage in ("one", "top", "again"):
        last = json.loads((home / stage / "final" / "state.json").read_text())["last"]
        where = ["--img_list", images / "val.txt", "--img_path", images, "--image_shape", "3,16,16"]
        argv = [str(word) for word in ("--pretrained_model", home / stage / "final", *where)]
        code, _, lines, _ = run(capsys, evaluation.main, argv)
        assert code == 0
        assert float(lines[-1].split()[0].removeprefix("top1:")) == pytest.approx(last["top1"], abs=1e-4)
        assert (home / stage / "final" / "in_classes.safetensors").is_file()
