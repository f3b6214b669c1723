"""Runs of several stages over the images of ``tiny_training``, and what a second call would do with them."""

import json
import shutil

import models
from tests.helpers.tiny_training import write_recipe
from urnet.config.recipe import recipe_tree
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import plan_recipe, run_recipe

SHORT = {"duration": "2 steps", "batch_size": 8, "eval_every": "9 steps", "checkpoint_every": "9 steps"}
MORE = {
    "name": "more",
    "duration": "3 steps",
    "batch_size": 8,
    "loss_weight": ["class_weight"],
    "schedule": {"lr": 0.01},
    "eval_every": "10 steps",
}
LAST = {**MORE, "name": "last"}
SAVED = {**MORE, "loss_weight": [], "duration": "9 steps", "checkpoint_every": "4 steps", "eval_every": "9 steps"}


def recipe_of(images, tmp_path, *overrides, stages=(MORE, LAST)):
    """The tiny recipe's first stage, 4 steps long, and ``stages`` after it."""
    tree = recipe_tree(load_recipe(write_recipe(images, duration="4 steps")))
    tree["stages"] += [dict(stage) for stage in stages]
    tree["output"] = str(tmp_path / "out")
    path = tmp_path / "stages.yaml"
    path.write_text(json.dumps(tree))
    return load_recipe(path, overrides)


def train(recipe, **options):
    return run_recipe(recipe, lambda: models.build(recipe.model.name, 3), **options)


def plan(recipe, **options):
    return {step.stage.name: (step.action, step.why) for step in plan_recipe(recipe, **options)}


def actions(recipe, **options):
    return {name: action for name, (action, _) in plan(recipe, **options).items()}


def interrupted_copy(whole, part):
    """Copy a finished run of ``SAVED`` to ``part``, without what it would lack had it been killed in stage "more"."""
    shutil.copytree(whole, part)
    stage = part / "out/tiny/more"
    for name in ("final", "best", "step-00000008"):
        shutil.rmtree(stage / name, ignore_errors=True)
    (part / "out/tiny/table/bag.arrow").unlink(missing_ok=True)  # written at the end
    assert [p.name for p in stage.glob("step-*")] == ["step-00000004"]
