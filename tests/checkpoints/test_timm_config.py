"""What belongs to timm's weights, by the config.json beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from urnet.checkpoints.checkpoint import describe
from urnet.checkpoints.imagenet import class_names
from urnet.checkpoints.safetensors_io import write_safetensors
from urnet.config.recipe import Transform
from urnet.core.checks import InputError

GIVEN = {
    "tag": "a1_in1k",
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "num_classes": 1000,
}
VIEW = Transform(size=224, eval="short", resize_short=235, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def described(folder: Path, tree: object, text: str | None = None):
    write_safetensors(folder / "model.safetensors", {"a": np.zeros(1, np.float32)})
    (folder / "config.json").write_text(json.dumps(tree) if text is None else text)
    return [describe(path) for path in (folder, folder / "model.safetensors")]


def test_the_view_of_images_and_imagenets_names(tmp_path):
    """224 / 0.95 is 235.8, which timm rounds down."""
    for info in described(tmp_path, {"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": GIVEN}):
        assert (info.recipe.model.name, info.recipe.data.n_classes) == ("ResNet18", 1000)
        assert info.recipe.transform == VIEW
        assert (info.class_names, info.told_by) == (class_names(), "its config.json")


def test_names_of_ones_own(tmp_path):
    tree = {"architecture": "resnet50", "num_classes": 2, "label_names": ["a", "b"], "pretrained_cfg": GIVEN}
    for info in described(tmp_path, tree):
        assert (info.recipe.data.n_classes, info.class_names, info.imagenet) == (2, ["a", "b"], False)


def test_the_older_form_has_all_in_one(tmp_path):
    assert described(tmp_path, {"architecture": "resnet18", **GIVEN})[0].recipe.transform == VIEW


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"architectures": ["ViTForImageClassification"]}, None),
        ({"architecture": "vit_base_patch16_224", "num_classes": 1000, "pretrained_cfg": GIVEN}, None),
        ([1, 2], None),
        (None, "{"),
    ],
)
def test_what_is_none_of_ours_says_nothing(tmp_path, tree, text):
    assert all(info.recipe is None for info in described(tmp_path, tree, text))


@pytest.mark.parametrize(
    "change", [{"mean": [0.5]}, {"input_size": 224}, {"std": None}, {"crop_pct": "x"}, {"mean": [9, 9, 9]}]
)
def test_broken_values_are_one_line(tmp_path, change):
    tree = {"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": {**GIVEN, **change}}
    with pytest.raises(InputError, match=r"config\.json: ") as caught:
        described(tmp_path, tree)
    assert "\n" not in str(caught.value)
