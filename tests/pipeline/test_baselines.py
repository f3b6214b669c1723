"""The baselines' settings as stages of a recipe: columns, batches, gate, early learning, auxiliary head."""

import csv
import dataclasses
import json

import numpy as np
import paddle
import pytest
from paddle import nn

from models import resnext
from models.blocks import ConvBN
from tests.helpers.tiny_stages import SAVED, interrupted_copy, plan, recipe_of, train
from tests.helpers.train_step import TRANSFORM, Headed, arrays, assert_close, stage, step_input, train_state
from urnet.baselines.relabel import relabel
from urnet.checkpoints import checkpoint
from urnet.config.recipe import Recipe, recipe_hash, recipe_tree
from urnet.config.remedies import Elr, Gate, Loss, Subsets
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.row_weights import subset_weight
from urnet.pipeline.run import run_recipe
from urnet.training.step import TrainState, train_step

MODEL = "out/tiny/more/final/model.safetensors"
SUBSETS = {"parts": [2, 1, 1], "loss_weight": [1.0, 0.5, 0.25]}
CURRICULUM = {**SAVED, "reweight": {"method": "curriculum", "pca": 4, "delta": True}, "subsets": SUBSETS}


@pytest.fixture(scope="module")
def plain(images, tmp_path_factory):
    """The folder of a finished run without any of these settings; tests plan over it and leave it as it is."""
    folder = tmp_path_factory.mktemp("plain")
    train(recipe_of(images, folder, stages=(SAVED,)))
    return folder


@pytest.mark.parametrize(
    "later",
    [
        CURRICULUM,
        {**SAVED, "elr": {"weight": 2.0, "top_k": 2}},
        {**SAVED, "elr": {"top_k": 2, "teacher": "average"}, "mixup": 0.5, "ema": {"decay": 0.9}},
        {**SAVED, "sop": {"lr_u": 1e5, "lr_v": 1e5, "top_k": 2}},
        {**SAVED, "gate": {"threshold": 0.6, "until": "8 steps", "agree": True}, "loss": {"name": "symmetric"}},
        {**SAVED, "bags": {"size": 2, "temperature": 0.5}},
        {**SAVED, "start": "scratch", "co_teaching": {"forget_rate": 0.4, "ramp": "5 steps"}, "accumulate": 2},
        {**SAVED, "start": "scratch", "dividemix": {"warmup": "2 steps", "ramp": "0 steps"}},
    ],
    ids=["subsets", "elr", "elr plus", "sop", "gate and symmetric", "bags", "co-teaching", "dividemix"],
)
def test_an_interrupted_stage_ends_with_the_same_bytes(images, plain, tmp_path, later):
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    train(recipe_of(images, whole, stages=(later,)))
    interrupted_copy(whole, part)
    train(recipe_of(images, part, stages=(later,)), resume=True)
    ends = [(folder / MODEL).read_bytes() for folder in (whole, part, plain)]
    assert ends[0] == ends[1] != ends[2]
    for file in (whole / "out/tiny/table").glob("*.arrow"):
        assert file.read_bytes() == (part / "out/tiny/table" / file.name).read_bytes(), file.name


def test_a_curriculum_and_its_batches(images, tmp_path):
    recipe = recipe_of(images, tmp_path, stages=(CURRICULUM,))
    train(recipe)
    table = Table.open(tmp_path / "out/tiny/table")
    subset, density = table.column("subset"), table.column("density")
    assert subset.dtype == np.int8 and set(subset.tolist()) <= {0, 1, 2}
    for c in range(3):
        means = [density[(table.column("label") == c) & (subset == s)].mean() for s in range(3)]
        assert means == sorted(means, reverse=True)
    assert np.isfinite(table.column("delta")).all()
    weights = subset_weight(recipe.stages[1], table)
    np.testing.assert_array_equal(weights, np.array([1, 0.5, 0.25], np.float32)[subset])
    two = dataclasses.replace(recipe.stages[1], subsets=Subsets((2, 1), (1.0, 0.5)))
    assert (subset_weight(two, table)[subset == 2] == 0).all()


def test_a_relabelling_and_its_targets(images, tmp_path):
    later = {
        **SAVED,
        "reweight": {"method": "relabel", "adopt": 0.4, "drop": 0.1},
        "targets": "relabel",
        "sampling_weight": ["image_weight"],
    }
    recipe = recipe_of(images, tmp_path, stages=({**later, "measure": {"keep": True}},))
    train(recipe)
    table = Table.open(tmp_path / "out/tiny/table")
    labels = table.column("label")
    measured = tmp_path / "out/tiny/measure/more"
    found = {
        name: np.concatenate([np.load(f) for f in sorted(measured.glob(f"**/{name}*.npy"))])
        for name in ("given", "index", "prob")
    }
    expected = relabel(labels, 3, drop=0.1, adopt=0.4, **found)
    for name, values in expected.items():
        np.testing.assert_array_equal(table.column(name), values, err_msg=name)
    assert (table.column("image_weight") == 0).any()


def test_what_a_gate_lets_through_is_told(images, tmp_path):
    gate = {"threshold": 0.99, "schedule": "step", "levels": 1, "until": "6 steps"}
    train(recipe_of(images, tmp_path, stages=({**SAVED, "gate": gate, "log_every": 3},)))
    folder = tmp_path / "out/tiny/more"
    lines = [line for line in (folder / "log.txt").read_text().splitlines() if "gate" in line]
    assert [line.split("gate ")[1] for line in lines][::2] == ["0.990  let through 0.0%", "0.000  let through 100.0%"]
    with (folder / "curves.csv").open() as stream:
        points = {(row["name"], row["step"]): float(row["value"]) for row in csv.DictReader(stream)}
    assert [points["let_through", step] for step in ("3", "6", "9")] == [0, 0, 1]
    assert points["gate", "3"] == 0.99


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_auxiliary_head_counts_its_weight(accumulate):
    data, made = step_input(), train_state(stage(accumulate=accumulate), network=Headed())
    twin = Headed()
    twin.set_state_dict(made.network.state_dict())
    twin.train()
    logits = TrainState(twin, stage(), TRANSFORM).model(paddle.to_tensor(data.images))
    weight, labels = paddle.to_tensor(data.weight), paddle.to_tensor(data.labels)
    rows = [nn.functional.cross_entropy(z, labels, reduction="none").squeeze(-1) for z in logits]
    loss = ((rows[0] + 0.25 * rows[1]) * weight).sum() / weight.sum()
    loss.backward()
    assert float(train_step(made, data, 0.3, 0).loss) == pytest.approx(float(loss), rel=1e-5)
    for name, p in twin.named_parameters():
        decay = 1e-4 * p.numpy() if p.ndim > 1 else 0
        moved = p.numpy() - 0.3 * (p.grad.numpy() + decay)
        np.testing.assert_allclose(arrays(made.network)[name], moved, atol=1e-6, err_msg=name)


class SmallHeaded(resnext.ResNeXt):
    """ResNeXt_small32 with an auxiliary head of its own batch norm."""

    auxiliary_weight = 0.4

    def __init__(self):
        super().__init__(3, depths=(1, 1), widths=(8, 8), n_outs=(8, 16), groups=2, stem="3x3", stem_width=8)
        self.auxiliary = nn.Sequential(ConvBN(3, 4, 3), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x):
        return (super().forward(x), self.auxiliary(x)) if self.training else super().forward(x)


def test_an_auxiliary_head_goes_through_averages_measuring_and_resuming(images, tmp_path):
    later = {**SAVED, "ema": {"decay": 0.9, "bn_batches": 2}, "reweight": {"method": "relabel"}}
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    run_recipe(recipe_of(images, whole, stages=(later,)), SmallHeaded)
    interrupted_copy(whole, part)
    run_recipe(recipe_of(images, part, stages=(later,)), SmallHeaded, resume=True)
    assert (whole / MODEL).read_bytes() == (part / MODEL).read_bytes()
    weights = checkpoint.read_weights(whole / "out/tiny/more")
    assert np.abs(weights["auxiliary.0.bn._mean"]).max() > 0
    assert checkpoint.load_into(SmallHeaded(), weights) == []


def test_elr_adds_to_the_step_what_the_function_says():
    data = step_input()
    memory = np.tile([[1, 4]], (12, 1)), np.full((12, 2), 0.4, np.float16)
    ends = []
    for accumulate in (1, 4):
        made = train_state(stage(accumulate=accumulate, elr=Elr(weight=2.0, top_k=2)))
        outcome = train_step(made, dataclasses.replace(data, memory=memory), 0.3, 0)
        ends.append(arrays(made.network))
        assert outcome.rows.memory_classes.shape == outcome.rows.memory_values.shape == [12, 2]
    assert_close(*ends)
    plain = train_state(stage())
    train_step(plain, data, 0.3, 0)
    assert np.abs(arrays(plain.network)["fc.weight"] - ends[0]["fc.weight"]).max() > 1e-4


# --- recipes


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("subsets={parts: [2, 1], loss_weight: [1.0]}", r"loss_weight: found \[1.0\]; accepted: a number"),
        ("subsets={parts: [9, 1], loss_weight: [1.0, 1.0]}", r"parts: .* has a row among batch_size / acc"),
        ("subsets={parts: [1], loss_weight: [1.0]}", "column: no stage up to this one writes 'subset'"),
        ("gate={threshold: 0}", "gate.threshold: found 0.0; accepted: more than 0, up to 1"),
        ("gate={threshold: 0.5, until: 1 images}", "1 images is 0 steps; 1 to the stage's 9 are accepted"),
        ("gate={}", "key stages.more.gate.threshold is missing"),
        ("sop={lr_u: -1}", "sop.lr_u: found -1.0; accepted: 0 to 1e"),
        ("elr={weight: 0}", "elr.weight: found 0.0; accepted: more than 0"),
        ("loss={name: focal}", "loss.name: found 'focal'; accepted: cross_entropy, generalised, symmetric"),
        ("loss={name: symmetric, alpha: 0, beta: 0}", "loss.alpha: found 0.0; accepted: a term above 0"),
        ("loss={q: 0.5}", r"loss.q: found 0.5; accepted: 0.7 \(its default\), as name is cross_entropy"),
        ("gate={threshold: 0.5, levels: 9}", "gate.levels: found 9; accepted: 4 .* as schedule is linear"),
        ("gate={threshold: 0.5, until: 10 steps}", "gate.until: 10 steps is 10 steps; 1 to the stage's 9"),
        ("subsets={parts: [1], loss_weight: [1.0], column: density}", "subsets.column: found 'density'"),
        ("reweight={method: [curriculum]}", r"reweight.method: found \['curriculum'\]"),
        ("reweight={method: curriculum, quantile: 0}", "reweight.quantile: found 0.0"),
        ("reweight={method: relabel, drop: 1}", "reweight.drop: found 1.0"),
        ("targets=relabel", "targets: no stage up to this one writes 'clean_label', which relabel needs"),
        ("targets=relabelled", "targets: found 'relabelled'; accepted: given, label or relabel"),
    ],
)
def test_bad_settings_are_refused(images, plain, override, message):
    with pytest.raises(InputError, match=message):
        plan(recipe_of(images, plain, f"stages.more.{override}", stages=(SAVED,)))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"gate": {"threshold": 0.5, "agree": True}, "targets": "label"}, "gate.agree: found True"),
        ({"gate": {"threshold": 0.5}, "bags": {"size": 2}}, "bags: found 'a mapping'; accepted: null with"),
        ({"gate": {"threshold": 0.5}, "mixup": 0.2}, "mixup: found 0.2; accepted: 0 with gate"),
        ({"gate": {"threshold": 0.5}, "elr": {}}, "elr: found .*; accepted: null with gate"),
        ({"elr": {}, "mixup": 0.2}, "mixup: found 0.2; accepted: 0 with elr, or elr.teacher: average"),
        (
            {"elr": {"teacher": "average"}},
            "elr.teacher: found 'average'; accepted: network, or average together with ema",
        ),
        ({"elr": {}, "bags": {"size": 2}}, "bags: found .*; accepted: null with elr"),
        ({"sop": {}, "elr": {}}, "elr: found .*; accepted: null with sop"),
        ({"sop": {}, "mixup": 0.2}, "mixup: found 0.2; accepted: 0 with sop"),
        ({"sop": {}, "label_smoothing": 0.1}, "label_smoothing: found 0.1; accepted: 0 with sop"),
        ({"sop": {}, "targets": "label"}, "targets: found 'label'; accepted: given, as sop models"),
        ({"sop": {}, "loss": {"name": "generalised"}}, "loss.name: found 'generalised'; accepted: cross_entropy with"),
        ({"loss": {"name": "generalised"}, "bags": {"size": 2}}, "bags: .* null with loss generalised"),
        ({"subsets": SUBSETS, "balance": 0.5}, "balance: found 0.5; accepted: 0 with subsets"),
        ({"subsets": SUBSETS, "sampling_weight": ["relevance"]}, r"sampling_weight: .* \[\] with subsets"),
    ],
)
def test_what_does_not_go_together(images, tmp_path, keys, message):
    with pytest.raises(InputError, match=message):
        recipe_of(images, tmp_path, stages=({**SAVED, **keys},))


CURRICULA = {**CURRICULUM, "reweight": {"method": "curriculum", "n_subsets": 2}}
OTHERWISE = {
    **CURRICULA,
    "name": "last",
    "reweight": {"method": "curriculum", "n_subsets": 2, "suffix": "_b"},
    "subsets": {**SUBSETS, "column": "subset_b"},
}
RELABELLED = {**SAVED, "reweight": {"method": "relabel", "adopt": 0.9}, "sampling_weight": ["image_weight"]}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((CURRICULA,), r"more.subsets.parts: .* up to 2 parts, as the curriculum has n_sub"),
        ((CURRICULUM, OTHERWISE), "last.subsets.parts"),
        ((RELABELLED,), "targets: found 'given'; accepted: relabel, as image_weight weighs rows"),
    ],
)
def test_what_stages_say_of_each_other(images, tmp_path, stages, message):
    with pytest.raises(InputError, match=message):
        recipe_of(images, tmp_path, stages=stages)


def test_relabelled_rows_may_be_weighed_where_they_are_trained_as_such(images, tmp_path):
    recipe_of(images, tmp_path, stages=({**RELABELLED, "targets": "relabel"},))
    never = {**RELABELLED, "reweight": {"method": "relabel"}}
    recipe_of(images, tmp_path, stages=(never, {**never, "name": "last", "reweight": None}))


def test_class_weights_count_a_subset_as_much_as_it_weighs(images, tmp_path):
    size = {"method": "class_size", "suffix": "_b", "cap": 1000}
    last = {**SAVED, "name": "last", "subsets": SUBSETS, "reweight": size, "loss_weight": ["class_weight_b"]}
    train(recipe_of(images, tmp_path, stages=(CURRICULUM, last)))
    table = Table.open(tmp_path / "out/tiny/table")
    labels, subset = table.column("label"), table.column("subset")
    weight = np.array([1, 0.5, 0.25])[subset] * table.column("class_weight_b")
    share = np.array([2, 1, 1])[subset] / 4 / np.bincount(subset)[subset]
    clean = subset == 0
    share[clean] = 0.5 / 3 / np.bincount(labels[clean])[labels[clean]]
    seen = np.bincount(labels, share * weight)
    np.testing.assert_allclose(seen, seen.mean(), rtol=1e-4)  # every class has the same part of the loss


def test_keys_that_came_later_leave_the_hash_of_older_recipes(images, tmp_path):
    recipe = recipe_of(images, tmp_path)
    tree = recipe_tree(recipe)
    assert tree["stages"][0]["gate"] is None and tree["stages"][0]["loss"]["name"] == "cross_entropy"
    older = recipe_tree(recipe, added_keys=False)
    new = {"gate", "loss", "elr", "sop", "subsets"}
    assert not new & set(older["stages"][0]) and new < set(tree["stages"][0])
    stages = [Stage("a", None, **key) for key in ({}, {"gate": Gate(0.5)}, {"loss": Loss("symmetric")}, {"elr": Elr()})]
    assert len({recipe_hash(s) for s in stages}) == 4
    assert recipe_hash(stages[0]) == recipe_hash(Stage("a", None, gate=None, loss=Loss()))
    again = tmp_path / "again.yaml"
    again.write_text(json.dumps(older))
    assert load_recipe(again) == recipe and isinstance(recipe, Recipe)
