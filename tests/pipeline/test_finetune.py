"""Fine-tuning: another network's weights, a new classifier at its own rate, and the same run again."""

import dataclasses
import shutil

import numpy as np
import paddle
import pytest

import models
import train
from tests.helpers.predict import save_fluid
from tests.helpers.tiny_training import write_images, write_recipe
from tests.helpers.train_step import Headed, arrays, stage, step_input, train_state
from urnet.checkpoints import checkpoint
from urnet.checkpoints.load import classifier_keys
from urnet.checkpoints.safetensors_io import read_safetensors, write_safetensors
from urnet.config.recipe import recipe_hash, recipe_tree
from urnet.config.stage import Optimizer
from urnet.core.checks import InputError
from urnet.pipeline.fingerprints import Fingerprints
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import run_recipe
from urnet.pipeline.stage_network import start_network
from urnet.training.step import train_step

FC = ["fc.weight", "fc.bias"]
SHORT = {"duration": "4 steps", "checkpoint_every": "2 steps", "eval_every": "4 steps", "ema": None}


def network(n_classes, seed=1, name="ResNeXt_small32"):
    """A small network; its files in the first release's form have underscores for dots."""
    paddle.seed(seed)
    return released(models.build(name, n_classes))


def released(made):
    made.release_names = lambda: {key: key.replace(".", "_") for key in made.state_dict()}
    return made


def three():
    return released(models.build("ResNeXt_small32", 3))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Images of three classes, a recipe, and the weights of a network of five classes in every form."""
    folder = tmp_path_factory.mktemp("finetune")
    write_images(folder)
    write_recipe(folder, **SHORT)
    five = network(5)
    save_fluid(folder / "released", five)
    write_safetensors(folder / "five.safetensors", arrays(five))
    paddle.save(five.state_dict(), str(folder / "five.pdparams"))
    checkpoint.save(folder / "checkpoint", weights=arrays(five), state={})
    headless = {key: value for key, value in arrays(five).items() if key not in FC}
    write_safetensors(folder / "headless.safetensors", headless)
    write_safetensors(folder / "three.safetensors", arrays(network(3, seed=2)))
    write_safetensors(folder / "trunk.safetensors", arrays(network(5, name="ResNet8_small32")))
    return folder


def recipe_of(work, file="five.safetensors", *overrides, finetune=True):
    keys = [f"stages.class.start={work / file}", f"stages.class.finetune={str(finetune).lower()}"]
    return load_recipe(work / "tiny.yaml", [*keys, *overrides])


def begin(recipe, **options):
    first = recipe.stages[0]
    return arrays(start_network(recipe, first, first.start, recipe.output, three, trains=True, **options))


# --- what a stage starts from


@pytest.mark.parametrize(
    "file", ["released", "five.safetensors", "five.pdparams", "checkpoint", "headless.safetensors"]
)
def test_the_trunk_is_the_files_and_the_classifier_is_new(work, file, capsys):
    given, recipe = read_safetensors(work / "five.safetensors"), recipe_of(work, file)
    found = begin(recipe, say=True)
    there = "none there" if "headless" in file else "5 there"
    assert capsys.readouterr().err == (
        f"stage class: from {work / file}: fc is new, of 3 classes ({there}); the rest is loaded\n"
    )
    for key in given.keys() - set(FC):
        np.testing.assert_array_equal(found[key], given[key], err_msg=key)
    assert found["fc.weight"].shape[1] == 3
    assert np.abs(found["fc.weight"]).max() > 0
    scratch = load_recipe(work / "tiny.yaml", ["stages.class.start=scratch"])
    again, other, first = begin(recipe), begin(dataclasses.replace(recipe, seed=4)), begin(scratch)
    assert capsys.readouterr().err == ""
    for key in FC:
        np.testing.assert_array_equal(found[key], again[key])
        np.testing.assert_array_equal(found[key], first[key])  # random as from scratch: seed and stage
    assert (found["fc.weight"] != other["fc.weight"]).any()


def test_a_classifier_that_fits_is_taken_over_and_that_is_said(work, capsys):
    found = begin(recipe_of(work, "three.safetensors"), say=True)
    for key, value in read_safetensors(work / "three.safetensors").items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert capsys.readouterr().err.endswith(
        "three.safetensors: everything fits; the classifier continues from its weights there\n"
    )


def test_another_trunk_is_refused(work):
    for finetune in (True, False):
        with pytest.raises(InputError, match=r"trunk.safetensors: does not fit the network") as error:
            begin(recipe_of(work, "trunk.safetensors", finetune=finetune))
        assert "--finetune" not in str(error.value)


def test_without_the_key_other_classes_are_an_error_with_a_hint(work):
    for file, words in (("released", "has 5 classes .* but class_dim is 3"), ("headless.safetensors", "2 mi")):
        message = rf"{words}.*; a new one is trained with --finetune \(stages.class.finetune\)$"
        with pytest.raises(InputError, match=message):
            begin(recipe_of(work, file, finetune=False))
    recipe = recipe_of(work, "five.safetensors")
    with pytest.raises(InputError, match=r"class_dim is 3$"):  # what measures needs its own classifier
        start_network(recipe, recipe.stages[0], recipe.stages[0].start, work, three)


def test_the_key_goes_with_a_file_and_decides_the_outcome(work):
    for start in ("previous", "scratch"):
        with pytest.raises(InputError, match=rf"class.finetune: found True; .* {start}[,;] .*--init FILE"):
            load_recipe(work / "tiny.yaml", ["stages.class.finetune=true", f"stages.class.start={start}"])
    with_it, without = (recipe_of(work, finetune=finetune) for finetune in (True, False))
    inputs = [Fingerprints(recipe, work / "none", None).of["class"] for recipe in (with_it, without)]
    assert {key for key in inputs[0] if inputs[0][key] != inputs[1].get(key)} == {"stages.class.finetune"}
    assert inputs[1].keys() == inputs[0].keys() - {"stages.class.finetune"}  # runs of before stay valid
    assert recipe_hash(with_it) != recipe_hash(without)
    assert "finetune" not in recipe_tree(without, added_keys=False)["stages"][0]


# --- the rate


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_every_classifier_moves_by_the_ratio_and_nothing_else_does(name):
    ratio, moves = 7.0, []
    for classifier_lr in (1.0, ratio):
        settings = Optimizer(name, momentum=0.0, weight_decay=0.0, classifier_lr=classifier_lr)
        made = train_state(stage(optimizer=settings), Headed())
        before = arrays(made.network)
        train_step(made, step_input(), 0.01, 0)
        after = arrays(made.network)
        moves.append({key: after[key] - before[key] for key in before})
    classifiers = {*FC, "auxiliary.classifier.weight", "auxiliary.classifier.bias"}
    for key in moves[0]:
        expected = ratio if key in classifiers else 1.0
        assert np.abs(moves[0][key]).max() > 1e-5, key
        np.testing.assert_allclose(moves[1][key], expected * moves[0][key], atol=2e-6, err_msg=key)


def test_the_classifiers_of_every_family_are_found():
    for name in (names[-1] for names in models._FAMILIES.values()):
        with paddle.LazyGuard():
            made = models.NETWORKS[name](11)
        shapes = {key: tuple(p.shape) for key, p in made.named_parameters()}
        a_class_a_row = {key for key, shape in shapes.items() if shape[-1] == 11}
        assert set(classifier_keys(made)) == a_class_a_row, name
        assert set(FC) <= a_class_a_row, name


# --- whole runs


def train_main(work, *arguments):
    return train.main(["-c", str(work / "tiny.yaml"), *arguments])


def final(output):
    return (output / "tiny/class/final/model.safetensors").read_bytes()


def test_the_flags_and_the_recipe_that_was_saved_give_the_same_bytes(work, tmp_path, capsys):
    rate = ("-o", "stages.class.optimizer.classifier_lr=10")
    flags = ("--init", str(work / "five.pdparams"), "--finetune", *rate)
    assert train_main(work, *flags, "-o", f"output={tmp_path / 'one'}") == 0
    assert capsys.readouterr().err.count("fc is new, of 3 classes (5 there)") == 1
    saved = tmp_path / "one/tiny/class/final/recipe.yaml"
    recipe = load_recipe(saved)
    assert recipe.stages[0].finetune and recipe.stages[0].start == str(work / "five.pdparams")
    assert train.main(["-c", str(saved), "-o", f"output={tmp_path / 'two'}"]) == 0
    assert final(tmp_path / "one") == final(tmp_path / "two")
    assert train_main(work, *flags, "-o", f"output={tmp_path / 'one'}", "--dry-run") == 0
    assert capsys.readouterr().out.endswith("stage class keep: finished already\n")
    changed = ("--init", str(work / "headless.safetensors"), "--finetune", *rate)
    assert train_main(work, *changed, "-o", f"output={tmp_path / 'one'}", "--dry-run") == 0
    assert "stage class again: what it starts from, a file, differs (" in capsys.readouterr().out


def test_a_resumed_run_ends_with_the_same_bytes_and_says_nothing_of_a_classifier(work, tmp_path, capsys):
    whole, parts = (recipe_of(work, "released", f"output={tmp_path / name}") for name in ("whole", "parts"))
    for recipe in (whole, parts):
        run_recipe(recipe, three)
    folder = tmp_path / "parts/tiny/class"
    for name in ("final", "best", "step-00000004"):  # what is there after a kill at step 2
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    assert [place.name for place in folder.glob("step-*")] == ["step-00000002"]
    capsys.readouterr()
    run_recipe(parts, three, resume=True)
    told = capsys.readouterr().err
    assert "evaluation at step 4" in told and "is new" not in told
    assert final(tmp_path / "parts") == final(tmp_path / "whole")
    start, end = read_safetensors(work / "five.safetensors"), checkpoint.read_weights(folder)
    kernels = [key for key in start if start[key].ndim == 4]
    assert all((start[key] != end[key]).any() for key in kernels)  # the trunk is trained too


# --- the flags


def overrides(work, *arguments):
    args = train.parse(["-c", str(work / "tiny.yaml"), *arguments])
    return train.start_overrides(args)


def test_flags_are_keys_of_the_first_stage_that_is_on(work):
    assert overrides(work) == []
    assert overrides(work, "--init", 'a "b"') == ['stages.class.start="a \\"b\\""']
    assert overrides(work, "--init", "scratch", "--finetune") == [
        'stages.class.start="./scratch"',
        "stages.class.finetune=true",
    ]
    second = "stages=[{name: a, duration: 1 steps, enabled: false}, {name: b, duration: 1 steps}]"
    assert overrides(work, "-o", second, "--init", "x") == ['stages.b.start="x"']


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--finetune"], "stages.class.finetune: found True; accepted: false, as start is previous"),
        (["--init", ""], "--init: found no path"),
        (["--init", "/nowhere.pdparams"], "/nowhere.pdparams: does not exist"),
        (["--init", "a", "--pretrained_model", "b"], "--init and --pretrained_model: found both"),
    ],
)
def test_flags_that_cannot_be_followed(work, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        train_main(work, *arguments, "-o", f"output={tmp_path}")
    assert not (tmp_path / "tiny/class").exists()


def test_an_override_goes_before_the_flag(work, capsys):
    keys = ("-o", f"stages.class.start={work / 'three.safetensors'}")
    assert train_main(work, "--init", "/nowhere", *keys, "--dry-run", "-o", f"output={work / 'o'}") == 0
    assert capsys.readouterr().out == "stage class run: not trained yet\n"
