"""Stages that train the classifier, or the last part of the network, on activations that are kept."""

import json
import shutil

import numpy as np
import pytest
import yaml

import eval as evaluation
import models
from tests.helpers.predict import run
from tests.helpers.tiny_training import run_here, write_images, write_recipe
from urnet.checkpoints.safetensors_io import read_safetensors
from urnet.config.recipe import load_recipe
from urnet.core.checks import InputError
from urnet.data.kept.kept_features import difference, records_of
from urnet.suspects.network import feature_network

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


def test_everything_is_computed_once_and_shared(home):
    """61 images to train with and 12 to validate; what a stage leaves as it was is not computed again after it."""
    found = sorted((len(records_of(path)), path.name.split("-")[0]) for path in (home / "kept.features").iterdir())
    views = [(61, "features")] + 2 * [(61, "front")]  # "two" mirrored; "top" mirrored and a random view
    assert found == sorted([*views, (73, "front"), *2 * [(73, "features")]])  # of "whole", and of "top" for "again"
    assert not (home / "measure").exists()


def test_what_passed_the_frozen_part_is_counted_once(home):
    """Beside 21 steps of 8 rows: "one" in one view, "two" in another one, "top" in three, "again" to be measured."""
    passes = [json.loads((home / stage["name"] / "final" / "state.json").read_text())["passes"] for stage in STAGES]
    before = [count["forward"] - count["backward"] for count in passes]
    assert [count["backward"] for count in passes] == [336, *4 * [168]]
    assert before == [0, 61, 61, 3 * 61, 61]


def test_killed_stages_go_on_to_the_same_bytes_though_what_was_kept_is_gone(home, tmp_path):
    shutil.copytree(home, tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny" / "kept.features")
    for stage in ("two", "top"):
        shutil.rmtree(tmp_path / "tiny" / stage / "final")
        shutil.rmtree(max((tmp_path / "tiny" / stage).glob("step-*")))
    assert run_here(home.parents[1] / "tiny.yaml", "--resume", "-o", f"output={tmp_path}") == 0
    for stage in ("two", "top"):
        for name in ("model.safetensors", "in_classes.safetensors", "state.json"):
            again, whole = (folder / stage / "final" / name for folder in (tmp_path / "tiny", home))
            assert again.read_bytes() == whole.read_bytes(), (stage, name)


@pytest.fixture
def images(home):
    return home.parents[1]


def start_of(home):
    return {"start": str(home / "whole" / "final")}


def other(images, folder, stages, **data):
    """A recipe of the same images whose results go elsewhere."""
    path = folder / "other.yaml"
    folder.mkdir(exist_ok=True)
    tree = yaml.safe_load((images / "tiny.yaml").read_text())
    tree.update(stages=stages, output=str(folder / "output"))
    tree["data"].update(data)
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_features_of_suspects_are_those_of_training(home, images, tmp_path, capsys):
    network = feature_network(home / "whole" / "final", build=models.build)
    (file,) = (f for f in (home / "kept.features").iterdir() if not difference(f, network.identity()))
    shutil.copy(file, tmp_path / "suspects.features")
    stage = {**STAGES[1], **start_of(home)}
    recipe = other(images, tmp_path, [stage], features=str(tmp_path / "suspects.features"))
    assert run_here(recipe) == 0
    assert (tmp_path / "suspects.features").read_bytes() == file.read_bytes()
    assert not (tmp_path / "output" / "tiny" / "kept.features").exists()
    shutil.copytree(home / "whole", tmp_path / "output" / "tiny" / "whole")
    assert learned(tmp_path / "output" / "tiny", "whole", "one") == {"fc.weight", "fc.bias"}
    capsys.readouterr()
    shutil.copy(max((home / "kept.features").glob("front-*")), tmp_path / "suspects.features")
    assert run_here(recipe, "--replace") == 0
    said = capsys.readouterr().err
    assert "suspects.features: its features are made with" in said and "those of stage one are in" in said
    assert len(list((tmp_path / "output" / "tiny" / "kept.features").iterdir())) == 1


def test_unreadable_images_have_no_weight(home, images, tmp_path, capsys):
    shutil.copytree(images / "train", tmp_path / "train")
    (tmp_path / "train" / "003.png").write_bytes(b"none")
    stage = {**STAGES[2], **start_of(home), "reweight": None, "sampling_weight": []}
    recipe = other(images, tmp_path, [stage], root=str(tmp_path), val_root=str(images))
    assert run_here(recipe) == 2
    assert "003.png: is not a readable image" in capsys.readouterr().err
    assert run_here(recipe, "-o", "data.max_bad=1") == 0
    assert "003.png" in (tmp_path / "output" / "tiny" / "two" / "unreadable.txt").read_text()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"train": "classifier"}, r"one.start: found 'previous \(random weights\)'; accepted: weights whose features"),
        ({"train": "top", "start": "scratch"}, "one.start: found 'scratch'; accepted: weights whose features mean"),
        ({"views": 2}, r"one.views: found 2; accepted: 1 \(its default\), as train is all"),
        ({"data": {"features": "f"}}, "data.features: found 'f'; accepted: null, as every stage trains the whole"),
        ({"train": "head"}, "one.train: found 'head'; accepted: all, top, classifier"),
    ],
)
def test_what_makes_no_sense_is_refused(images, tmp_path, keys, words):
    data = keys.pop("data", {})
    with pytest.raises(InputError, match=words):
        load_recipe(other(images, tmp_path, [{**FROZEN, "name": "one", **keys}], **data))


def test_augmentations_that_no_kept_view_shows_are_refused(images, tmp_path):
    stages = [{**FROZEN, "name": name, "train": "classifier", "views": 2, "start": "imagenet"} for name in "ab"]
    recipe = other(images, tmp_path, stages)
    flip = "transform.flip=true"
    for text in ("transform.erasing=0.2", "transform.trivial_augment=true"):
        with pytest.raises(InputError, match=rf"{text.split('=')[0]}: found .*no stage .* or has `views` above 2"):
            load_recipe(recipe, [text, flip])
        for more in ("stages.b.views=3", "transform.flip=false"):
            load_recipe(recipe, [text, flip, more])
    load_recipe(recipe, [flip])


def test_a_network_without_a_cut_is_refused_before_anything_runs(images, tmp_path, capsys):
    stages = [{**FROZEN, "name": "first"}, {**FROZEN, "name": "one", "train": "top"}]
    recipe = other(images, tmp_path, stages)
    assert run_here(recipe, "--dry-run", "-o", "model.name=DenseNet121", "-o", "transform.size=32") == 2
    assert "stages.one.train: found top, but network DenseNet121 has no `front`" in capsys.readouterr().err


def test_a_file_of_something_else_is_refused_before_anything_runs(home, images, tmp_path, capsys):
    recipe = other(images, tmp_path, [{**STAGES[1], **start_of(home)}], features=str(images / "tiny.yaml"))
    assert run_here(recipe, "--dry-run") == 2
    assert "tiny.yaml: is not a file of kept features" in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_refused(home, images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    recipe = other(images, tmp_path, [{**STAGES[3], **start_of(home)}])
    assert run_here(recipe) == 2
    assert "1.2 MB in" in (said := capsys.readouterr().err) and "but 1 kB are free there; use fewer views" in said
