"""The SE-ResNeXt example's two commands, word for word: what they stand for, results, refusals."""

import contextlib
import dataclasses
import io
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import infer
import models
import train
from tests.helpers.predict import N_CLASSES, Toys, numbers, run
from tests.helpers.webvision import write_image
from urnet.checkpoints import safetensors_io
from urnet.config import se_resnext_flags
from urnet.config.recipe import Model, Transform
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.inference.cli_flags import RELEASE_DEFAULTS, RELEASE_FLAGS
from urnet.inference.cli_job import PredictionJob
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).parents[2]
TRAIN = ["--num_layers=50", "--batch_size=8", "--with_mem_opt=True", "--parallel_exe=False"]
SMALL = [
    "model.name=ResNet8_small32",
    "transform.size=32",
    "transform.resize_short=36",
    "data.n_classes=3",
    "data.workers=0",
    "device=cpu",
    "stages.train.duration=3 steps",
]
WNIDS = ("n01440764", "n01443537", "n02483708")


def overrides(keys):
    return [part for key in keys for part in ("-o", key)]


def resolved(*argv):
    """The recipe that a command line of train.py trains."""
    args = train.parse(argv)
    se_resnext_flags.translate_training(args, ROOT)
    return load_recipe(args.config, args.override)


# train.py: flags -> recipe


@pytest.mark.parametrize("layers", [50, 101, 152])
def test_the_flags_are_a_recipe(layers):
    plain = load_recipe(ROOT / se_resnext_flags.RECIPE)
    (stage,) = plain.stages
    expected = dataclasses.replace(
        plain,
        name=f"se_resnext{layers}",
        model=Model(f"SE_ResNeXt{layers}_32x4d", recompute=True),
        stages=(dataclasses.replace(stage, batch_size=8, start="some/weights"),),
    )
    assert expected.model.name in models.NAMES
    argv = ["--num_layers", str(layers), *TRAIN[1:], "--pretrained_model=some/weights"]
    assert resolved(*argv) == expected


def test_flags_that_are_not_given_leave_the_recipe_as_it_is():
    plain = load_recipe(ROOT / se_resnext_flags.RECIPE)
    assert resolved("--num_layers=50") == dataclasses.replace(plain, name="se_resnext50")
    assert resolved("--num_layers=50", "--with_mem_opt=False").model.recompute is False


def test_the_recipe_is_the_example():
    recipe = load_recipe(ROOT / se_resnext_flags.RECIPE)
    (stage,) = recipe.stages
    assert (recipe.data.format, recipe.data.n_classes) == ("imagenet", 1000)
    assert (recipe.transform.size, recipe.transform.eval, recipe.transform.resize_short) == (224, "short", 256)
    assert stage.start == "previous"
    from urnet.nn.schedule import plan

    _, rate = plan(stage, steps_per_epoch=7)
    found = [rate(step) for step in (0, 69, 70, 139, 140, 210)]
    np.testing.assert_allclose(found, [0.1, 0.1, 0.01, 0.01, 0.001, 0.0001])


@pytest.mark.parametrize("path", ["a: b, [c] #d", "12", "null", 'o\'k "ü" 🙂', "a=b", "/x/y", "previous", "scratch"])
def test_any_path_is_a_path(path):
    start = resolved("--num_layers=50", f"--pretrained_model={path}").stages[0].start
    assert Path(start) == Path(path)
    assert start not in ("previous", "scratch")  # words of the recipe


def test_parallel_exe_says_what_does_it_today(capsys):
    resolved(*TRAIN)
    assert capsys.readouterr().err == ""
    plain = resolved("--num_layers=50")
    assert resolved("--num_layers=50", "--parallel_exe=True") == plain
    err = capsys.readouterr().err
    assert err.startswith("note: --parallel_exe True: ")
    assert "python -m paddle.distributed.launch" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], r"arguments are required: -c/--config, or --num_layers"),
        (["-c", "a.yaml", "--num_layers=50"], r"-c and --num_layers: found both; give one of them"),
        (["-c", "a.yaml", "--batch_size=8"], r"--batch_size: needs --num_layers; .* -o stages\.NAME\.batch"),
        (["-c", "a.yaml", "--with_mem_opt=False"], r"--with_mem_opt: .* -o model\.recompute=true"),
        (["--parallel_exe=False"], r"--parallel_exe: .* paddle\.distributed\.launch"),
        (["-c", "a.yaml", "--pretrained_model=a"], r"--pretrained_model: .* -o stages\.NAME\.start=PATH"),
        (["--num_layers=50", "--batch_size=0"], r"--batch_size: found 0; 1 or more"),
        (["--num_layers=50", "--pretrained_model="], r"--pretrained_model: found no path"),
        (["--num_layers=34"], r"argument --num_layers: invalid choice: 34 \(choose from 50, 101, 152\)"),
        (["--num_layers=50", "--batch_size=many"], r"argument --batch_size: invalid int value: 'many'"),
        (["--num_layers=50", "--with_mem_opt=perhaps"], r"--with_mem_opt: found 'perhaps'; True or False"),
        (["--num_layers=50", "-o", "seeed=1"], r"se_resnext50_32x4d\.yaml: unknown key seeed; nearest: seed"),
    ],
)
def test_bad_training_commands_are_one_line(capsys, argv, message):
    assert re.search(message, refusal(capsys, train.main, argv))


def refusal(capsys, main, argv):
    try:
        code = cli.run(main, argv)
    except SystemExit as left:  # argparse's own
        code = left.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("error: ")
    return err


def test_prefixes_of_the_older_training_flags():
    args = train.parse(["--c", "a", "--o", "b=c", "--dr", "--s", "d", "--res", "--de"])
    assert (args.config, args.override, args.dry_run, args.stage, args.resume) == ("a", ["b=c"], True, "d", True)
    args = train.parse(["--c", "a", "--u", "e", "--rep"])
    assert (args.until, args.replace) == ("e", True)


# train.py: a run


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A working directory with data/ILSVRC2012 in it: 12 images to train with, 3 to validate, both lists."""
    folder, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    root = folder / "data" / "ILSVRC2012"
    lines = {"train": [], "val": []}
    for i in range(12):
        lines["train"].append((f"train/{WNIDS[i % 3]}/{WNIDS[i % 3]}_{i}.JPEG", i % 3))
    for label in range(3):
        lines["val"].append((f"val/ILSVRC2012_val_{label + 1:08d}.JPEG", label))
    for name, rows in lines.items():
        for path, label in rows:
            write_image(root / path, label, rng)
        (root / f"{name}_list.txt").write_text("".join(f"{path} {label}\n" for path, label in rows))
    return folder


@pytest.fixture(scope="module")
def trained(work):
    """The example's command, with a small network put in by -o: return code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(work)
        code = cli.run(train.main, [*TRAIN, *overrides(SMALL)])
    return subprocess.CompletedProcess(TRAIN, code, out.getvalue(), err.getvalue())


def test_the_training_command_trains(work, trained):
    assert trained.returncode == 0, trained.stderr
    lines = trained.stdout.splitlines()
    assert re.fullmatch(r"stage train last top1:[01]\.\d{4} top5:1\.0000 step 3", lines[1])
    home = "output/imagenet/se_resnext50"
    assert lines[2:] == [f"checkpoint {home}/train/final", f"log {home}/train/log.txt", f"curves {home}/curves"]
    assert "note: --parallel_exe" not in trained.stderr
    recipe = load_recipe(work / home / "train/final/recipe.yaml")
    assert recipe.model == Model("ResNet8_small32", recompute=True)
    assert recipe.stages[0].batch_size == 8


def test_the_other_words_of_train_go_on_working(work, trained, capsys, monkeypatch):
    monkeypatch.chdir(work)
    assert train.main([*TRAIN, *overrides(SMALL), "--resume", "--dry-run"]) == 0
    assert capsys.readouterr().out == "stage train keep: finished already\n"


def test_training_begins_with_the_weights_that_are_given(work, trained, monkeypatch):
    """At a rate too small to change a float32, the weights stay those of the checkpoint."""
    monkeypatch.chdir(work)
    first = work / "output/imagenet/se_resnext50/train"
    keys = [*SMALL, "name=second", "stages.train.duration=1 steps", "stages.train.schedule.lr=1e-30"]
    assert train.main([*TRAIN, "--pretrained_model", str(first / "final"), *overrides(keys)]) == 0
    files = (first / "final", work / "output/imagenet/second/train/final")
    before, after = (safetensors_io.read_safetensors(folder / "model.safetensors") for folder in files)
    assert before.keys() == after.keys()
    learnt = [key for key in before if not key.endswith(("._mean", "._variance"))]
    assert len(learnt) > 10
    for key in learnt:
        np.testing.assert_array_equal(before[key], after[key])


def test_weights_of_another_number_of_classes_are_refused(work, trained):
    from urnet.pipeline.stage_network import start_network

    weights = work / "output/imagenet/se_resnext50/train"
    recipe = resolved(*TRAIN, f"--pretrained_model={weights}", *overrides([*SMALL, "data.n_classes=4"]))
    (stage,) = recipe.stages
    with pytest.raises(InputError, match=r"train: has 3 classes .* but class_dim is 4"):
        start_network(recipe, stage, stage.start, work, lambda: models.build(recipe.model.name, 4))


# infer.py


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A real SE_ResNeXt50_32x4d of 7 classes at 32 pixels, its checkpoint, images with their list beside them."""
    toys = Toys(tmp_path_factory.mktemp("example"), "SE_ResNeXt50_32x4d")
    toys.list = toys.write_list("images/val_list.txt", toys.labels)
    return toys


def command(example, layers=50):
    return [f"--num_layers={layers}", "--batch_size=8", f"--model={example.checkpoint}", f"--test_list={example.list}"]


def test_the_inference_command_predicts(example, capsys):
    code, block, lines, err = run(capsys, infer.main, [*command(example), "--engine=dygraph"])
    assert code == 0, err
    for name, value in (
        ("class_dim", N_CLASSES),
        ("image_shape", "3,32,32"),
        ("img_list", example.list),
        ("img_path", example.images),
        ("model", "SE_ResNeXt50_32x4d"),
        ("num_layers", 50),
        ("pretrained_model", example.checkpoint),
        ("resize", "short"),
        ("resize_short_size", 36),
    ):
        assert f"{name:>25} : {value}" in block
    classes, scores = numbers(lines)
    assert len(set(example.labels.tolist())) >= 3  # the images are not all one class
    np.testing.assert_array_equal(classes[:, 0], example.labels)
    np.testing.assert_allclose(scores[:, 0], example.expected.max(axis=1), atol=1e-4)


def translated(*argv):
    args = infer.parser().parse_args(argv)
    return args, se_resnext_flags.translate_prediction(args)


def test_where_values_come_from_without_a_recipe(tmp_path):
    """1,000 classes and the centre of the short side's 256; flags go before both."""
    weights = tmp_path / "weights.safetensors"
    safetensors_io.write_safetensors(weights, {"fc.bias": np.zeros(1000, np.float32)})
    argv = ("--num_layers=101", f"--model={weights}", "--test_list", str(tmp_path / "some list"))
    for more, n_classes, transform in (
        ((), 1000, Transform(eval="short", resize_short=256)),
        (("--class_dim=5", "--resize=straight"), 5, Transform(eval="straight")),
        (("--resize=300",), 1000, Transform(eval="short", resize_short=300)),
    ):
        args, defaults = translated(*argv, *more)
        job = PredictionJob(args, models.NAMES, {**RELEASE_DEFAULTS, **defaults})
        assert (args.model, args.class_dim, job.transform) == ("SE_ResNeXt101_32x4d", n_classes, transform)
        assert (args.img_list, args.img_path) == (str(tmp_path / "some list"), str(tmp_path))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--test_list=a"], r"--test_list: needs --num_layers; without it use --img_list"),
        (["--num_layers=50"], r"--model: found none; with --num_layers it must name the checkpoint"),
        (["--num_layers=50", "--model=a", "--pretrained_model=b"], r"--model and --pretrained_model: found both"),
        (["--num_layers=50", "--model=a", "--test_list=b", "--img_list=c"], r"--test_list and --img_list: found"),
        (["--num_layers=18", "--model=a"], r"--num_layers: invalid choice: 18 \(choose from 50, 101, 152\)"),
        (["--num_layers=50", "--model=/nowhere/a", "--test_list=b"], r"/nowhere/a: does not exist"),
    ],
)
def test_bad_inference_commands_are_one_line(capsys, argv, message):
    assert re.search(message, refusal(capsys, infer.main, argv))


def test_a_checkpoint_of_another_network_is_refused(capsys, example):
    said = refusal(capsys, infer.main, command(example, 152))
    assert "--num_layers 152 is SE_ResNeXt152_32x4d, but " in said
    assert "was trained with SE_ResNeXt50_32x4d (its recipe.yaml)" in said


OLDER = (*RELEASE_FLAGS, "--save_inference", "--topk")  # infer.py's, before it had --precision and --test_list


@pytest.mark.parametrize("flag", OLDER)
@pytest.mark.parametrize("form", [["{}", "1"], ["{}=1"]])
def test_every_prefix_of_one_older_flag_is_that_flag(flag, form):
    shape = [part.format(flag) for part in form]
    expected = infer.parser().parse_args(shape)
    prefixes = [flag[:end] for end in range(3, len(flag)) if sum(o.startswith(flag[:end]) for o in OLDER) == 1]
    assert prefixes
    for prefix in prefixes:
        if prefix != "--resize":  # a flag of its own by now; a number there is the short side
            assert infer.parser().parse_args([part.format(prefix) for part in form]) == expected, prefix


def test_newer_flags_have_prefixes_too_and_values_are_left_alone(capsys):
    parser = infer.parser()
    assert (parser.parse_args(["--te", "a"]).test_list, parser.parse_args(["--num", "50"]).num_layers) == ("a", 50)
    assert parser.parse_args(["--resize", "7"]).resize == "7"
    assert parser.parse_args(["--img_path=--pre", "--pre", "a"]).img_path == "--pre"
    with pytest.raises(SystemExit):
        parser.parse_args(["--i", "a"])
    assert "ambiguous option: --i could match" in capsys.readouterr().err
