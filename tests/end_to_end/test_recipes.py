"""Every shipped recipe, all its stages from end to end, over a tiny data set in the layout it names."""

from pathlib import Path

import numpy as np
import pytest

import models
from tests.helpers.webvision import N_CLASSES, write_folders, write_listed, write_web
from urnet.checkpoints import checkpoint
from urnet.checkpoints.imagenet import is_word
from urnet.config.recipe import active_stages
from urnet.config.tiny import own_place, tiny_overrides
from urnet.data.table.table import Table
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.registry import column_files
from urnet.pipeline.run import plan_recipe, run_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))
STAGES = {  # of each recipe; URNet's others have all five
    "benchmark32": ["class", "instance", "label"],
    "benchmark32_images": ["class", "instance", "label"],
    "folder": ["class", "cluster", "instance", "finetune"],
    "curriculumnet": ["a", "b", "c", "d"],
    "curriculumnet_inception_v2": ["a", "b", "c", "d"],
    "gated": ["base", "gate", "tail"],
    "gated_resnet101": ["base", "gate", "tail"],
    "pci": ["a", "b1", "b2", "c"],
    "pci_resnet101": ["a", "b1", "b2", "c"],
    "se_resnext50_32x4d": ["train"],
    **{name: [name] for name in ("elr", "elr_plus", "generalised", "mixup", "smoothing", "sop", "symmetric")},
    **{name: [name] for name in ("co_teaching", "dividemix")},
}
ALL_FIVE = ["class", "cluster", "instance", "bag", "label"]
SMALL = ["transform.size=32", "data.workers=0", "device=cpu", f"data.n_classes={N_CLASSES}"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A data set of each format, and its number of training rows."""
    root = tmp_path_factory.mktemp("data")
    n_rows = {f"webvision{version}": write_web(root / f"webvision{version}", version) for version in (1, 2)}
    n_rows["folder"] = write_folders(root / "folder")
    return root, {**n_rows, "imagenet": write_listed(root / "imagenet", root / "folder")}


@pytest.fixture(scope="module", params=RECIPES, ids=lambda path: path.stem)
def run(request, folders, tmp_path_factory):
    """A recipe cut down, its results, and the number of rows it trained on."""
    root, n_rows = folders
    recipe = load_recipe(request.param)
    kind = recipe.data.format
    where = [f"data.root={root / kind / 'train'}", f"data.val_root={root / kind / 'val'}"]
    # A recipe's own network where it is small: those for 224 pixels take minutes.
    small = recipe.model.name if recipe.model.name.endswith("_small32") else "ResNet8_small32"
    overrides = [
        *SMALL,
        f"model.name={small}",
        f"output={tmp_path_factory.mktemp('output')}",
        *(where if kind == "folder" else [f"data.root={root / kind}"]),
        *([f"data.train_list={root}/imagenet/train_list.txt"] if kind == "imagenet" else []),
    ]
    first = recipe.stages[0]
    if is_word(first.start):  # published weights are of a large network, and not in the test's machine
        place = tmp_path_factory.mktemp("start")
        weights = {name: value.numpy() for name, value in models.build(small, 7).state_dict().items()}
        checkpoint.save(place / "weights", weights=weights, state={})
        overrides += [f"stages.{first.name}.start={place}/weights", f"stages.{first.name}.finetune=true"]
    overrides = [*tiny_overrides(recipe, least_size=32), *overrides, *own_place(recipe), "data.limit=null"]
    recipe = load_recipe(request.param, overrides)
    return recipe, run_recipe(recipe, lambda: models.build(small, N_CLASSES)), n_rows[kind]


def columns_of(run):
    """(stage, its column file, name, values) of every column that the run wrote."""
    recipe, _, _ = run
    table = Table.open(Path(recipe.output) / recipe.name / "table")
    for stage in active_stages(recipe):
        for file, columns in column_files(stage).items():
            for name, column in columns.items():
                assert table.file_of(name) == file
                assert table.column(name).dtype == column.kind
                yield stage, name, table.column(name)


def test_all_stages_finish(run):
    recipe, results, _ = run
    assert [result.stage for result in results] == [stage.name for stage in active_stages(recipe)]
    assert [result.stage for result in results] == STAGES.get(recipe.name.removesuffix("-tiny"), ALL_FIVE)
    for result in results:
        assert result.last["step"] == 4
        assert 0 <= result.last["top1"] <= 1
        assert (result.folder / "final" / "model.safetensors").is_file()


def test_columns_are_whole_and_keep_the_laws(run):
    recipe, _, n_rows = run
    labels = Table.open(Path(recipe.output) / recipe.name / "table").column("label")
    written = {name: values for _, name, values in columns_of(run)}
    for name, values in written.items():
        assert len(values) == n_rows
        seen = np.isfinite(values)
        assert seen.any() if name == "bag_attention" else seen.all()  # four steps see a part of the rows
    weights = ("cluster_weight", "instance_weight", "label_weight", "image_weight")
    for name in (name for name in written if name.startswith(weights)):
        assert (written[name] >= 0).all()
        means = [written[name][labels == c].mean() for c in range(N_CLASSES)]
        np.testing.assert_allclose(means, 1, rtol=1e-5)
    assert (written.get("class_weight", np.ones(1)) > 0).all()
    if "subset" in written:
        assert set(written["subset"].tolist()) <= {0, 1, 2}
        assert set(labels[written["subset"] == 0].tolist()) == set(range(N_CLASSES))
    if "topk_prob" in written:
        np.testing.assert_allclose(written["topk_prob"].astype(np.float64).sum(1), 1, atol=5e-3)


def test_a_second_call_keeps_everything(run):
    recipe, results, _ = run
    assert {step.stage.name: step.action for step in plan_recipe(recipe)} == {
        result.stage: "keep" for result in results
    }


def test_measurements_are_removed(run):
    recipe, _, _ = run
    assert not list((Path(recipe.output) / recipe.name).glob("measure/*"))
