"""What a recipe leaves to the machine or to its user's folders: the network, and the validation part."""

import pytest
import yaml

from urnet.core.checks import InputError
from urnet.pipeline import run_folder
from urnet.pipeline.recipes import load_recipe

STAGES = [{"name": "class", "duration": "2 steps"}, {"name": "label", "duration": "2 steps"}]


@pytest.fixture
def path(tmp_path):
    data = {"root": str(tmp_path / "mine"), "format": "folder", "n_classes": 3, "val_split_default": 0.1}
    tree = {"name": "auto", "data": data, "model": {"name": "auto"}, "stages": STAGES, "output": str(tmp_path / "out")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "recipe.yaml"


def test_without_a_gpu_the_small_network_is_taken_and_said(path, capsys):
    assert load_recipe(path, ["device=cpu"]).model.name == "EfficientNetLite0"
    said = capsys.readouterr().err
    assert said == (
        "model.name: auto is EfficientNetLite0, as it trains on the CPU (-o model.name=NETWORK sets another)\n"
    )
    assert load_recipe(path, ["model.name=ResNet18"]).model.name == "ResNet18"
    assert capsys.readouterr().err == ""


def test_a_run_that_was_begun_elsewhere_keeps_its_network(path, tmp_path, capsys):
    folder = tmp_path / "out/auto/label"  # the second stage: the first one's folder may be gone
    folder.mkdir(parents=True)
    on_gpu = load_recipe(path, ["model.name=ResNet50"])
    run_folder.begin(folder, on_gpu, {"model.name": "ResNet50"})
    assert load_recipe(path) == on_gpu
    assert f"auto is ResNet50, with which {folder} was begun" in capsys.readouterr().err
    assert load_recipe(path, ["device=cpu"], replace=True).model.name == "EfficientNetLite0"
    assert load_recipe(path, ["device=cpu", "name=other"]).model.name == "EfficientNetLite0"


def test_a_part_is_held_back_where_nothing_else_is_said(path):
    """One command in two forms: with validation images of their own, and without."""
    assert load_recipe(path).data.val_split == 0.1
    for given in ("val_root=val", "val_list=val.txt"):
        assert load_recipe(path, [f"data.{given}"]).data.val_split is None
    assert load_recipe(path, ["data.val_split=0.3"]).data.val_split == 0.3
    assert load_recipe(path, ["data.format=webvision2"]).data.val_split is None  # it has its own
    for given in ("2", "0"):
        with pytest.raises(InputError, match=r"data.val_split_default: found .*accepted: 0 < val_split_default < 1"):
            load_recipe(path, [f"data.val_split_default={given}"])
