"""A run that starts from published weights, or a checkpoint's: their view of images, unless the recipe has its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

import models
import train
from tests.helpers.faulty_server import Served, serving
from tests.helpers.predict import save_checkpoint, weights_of
from tests.helpers.published_weights import FILE, NETWORK, WORD, PublishedFile
from tests.helpers.tiny_training import write_recipe
from urnet.checkpoints import checkpoint
from urnet.checkpoints.published import FOLDER
from urnet.config.recipe import Transform
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.start_weights import taken_over

WEIGHTS = Transform(size=299, eval="short", resize_short=320, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SHORT = {
    "duration": "2 steps",
    "checkpoint_every": "2 steps",
    "eval_every": "2 steps",
    "ema": None,
    "mixup": 0.0,
    "schedule": {"lr": 0.001},
}
VIEW = ("size", "eval", "resize_short", "mean", "std")


@pytest.fixture(scope="module")
def file(images, tmp_path_factory):
    return PublishedFile(tmp_path_factory.mktemp("published"), images / "train", ["000.png", "001.png", "002.png"])


def recipe_in(images, folder, model=NETWORK, transform=None, **stage):
    """A recipe whose run is in ``folder``, and what it says of the view of images."""
    path = write_recipe(images, **{**SHORT, **stage})
    tree = yaml.safe_load(path.read_text())
    tree["transform"] = {"train": "pad_crop", "pad": 2, **(transform or {})}
    tree.update(model={"name": model}, output=str(folder))
    place = folder / "recipe.yaml"
    folder.mkdir(exist_ok=True)
    place.write_text(yaml.safe_dump(tree))
    return place


# --- laws


@pytest.mark.parametrize(
    ("own", "said", "taken"),
    [
        ({}, (), {"size", "eval", "resize_short", "mean", "std"}),
        ({"size": 224}, ("size",), {"mean", "std"}),
        ({"size": 299}, ("size",), {"eval", "resize_short", "mean", "std"}),
        ({"eval": "straight"}, ("eval",), {"mean", "std"}),
        ({"mean": (0.4, 0.4, 0.4)}, ("mean",), {"size", "eval", "resize_short"}),
        ({"size": 32, "std": (1.0, 1.0, 1.0)}, ("size", "std"), set()),
        ({"scale": (0.5, 1.0), "flip": False}, ("scale", "flip"), {"size", "eval", "resize_short", "mean", "std"}),
    ],
)
def test_a_group_is_taken_over_unless_the_recipe_says_one_of_it_otherwise(own, said, taken):
    before = Transform(**own)
    after = taken_over(before, dict.fromkeys(said), WEIGHTS)
    assert {name for name in VIEW if getattr(after, name) != getattr(before, name)} == taken
    assert all(getattr(after, name) == getattr(WEIGHTS, name) for name in taken)
    assert (after.scale, after.flip, after.train) == (before.scale, before.flip, before.train)


def test_a_word_is_made_whole_and_implies_a_new_classifier(images, tmp_path, capsys):
    path = recipe_in(images, tmp_path, start="imagenet", measure={"network": "imagenet"})
    stage = load_recipe(path).stages[0]
    assert (stage.start, stage.measure.network, stage.finetune) == (WORD, WORD, True)
    assert load_recipe(path).transform == Transform(train="pad_crop", pad=2, eval="short")
    line = f"{WORD}: images are prepared the way its weights need: transform.eval=short (set them in the recipe"
    assert line in capsys.readouterr().err
    said = load_recipe(path, ["transform.size=32", "transform.mean=[0.4, 0.4, 0.4]"]).transform
    assert (said.size, said.eval, said.mean) == (32, "straight", (0.4, 0.4, 0.4))
    text = capsys.readouterr().err
    assert "note: imagenet:ResNet18: its weights were made with transform.mean=[0.485, 0.456, 0.406]" in text
    assert "this run keeps its own, transform.mean=[0.4, 0.4, 0.4], transform.size=32, transform.eval=straight" in text


@pytest.mark.parametrize(
    ("stage", "model", "line"),
    [
        ({"start": "imagenet"}, "SENet154", r"stages\.class\.start: imagenet: Paddle has no weights of SENet154, but"),
        ({"start": "imagenet:ResNet50"}, NETWORK, r"imagenet:ResNet50: the network is ResNet18"),
        ({"measure": {"network": "imagenet:X"}}, NETWORK, r"stages\.class\.measure\.network: imagenet: no weights"),
    ],
)
def test_words_that_mean_nothing_are_refused_at_once(images, tmp_path, stage, model, line):
    with pytest.raises(InputError, match=line):
        load_recipe(recipe_in(images, tmp_path, model, **stage))


def test_the_view_of_a_checkpoint_is_taken_over_but_not_by_a_run_begun_before(images, tmp_path, capsys):
    """Unless it is asked to run anew; and what a run took over it takes over again."""
    theirs = Transform(size=16, eval="short", resize_short=18, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    made = yaml.safe_load(recipe_in(images, tmp_path / "made").read_text())
    network = models.build("ResNeXt_small32", 3)
    folder = tmp_path / "theirs"
    recipe = load_recipe(recipe_in(images, tmp_path / "theirs_recipe", "ResNeXt_small32"))
    recipe = recipe.__class__(**{**vars(recipe), "transform": theirs})
    save_checkpoint(folder, network, recipe, class_names=None)
    path = recipe_in(images, tmp_path / "run", "ResNeXt_small32", {"size": 16}, start=str(folder), finetune=True)
    assert made["name"] == "tiny"
    capsys.readouterr()
    own = tuple(getattr(Transform(size=16), name) for name in VIEW)
    new = tuple(getattr(theirs, name) for name in VIEW)

    def view(**how):
        transform = load_recipe(path, **how).transform
        return tuple(getattr(transform, name) for name in VIEW)

    assert view() == new
    assert f"{folder}: images are prepared the way its weights need: transform.mean" in capsys.readouterr().err
    stage = tmp_path / "run" / "tiny" / "class"
    stage.mkdir(parents=True)
    for begun, expected in ((own, own), (new, new)):
        inputs = {f"transform.{name}": value for name, value in zip(VIEW, begun, strict=True)}
        (stage / "inputs.json").write_text(json.dumps(inputs))
        assert view() == expected
        assert view(replace=True) == new
    (stage / "inputs.json").write_text(json.dumps({f"transform.{n}": v for n, v in zip(VIEW, own, strict=True)}))
    capsys.readouterr()
    assert view() == own
    assert f"note: {folder}: its weights were made with transform.mean=[0.4, 0.5, 0.6]" in capsys.readouterr().err


# --- runs


def called(capsys, *arguments):
    code = cli.run(train.main, list(map(str, arguments)))
    return code, *capsys.readouterr()


def test_a_run_from_the_word(images, file, tmp_path, monkeypatch, capsys):
    """A plan fetches nothing; the run does, once; then it is kept, until the published file is another."""
    served, cache = Served(file.path.read_bytes()), tmp_path / "cache"
    transform = {"size": 16, "eval": "short", "resize_short": 18}
    stage = {"reweight": {"method": "cluster", "rows_per_cluster": 5}, "measure": {"network": "imagenet"}}
    path = recipe_in(images, tmp_path / "run", transform=transform, loss_weight=[], **stage)
    with serving({f"/{FILE}": served}) as address:
        file.published(monkeypatch, cache, address)
        code, out, err = called(capsys, "-c", path, "--init", "imagenet", "--dry-run")
        assert (code, out) == (0, "stage class run: not trained yet\n")
        assert f"{WORD} is not on this machine; it would be downloaded from {address}/{FILE} to {cache}/{FILE}" in err
        assert not served.starts and not cache.exists()
        code, out, err = called(capsys, "-c", path, "--init", "imagenet")
    assert code == 0, err
    assert len(served.starts) == 1
    assert f"stage class: from {WORD}: fc is new, of 3 classes (1000 there); the rest is loaded" in err
    folder = tmp_path / "run" / "tiny" / "class"
    info = checkpoint.describe(folder / "final")
    assert (info.recipe.stages[0].start, info.recipe.data.n_classes) == (WORD, 3)
    inputs = json.loads((folder / "inputs.json").read_text())
    assert inputs["start"] == f"published md5:{file.md5}"
    final = checkpoint.read_weights(folder / "final")
    own = weights_of(file.network)
    near = np.abs(final["layer1.0.conv1.weight"] - own["layer1.0.conv1.weight"]).max()
    assert final["fc.weight"].shape == (512, 3) and near < 0.1 * np.abs(own["layer1.0.conv1.weight"]).max()
    monkeypatch.setenv(FOLDER, str(cache))
    code, _, err = called(capsys, "-c", path, "--init", "imagenet", "--dry-run")
    assert code == 0
    monkeypatch.setattr(file, "md5", "0" * 32)
    file.published(monkeypatch, tmp_path / "empty")
    code, out, err = called(capsys, "-c", path, "--init", "imagenet", "--dry-run")
    assert (
        code == 0
        and out.startswith("stage class again: ")
        and "what it starts from, published weights, differs (md5:" in out
    )


def test_a_reweighting_that_uses_the_networks_classes_is_refused(images, file, tmp_path, monkeypatch, capsys):
    """ImageNet's 1,000 are not the run's; features alone would do."""
    file.published(monkeypatch, tmp_path / "cache")
    monkeypatch.setenv(FOLDER, str(file.path.parent))
    stage = {"reweight": {"method": "cluster", "confidence": "network"}, "measure": {"network": "imagenet"}}
    path = recipe_in(images, tmp_path / "run", transform={"size": 16}, loss_weight=[], **stage)
    code, _, err = called(capsys, "-c", path, "--dry-run")
    assert code == 2
    assert "has 1000 classes" in err and "the reweighting of stage class uses the classes of the network" in err


def test_other_programs_words_lead_to_it(images, tmp_path, capsys):
    path = recipe_in(images, tmp_path)
    for argv in (["--pretrained"], ["--pretrained", "True"], ["-o", "model.pretrained=true"]):
        code, _, err = called(capsys, "-c", path, *argv)
        assert code == 2 and "--init imagenet" in err, err
