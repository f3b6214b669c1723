"""What is compared: every method's recipe, budgets, and the data it is given."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.benchmark import RIGHT, rows_of, write_data, write_recipe
from tools.ablation import __main__ as ablation
from tools.ablation.methods import (
    BASELINES,
    KINDS,
    LADDER,
    baseline_recipe,
    make_run,
    method_names,
    shortened,
    total_duration,
)
from tools.ablation.rows import check_oracle
from tools.ablation.runs import write_recipe as write_run
from tools.ablation.scores import weight_column
from urnet.config.duration import Duration, parse_duration
from urnet.config.stage import Bags, Elr, Gate, Loss, Subsets
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe

RUNGS = ("class", "+cluster", "+instance", "+bag", "+label")
LADDER_AND_REFERENCES = ("untrained", "ce", *RUNGS, "ce_equal", "oracle")


@pytest.fixture
def base(tmp_path):
    return load_recipe(write_recipe(tmp_path))


def test_the_ladder_is_the_recipe_itself_without_the_stages_that_are_off(base, tmp_path):
    run = make_run(base, LADDER, 7, tmp_path, 12)
    assert run.recipe.stages == base.stages
    assert (run.recipe.seed, run.recipe.name, run.recipe.output) == (7, "ladder-seed7", f"{tmp_path}/runs")
    columns = [weight_column(run, stage) for stage in run.methods]
    assert columns == ["class_weight", "cluster_weight", "instance_weight", "bag_attention", "topk_prob"]
    off = tuple(replace(s, enabled=s.name != "bag") for s in base.stages)
    assert "+bag" not in method_names(replace(base, stages=off))
    named = (replace(base.stages[0], name="ce"), *base.stages[1:])
    with pytest.raises(InputError, match=r"stages\.ce\.name"):
        method_names(replace(base, stages=named))


def test_the_equal_budget_and_the_oracle(base, tmp_path):
    (equal,) = make_run(base, "ce_equal", 0, tmp_path, 12).recipe.stages
    assert equal.duration == Duration(20, "epochs")
    assert (equal.schedule.name, equal.schedule.lr, str(equal.schedule.warmup)) == ("cosine", 0.05, "1 epochs")
    assert (equal.batch_size, equal.optimizer) == (base.stages[0].batch_size, base.stages[0].optimizer)
    assert equal.ema == base.stages[0].ema
    (oracle,) = make_run(base, "oracle", 0, tmp_path, 12).recipe.stages
    assert oracle == replace(equal, sampling_weight=("right",), balance=1.0)
    without = replace(base, stages=tuple(replace(stage, ema=None) for stage in base.stages))
    assert make_run(without, "ce_equal", 0, tmp_path, 12).recipe.stages[0].ema is not None


def test_plain_cross_entropy_keeps_nothing_of_the_first_stages_remedies(base, tmp_path):
    optimizer = replace(base.stages[0].optimizer, nesterov=True)
    first = replace(
        base.stages[0],
        bags=Bags(2),
        subsets=Subsets((1,), (1.0,)),
        gate=Gate(0.6),
        loss=Loss("symmetric"),
        elr=Elr(),
        mixup=0.2,
        balance=0.5,
        sampling_weight=("x",),
        targets="label",
        optimizer=replace(optimizer, classifier_lr=10.0),
    )
    run = make_run(replace(base, stages=(first, *base.stages[1:])), "ce", 0, tmp_path, 12)
    assert (run.recipe.model, run.recipe.transform, run.methods) == (base.model, base.transform, {"class": "ce"})
    assert weight_column(run, "class") is None
    none = {"reweight": None, "loss_weight": (), "label_smoothing": 0.0, "start": "scratch"}
    assert run.recipe.stages == (replace(base.stages[0], optimizer=optimizer, **none),)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_has_the_ladders_network_and_length(base, tmp_path, name):
    run = make_run(base, name, 3, tmp_path, 12)
    own = baseline_recipe(name)
    assert (run.recipe.model, run.recipe.transform) == (base.model, base.transform)
    assert (run.recipe.seed, run.name, run.recipe.data.root) == (3, f"{name}-seed3", base.data.root)
    assert list(run.methods) == [stage.name for stage in own.stages]
    total = total_duration(run.recipe.stages, 12)
    assert total.unit == "epochs" and total.amount == pytest.approx(20, abs=1e-6)  # the toy ladder's
    for stage, original in zip(run.recipe.stages, own.stages, strict=True):
        assert stage.duration.amount == pytest.approx(original.duration.amount * 20 / 41)
        rates = ("lr", "name", "gamma", "final_lr")
        assert all(getattr(stage.schedule, key) == getattr(original.schedule, key) for key in rates)
        assert replace(stage, duration=original.duration, schedule=original.schedule) == original
    assert weight_column(run, next(iter(run.methods))) is None


@pytest.mark.parametrize(
    ("durations", "batches", "total"),
    [
        (["4 epochs", "0.5 epochs"], [4, 8], "4.5 epochs"),
        (["4 steps", "6 steps"], [4, 4], "10 steps"),
        (["4 steps", "6 steps"], [4, 8], "64 images"),  # 16 + 48
        (["2 epochs", "6 steps", "5 images"], [4, 4, 4], "53 images"),  # 24 + 24 + 5
        (["0.1 epochs", "0.2 epochs"], [4, 4], "0.3 epochs"),
    ],
)
def test_durations_add_up(base, durations, batches, total):
    stages = [
        replace(base.stages[0], duration=parse_duration(text), batch_size=batch)
        for text, batch in zip(durations, batches, strict=True)
    ]
    assert str(total_duration(stages, 12)) == total


def test_a_small_budget_shortens_training_schedule_and_gate_alone(base):
    first = base.stages[0]
    milestones = (Duration(2, "epochs"),)
    schedule = replace(first.schedule, name="piecewise", warmup=Duration(3, "steps"), milestones=milestones)
    stage = replace(first, schedule=schedule, gate=Gate(0.5, until=Duration(2, "epochs")))
    short = shortened(stage, 0.25)
    assert (str(short.duration), str(short.eval_every)) == ("1 epochs", "1 epochs")
    assert (str(short.schedule.warmup), str(short.schedule.milestones[0])) == ("1 steps", "0.5 epochs")
    assert short.gate == Gate(0.5, until=Duration(0.5, "epochs"))
    assert shortened(stage, 1.0) == stage


@pytest.mark.parametrize("kind", KINDS)
def test_every_recipe_is_written_so_that_it_reads_back_the_same(base, tmp_path, kind):
    run = make_run(base, kind, 1, tmp_path / "a folder", 12)
    assert write_run(run, "source.yaml") == run
    head = (tmp_path / "a folder/recipes" / f"{kind}-seed1.yaml").read_text().splitlines()[:4]
    assert head[1] == "# source:    source.yaml"
    command = next(line for line in head if line.startswith("# command: "))
    assert f"'{run.file}'" in command
    assert ("tools.ablation.untrained" if kind == "untrained" else "train.py") in command


@pytest.mark.parametrize(
    ("names", "truth", "chosen"),
    [
        ("ladder", True, LADDER_AND_REFERENCES),
        ("ladder", False, LADDER_AND_REFERENCES[:-1]),
        ("all", True, (*LADDER_AND_REFERENCES[:-2], *BASELINES, "ce_equal", "oracle")),
        ("rivals,ce", False, ("ce", *BASELINES)),
        ("pci/b1", False, ("pci/b1",)),
        ("+bag,ce", False, ("ce", "+bag")),
    ],
)
def test_methods_are_chosen_by_name_and_group(base, names, truth, chosen):
    assert ablation.choose_methods(names, base, truth) == chosen


def test_methods_and_settings_that_cannot_be_are_refused(base):
    with pytest.raises(InputError, match=r"--methods: 'ce_equl' is not known; nearest: ce_equal"):
        ablation.choose_methods("ce_equl", base, True)
    with pytest.raises(InputError, match=r"oracle needs truth_train.txt"):
        ablation.choose_methods("oracle", base, False)
    ablation.check_overrides(["stages.class.batch_size=8"], ("ce", "+label"))
    with pytest.raises(InputError, match=r"-o stages.class.batch_size=8: sets the ladder's stages; pci/a"):
        ablation.check_overrides(["data.workers=2", "stages.class.batch_size=8"], ("ce", "pci/a"))


def test_truth_is_matched_by_path_whatever_its_order_and_digested_apart(tmp_path):
    root = write_data(tmp_path / "data")
    rows = rows_of(root)
    np.testing.assert_array_equal(rows.right, RIGHT)
    check_oracle(rows, "data")
    with pytest.raises(InputError, match="class 2 has 3 rows, none of them right"):
        check_oracle(replace(rows, right=rows.right & (rows.labels != 2)), "data")
    (root / "truth_train.txt").unlink()
    assert rows_of(root).right is None and rows_of(root).digest == rows.digest
    file = root / "info/val_filelist.txt"
    file.write_text(file.read_text() + "v0.png 1\n")
    assert rows_of(root).digest != rows.digest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("google_images_resized/q1/g0.png", ":1: found 'google_images_resized/q1/g0.png' without a class"),
        ("google_images_resized/q1/g0.png 3", r":1: class 3 is outside; accepted: -1\.\.2"),
        ("no/such.png 1", ":1: path 'no/such.png' is in no training list"),
        ("google_images_resized/q1/g4.png 1", ":9: path 'google_images_resized/q1/g4.png' is there a second"),
        (None, ": has no line for 'flickr_images_resized/q1/f2.png'"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(tmp_path, line, message):
    file = write_data(tmp_path / "data") / "truth_train.txt"
    first, *others = file.read_text().splitlines(keepends=True)
    file.write_text("".join(others if line is None else [f"{line}\n", first, *others]))
    with pytest.raises(InputError, match=f"truth_train.txt{message}"):
        rows_of(tmp_path / "data")
