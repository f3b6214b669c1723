"""What is compared: every method's recipe, budgets, and the data it is given."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.benchmark import RIGHT, data_of, lists_and_truth, write_data, write_recipe
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
from tools.ablation.runs import write_recipe as write_run
from tools.ablation.scores import weight_column
from tools.ablation.truth import check_oracle, find_truth, read_lists
from urnet.config.duration import Duration, parse_duration
from urnet.config.stage import Bags, Elr, Gate, Loss, Subsets
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe

RUNGS = ("class", "+cluster", "+instance", "+bag", "+label")
LADDER_AND_REFERENCES = ("untrained", "ce", *RUNGS, "ce_equal", "oracle")


@pytest.fixture
def base(tmp_path):
    return load_recipe(write_recipe(tmp_path))


def test_methods_are_the_rungs_and_the_baselines_between_the_references(base):
    names = method_names(base)
    assert tuple(n for n in names if n.split("/")[0] not in BASELINES) == LADDER_AND_REFERENCES
    assert [n for n in names if n in BASELINES] == list(BASELINES)
    assert names[names.index("pci") - 3 : names.index("pci")] == ("pci/a", "pci/b1", "pci/b2")
    off = tuple(replace(s, enabled=s.name != "bag") for s in base.stages)
    assert "+bag" not in method_names(replace(base, stages=off))
    named = (replace(base.stages[0], name="ce"), *base.stages[1:])
    with pytest.raises(InputError, match=r"stages\.ce\.name"):
        method_names(replace(base, stages=named))


def test_the_ladder_is_the_recipe_itself(base, tmp_path):
    run = make_run(base, LADDER, 7, tmp_path, 12)
    assert run.recipe.stages == base.stages
    assert (run.recipe.seed, run.recipe.name, run.recipe.output) == (7, "ladder-seed7", f"{tmp_path}/runs")
    assert run.methods["bag"] == "+bag"
    assert run.up_to("instance") == ("class", "cluster", "instance")
    columns = [weight_column(run, stage) for stage in run.methods]
    assert columns == ["class_weight", "cluster_weight", "instance_weight", "bag_attention", "topk_prob"]


def test_the_equal_budget_and_the_oracle(base, tmp_path):
    (equal,) = make_run(base, "ce_equal", 0, tmp_path, 12).recipe.stages
    assert equal.duration == Duration(20, "epochs")
    assert (equal.schedule.name, equal.schedule.lr, str(equal.schedule.warmup)) == ("cosine", 0.05, "1 epochs")
    assert equal.ema == base.stages[0].ema
    assert (equal.batch_size, equal.optimizer) == (base.stages[0].batch_size, base.stages[0].optimizer)
    (oracle,) = make_run(base, "oracle", 0, tmp_path, 12).recipe.stages
    assert oracle == replace(equal, sampling_weight=("right",), balance=1.0)


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


def test_the_ladders_settings_are_refused_where_a_baseline_would_not_follow():
    ablation.check_overrides(["stages.class.batch_size=8"], ("ce", "+label"))
    ablation.check_overrides(["data.workers=2"], ("pci",))
    with pytest.raises(InputError, match=r"-o stages.class.batch_size=8: sets the ladder's stages; pci/a"):
        ablation.check_overrides(["data.workers=2", "stages.class.batch_size=8"], ("ce", "pci/a"))


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_has_the_ladders_network_and_length(base, tmp_path, name):
    run = make_run(base, name, 3, tmp_path, 12)
    own = baseline_recipe(name)
    assert (run.recipe.model, run.recipe.transform) == (base.model, base.transform)
    assert (run.recipe.seed, run.name, run.recipe.data.root) == (3, f"{name}-seed3", base.data.root)
    assert list(run.methods) == [stage.name for stage in own.stages]
    assert list(run.methods.values())[-1] == name
    total = total_duration(run.recipe.stages, 12)
    assert total.unit == "epochs" and total.amount == pytest.approx(20, abs=1e-6)  # the toy ladder's
    for stage, original in zip(run.recipe.stages, own.stages, strict=True):
        assert stage.duration.amount == pytest.approx(original.duration.amount * 20 / 41)
        rates = ("lr", "name", "gamma", "final_lr")
        assert all(getattr(stage.schedule, key) == getattr(original.schedule, key) for key in rates)
        same = {"duration": original.duration, "schedule": original.schedule}
        assert replace(stage, **same) == original
    assert weight_column(run, next(iter(run.methods))) is None


def test_a_gate_is_stretched_with_its_stage(base):
    gated = replace(base.stages[0], gate=Gate(0.5, until=Duration(2, "epochs")))
    stages = shortened(replace(base, stages=(gated, *base.stages[1:])), 0.25).stages
    assert stages[0].gate == Gate(0.5, until=Duration(0.5, "epochs"))


def test_the_equal_budget_averages_weights_even_where_the_ladder_does_not(tmp_path):
    base = load_recipe(write_recipe(tmp_path, ema=None))
    (stage,) = make_run(base, "ce_equal", 0, tmp_path, 12).recipe.stages
    assert stage.ema is not None


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


def test_a_small_budget_shortens_training_and_schedule_alone(base):
    first = base.stages[0]
    schedule = replace(
        first.schedule, name="piecewise", warmup=Duration(3, "steps"), milestones=(Duration(2, "epochs"),)
    )
    base = replace(base, stages=(replace(first, schedule=schedule), *base.stages[1:]))
    stage = shortened(base, 0.25).stages[0]
    assert (str(stage.duration), str(stage.eval_every)) == ("1 epochs", "1 epochs")
    assert (str(stage.schedule.warmup), str(stage.schedule.milestones[0])) == ("1 steps", "0.5 epochs")
    assert shortened(base, 1.0) == base


@pytest.mark.parametrize("kind", KINDS)
def test_every_recipe_is_written_so_that_it_reads_back_the_same(base, tmp_path, kind):
    run = make_run(base, kind, 1, tmp_path / "a folder", 12)
    assert write_run(run, "source.yaml") == run
    assert run.file == tmp_path / "a folder/recipes" / f"{run.name}.yaml"
    head = run.file.read_text().splitlines()[:4]
    assert head[1] == "# source:    source.yaml"
    command = next(line for line in head if line.startswith("# command: "))
    assert f"'{run.file}'" in command
    assert ("tools.ablation.untrained" if kind == "untrained" else "train.py") in command


def test_seeds():
    assert ablation.read_seeds("0, 10,2") == (0, 10, 2)
    for bad in ("", "1,", "-1", "a", "1,1", "1.5", "9" * 19):
        with pytest.raises(InputError, match="--seeds: found"):
            ablation.read_seeds(bad)


def test_methods_are_chosen_by_name(base):
    ladder, baselines = LADDER_AND_REFERENCES, tuple(BASELINES)
    assert ablation.choose_methods("ladder", base, True) == ladder
    assert ablation.choose_methods("ladder", base, False) == ladder[:-1]
    assert ablation.choose_methods("rivals", base, False) == baselines
    assert ablation.choose_methods("all", base, True) == (*ladder[:-2], *baselines, *ladder[-2:])
    assert ablation.choose_methods("rivals,ce", base, False) == ("ce", *baselines)
    assert ablation.choose_methods("pci/b1", base, False) == ("pci/b1",)
    assert ablation.choose_methods("+bag,ce", base, False) == ("ce", "+bag")
    with pytest.raises(InputError, match=r"--methods: 'ce_equl' is not known; nearest: ce_equal"):
        ablation.choose_methods("ce_equl", base, True)
    with pytest.raises(InputError, match=r"oracle needs truth_train.txt"):
        ablation.choose_methods("oracle", base, False)


def test_the_last_wanted_rung_decides_how_far_the_ladder_goes(base, tmp_path):
    ladder, ce = (make_run(base, kind, 0, tmp_path, 12) for kind in (LADDER, "ce"))
    assert ablation.wanted(ladder, ("ce", "class", "+instance")) == ["instance"]
    assert ablation.wanted(ladder, ("ce",)) == []
    assert ablation.wanted(ce, ("ce",)) == ["class"]
    pci = make_run(base, "pci", 0, tmp_path, 12)
    assert ablation.wanted(pci, ("pci",)) == ["c"]
    assert ablation.wanted(pci, ("pci/b1",)) == ["b1"]


# --- what the images show


def test_truth_is_matched_by_path_whatever_its_order(tmp_path):
    lists, truth = lists_and_truth(write_data(tmp_path / "data"))
    assert len(lists) == 12
    np.testing.assert_array_equal(truth.right, RIGHT)
    _, none = lists_and_truth(write_data(tmp_path / "other", truth=False))
    assert none is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("google_images_resized/q1/g0.png", "1: found 'google_images_resized/q1/g0.png' without a class"),
        ("google_images_resized/q1/g0.png x", "1: class 'x' is no integer"),
        ("google_images_resized/q1/g0.png 3", r"1: class 3 is outside; accepted: -1\.\.2"),
        ("google_images_resized/q1/g0.png -2", "1: class -2 is outside"),
        ("no/such.png 1", "1: path 'no/such.png' is in no training list"),
        ("google_images_resized/q1/g4.png 1", "9: path 'google_images_resized/q1/g4.png' is there a second"),
    ],
)
def test_a_bad_line_of_the_truth_is_named(tmp_path, line, message):
    root = write_data(tmp_path / "data")
    lists, _ = lists_and_truth(root)
    file = root / "truth_train.txt"
    file.write_text(line + "\n" + file.read_text())
    with pytest.raises(InputError, match=f"truth_train.txt:{message}"):
        find_truth(data_of(root), lists)


def test_a_row_without_truth_is_refused(tmp_path):
    root = write_data(tmp_path / "data")
    lists, _ = lists_and_truth(root)
    file = root / "truth_train.txt"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(InputError, match=r"has no line for 'flickr_images_resized/q1/f2.png'"):
        find_truth(data_of(root), lists)


def test_an_oracle_needs_a_right_row_in_every_class(tmp_path):
    lists, truth = lists_and_truth(write_data(tmp_path / "data"))
    check_oracle(truth, "data")
    with pytest.raises(InputError, match="class 2 has 3 rows, none of them right"):
        check_oracle(replace(truth, right=truth.right & (lists.labels != 2)), "data")


def test_the_lists_digest_sees_every_list(tmp_path):
    root = write_data(tmp_path / "data")
    first = read_lists(data_of(root)).digest
    assert read_lists(data_of(root)).digest == first
    file = root / "info/val_filelist.txt"
    file.write_text(file.read_text() + "v0.png 1\n")
    assert read_lists(data_of(root)).digest != first
