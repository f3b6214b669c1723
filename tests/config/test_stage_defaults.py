"""``stage_defaults``: keys that every stage takes unless it says otherwise, gone before anything is hashed."""

import pytest
import yaml

from urnet.config.recipe import dump_recipe, recipe_hash, recipe_tree
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe

TREE = {
    "name": "r",
    "data": {"root": "images", "n_classes": 10},
    "model": {"name": "ResNeXt_small32"},
    "stage_defaults": {
        "batch_size": 64,
        "ema": {"decay": 0.9, "bn_batches": 3},
        "schedule": {"lr": 0.05, "warmup": "1 epochs"},
        "loss_weight": ["class_weight"],
        "amp": False,  # how YAML reads a bare `off`
    },
    "stages": [
        {"name": "one", "duration": "2 epochs", "reweight": {"method": "class_size"}},
        {"name": "two", "duration": "1 epochs", "ema": None, "loss_weight": [], "schedule": {"lr": 0.01}},
    ],
}


def load(tmp_path, *overrides, **keys):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({**TREE, **keys}))
    return load_recipe(path, overrides)


def test_a_stage_takes_what_it_does_not_say_and_mappings_are_merged(tmp_path):
    one, two = load(tmp_path).stages
    assert (one.batch_size, two.batch_size) == (64, 64)
    assert (one.ema.decay, one.ema.bn_batches, two.ema) == (0.9, 3, None)
    assert (one.schedule.lr, two.schedule.lr) == (0.05, 0.01)
    assert one.schedule.warmup == two.schedule.warmup
    assert (one.loss_weight, two.loss_weight) == (("class_weight",), ())


def test_a_recipe_written_out_is_the_same_recipe(tmp_path):
    recipe = load(tmp_path)
    tree = recipe_tree(recipe)
    assert "stage_defaults" not in tree
    again = load(tmp_path, **tree, stage_defaults={})
    assert again == recipe
    assert recipe_hash(again) == recipe_hash(recipe)
    assert dump_recipe(again) == dump_recipe(recipe)


@pytest.mark.parametrize(
    ("overrides", "lr"),
    [
        (["stage_defaults.schedule.lr=0.2"], (0.2, 0.01)),  # the stage in the file goes before it
        (["stages.two.schedule.lr=0.3", "stage_defaults.schedule.lr=0.2"], (0.2, 0.3)),  # in whatever order
        (["stage_defaults={}"], (0.1, 0.01)),
        (["stages.0.schedule={}"], (0.1, 0.01)),  # a whole key of a stage is all that it has
    ],
)
def test_precedence(tmp_path, overrides, lr):
    assert tuple(stage.schedule.lr for stage in load(tmp_path, *overrides).stages) == lr


def test_an_override_of_one_stage_leaves_the_others(tmp_path):
    one, two = load(tmp_path, "stages.one.schedule.warmup=2 epochs", "stages.one.ema.decay=0.5").stages
    assert str(one.schedule.warmup) == "2 epochs" and str(two.schedule.warmup) == "1 epochs"
    assert (one.ema.decay, one.ema.bn_batches) == (0.5, 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage_defaults.batchsize=1", "unknown key stage_defaults.batchsize; nearest: stage_defaults.batch_size"),
        ("stage_defaults.schedule.l=1", "unknown key stage_defaults.schedule.l; no key is similar"),
        ("stage_defaults.gate={schedule: step}", "stages.one.gate.threshold is missing"),
        ("stage_defaults.batch_size=0", "stages.one.batch_size: found 0; accepted: 1 or more"),
        ("stage_defaults.name=a", "stage_defaults.name: each stage says its own"),
        ("stage_defaults=3", "stage_defaults: a mapping of keys is needed, found 3"),
        ("stage_default.keep=1", "unknown key stage_default; nearest: stage_defaults"),
        ("stages=3", "stages: a list is needed, found 3"),
    ],
)
def test_slips_are_named_where_they_are_written(tmp_path, override, message):
    with pytest.raises(InputError) as error:
        load(tmp_path, override)
    assert message in str(error.value)
