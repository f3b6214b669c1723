"""A run that a person's decisions change: what every stage makes of them, what runs again, and exact resume."""

import dataclasses
import json

import numpy as np
import pytest

import models
from tests.helpers.tiny_network import assert_same
from tests.helpers.tiny_stages import MORE, SAVED, actions, interrupted_copy, plan, recipe_of, train
from tests.helpers.train_step import arrays, assert_close, stage, step_input, train_state
from urnet.checkpoints import checkpoint
from urnet.config.remedies import Elr, Gate
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError
from urnet.data.decisions import Decision, DecisionsFile
from urnet.data.table.table import Table
from urnet.pipeline import row_weights
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import run_recipe
from urnet.report import overview
from urnet.report.columns import Columns
from urnet.report.run_evidence import label_evidence
from urnet.report.run_state import read_run
from urnet.report.suspects import VERDICTS, write_csv
from urnet.training.step import train_step

KINDS = {3: ("relabel", 1), 4: ("none", None), 5: ("keep", None), 8: ("none", None), 9: ("relabel", 2)}
EVIDENCE = {"folds": 2, "shrinkage": 0.9}


def rows_of(images):
    lines = [line.rsplit(" ", 1) for line in (images / "train.txt").read_text().splitlines()]
    return [path for path, _ in lines], np.array([int(label) for _, label in lines])


def decide(file, images, kinds):
    paths, labels = rows_of(images)
    with DecisionsFile(file) as held:
        for row, (kind, label) in kinds.items():
            given, hashed = str(labels[row]), file_hash(images / paths[row])
            word = given if kind == "keep" else "" if label is None else str(label)
            held.write(Decision(paths[row], hashed, given, kind, word))
    return str(file)


@pytest.fixture
def decisions(images, tmp_path):
    return decide(tmp_path / "decisions.csv", images, KINDS)


def methods_recipe(images, tmp_path, decisions, *reweights, **stage):
    """A first stage of two steps, and one for each reweighting that measures with it."""
    more = [
        {
            "name": f"s{i}",
            "duration": "1 steps",
            "batch_size": 8,
            "eval_every": "9 steps",
            "reweight": reweight,
            **stage,
        }
        for i, reweight in enumerate(reweights)
    ]
    return recipe_of(images, tmp_path, f"data.decisions={decisions}", stages=more)


def test_every_reweighting_is_certain_of_what_was_decided(images, tmp_path, decisions):
    """Relevance 1, targets one-hot; a row of none of the classes has no weight, no subset, no target."""
    recipe = methods_recipe(
        images,
        tmp_path,
        decisions,
        {"method": "instance", "evidence": EVIDENCE},
        {"method": "instance", "evidence": EVIDENCE, "relevance": "ranks", "suffix": "_ranks"},
        {"method": "cluster", "evidence": EVIDENCE, "max_clusters": 2},
        {"method": "cluster", "confidence": "network", "suffix": "_network"},
        {"method": "label", "evidence": EVIDENCE, "similarity": 0.3, "rho": 0.5},
        {"method": "label", "teacher": "network", "suffix": "_network"},
        {"method": "curriculum", "n_subsets": 2},
        {"method": "relabel", "adopt": 0.01, "drop": 0.3},
    )
    train(recipe)
    table = Table.open(tmp_path / "out/tiny/table")
    _, given = rows_of(images)
    none, sure = np.array([4, 8]), np.array([3, 5, 9])
    label = table.column("label")
    assert label[3] == 1 and label[9] == 2 and (np.delete(label, [3, 9]) == np.delete(given, [3, 9])).all()
    np.testing.assert_array_equal(table.column("given"), given)
    for name in ("relevance", "relevance_ranks", "keep", "keep_network"):
        assert (table.column(name)[sure] == 1).all(), name
    for suffix in ("", "_network"):
        index, prob = table.column(f"topk_index{suffix}"), table.column(f"topk_prob{suffix}")
        assert (index[sure, 0] == label[sure]).all() and (prob[sure] == np.eye(1, prob.shape[1])).all()
        assert (prob[none] == 0).all()
    weights = ["instance_weight", "instance_weight_ranks", "cluster_weight", "cluster_weight_network", "image_weight"]
    weights += ["class_weight", "label_weight", "target_weight", "keep", "relevance", "confidence"]
    for name in weights:
        values = table.column(name)
        assert (values[none] == 0).all(), name
        assert np.isfinite(values).all() and values.min() >= 0
    for c in range(3):  # nobody else of its class weighs more
        own = (label == c) & (table.decided != 2)
        for name in ("instance_weight", "instance_weight_ranks", "cluster_weight", "cluster_weight_network"):
            values = table.column(name)
            best = values[own].max()
            np.testing.assert_allclose(values[np.intersect1d(sure, np.flatnonzero(own))], best, rtol=1e-6, err_msg=name)
            np.testing.assert_allclose(values[own].mean(), 1, rtol=1e-5)
    assert (table.column("subset")[sure] == 0).all() and (table.column("subset")[none] == -1).all()
    assert (table.column("clean_label")[sure] == label[sure]).all()
    assert (table.column("clean_label")[none] == label[none]).all()
    class_weight, alive = table.column("class_weight"), table.decided != 2
    mass = np.bincount(label[alive], class_weight[alive])
    sizes = np.bincount(label[alive])
    assert mass.shape == (3,) and (class_weight[alive] > 0).all() and sizes.sum() == 59


@pytest.mark.parametrize(
    "stage",
    [
        {},
        {"balance": 0.5, "sampling_weight": ["class_like"]},
        {"bags": {"size": 2}},
        {"subsets": {"column": "subset", "parts": [1], "loss_weight": [1.0]}},
    ],
)
def test_what_shows_none_of_the_classes_is_never_drawn(images, tmp_path, decisions, stage):
    recipe = recipe_of(images, tmp_path, f"data.decisions={decisions}", stages=())
    from urnet.data.lists.build_table import build_table

    table = build_table(recipe.data, tmp_path / "t")
    n = table.n_rows
    made = {"class_like": np.ones(n, np.float32), "subset": np.zeros(n, np.int8)}
    table.write("mine", made, stage="s", recipe_hash="", checkpoint="")
    first = dataclasses.replace(recipe.stages[0], balance=0.0, loss_weight=(), reweight=None)
    tree = {"loss_weight": [], **stage}
    path = tmp_path / "one.yaml"
    path.write_text(
        json.dumps(
            {
                "name": "o",
                "data": {"root": "x", "n_classes": 3},
                "model": {"name": "ResNet50"},
                "stages": [{"name": first.name, "duration": "1 epochs", "batch_size": 8, **tree}],
            }
        )
    )
    own = load_recipe(path).stages[0]
    sampler = row_weights.sampler_of(recipe, own, table)
    drawn = np.concatenate([rows for epoch in range(20) for rows in sampler.batches(epoch, 8)])
    counts = np.bincount(drawn, minlength=n)
    assert (counts[[4, 8]] == 0).all() and (np.delete(counts, [4, 8]) > 0).all()
    assert (sampler.expected_draws()[[4, 8]] == 0).all() and sampler.steps_per_epoch(8) == 59 // 8
    weight = row_weights.loss_weight(own, table)
    assert (weight[[4, 8]] == 0).all() and (np.delete(weight, [4, 8]) > 0).all()


def test_other_decisions_run_again_and_say_why(images, tmp_path, capsys):
    file = tmp_path / "decisions.csv"
    plain = recipe_of(images, tmp_path, stages=(MORE,))
    train(plain)
    decide(file, images, KINDS)
    recipe = recipe_of(images, tmp_path, f"data.decisions={file}", stages=(MORE,))
    found = plan(recipe)
    assert found["class"] == ("again", "the decisions in decisions.csv changed: none then, 5 now")
    assert found["more"] == found["class"]
    capsys.readouterr()
    train(recipe)
    said = capsys.readouterr().err
    assert "stage class: runs again, as the decisions in decisions.csv changed: none then, 5 now; its earlier" in said
    assert actions(recipe) == {"class": "keep", "more": "keep"}
    moved = file.rename(tmp_path / "elsewhere.csv")
    recipe = recipe_of(images, tmp_path, f"data.decisions={moved}", stages=(MORE,))
    assert actions(recipe) == {"class": "keep", "more": "keep"}
    decide(moved, images, {20: ("skip", None)})
    assert actions(recipe) == {"class": "keep", "more": "keep"}
    decide(moved, images, {21: ("keep", None)})
    assert plan(recipe)["class"] == ("again", "the decisions in elsewhere.csv changed: 5 then, 6 now")
    assert plan(plain)["class"] == ("again", "the decisions in decisions.csv changed: 5 then, none now")
    with pytest.raises(
        InputError,
        match=r"class, which it builds on, was trained with other settings: the "
        r"decisions in elsewhe",
    ):
        plan(recipe, only="more")


def test_an_interrupted_run_ends_with_the_same_bytes(images, tmp_path, decisions):
    again = {"reweight": {"method": "instance", "evidence": EVIDENCE}, "sampling_weight": ["instance_weight"]}
    stages = ({**SAVED, **again, "elr": {"weight": 1.0}},)
    (tmp_path / "a").mkdir()
    recipe = recipe_of(images, tmp_path / "a", f"data.decisions={decisions}", stages=stages)
    train(recipe)
    interrupted_copy(tmp_path / "a", tmp_path / "b")
    train(dataclasses.replace(recipe, output=str(tmp_path / "b/out")), resume=True)
    ends = [checkpoint.read_weights(tmp_path / f"{x}/out/tiny/more/final") for x in "ab"]
    assert_same(*ends)


def test_a_first_try_knows_of_decisions(images, tmp_path, decisions):
    recipe = recipe_of(images, tmp_path, f"data.decisions={decisions}", "data.limit=4", stages=())
    run_recipe(recipe, lambda: models.build(recipe.model.name, 3), until="class")
    table = Table.open(tmp_path / "out/tiny/table")
    assert table.n_rows == 12 and (table.decided == 1).any() and not (table.decided == 2).any()


def test_certain_rows_pass_a_gate_and_are_not_held_back():
    """A gate that nothing passes lets them through alone; early learning adds nothing for them."""
    data, keep = step_input(), np.arange(12) % 3 == 0
    gated = train_state(stage(gate=Gate(threshold=0.99)))
    outcome = train_step(gated, dataclasses.replace(data, gate=0.99, certain=keep), 0.3, 0)
    np.testing.assert_array_equal(outcome.rows.opened.numpy() > 0, keep)
    plain, all_certain = train_state(stage()), train_state(stage(elr=Elr(weight=2.0, top_k=2)))
    memory = np.tile([[1, 4]], (12, 1)), np.full((12, 2), 0.4, np.float16)
    train_step(plain, data, 0.3, 0)
    outcome = train_step(all_certain, dataclasses.replace(data, memory=memory, certain=np.ones(12, bool)), 0.3, 0)
    assert_close(arrays(plain.network), arrays(all_certain.network))
    assert outcome.rows.memory_values.numpy().max() > 0  # it is remembered all the same


def test_the_report_shows_what_was_given_and_what_was_decided(images, tmp_path, decisions):
    recipe = methods_recipe(images, tmp_path, decisions, {"method": "instance", "evidence": EVIDENCE})
    train(recipe)
    table = Table.open(tmp_path / "out/tiny/table")
    _, given = rows_of(images)
    evidence = label_evidence(Columns(table))
    sure, none = np.array([3, 5, 9]), np.array([4, 8])
    assert (evidence.verdict[sure] == VERDICTS.index("fine")).all() and (evidence.label_quality[sure] == 1).all()
    assert (evidence.verdict[none] == VERDICTS.index("off topic")).all() and (evidence.label_quality[none] == 0).all()
    write_csv(tmp_path / "suspects.csv", Columns(table), evidence, np.arange(table.n_rows))
    lines = [line.split(",") for line in (tmp_path / "suspects.csv").read_text().splitlines()[1:]]
    assert [line[1] for line in lines] == [str(label) for label in given]
    assert [lines[row][2] for row in (3, 4, 9)] == ["1", "", "2"]
    page = overview.head(read_run(tmp_path / "out/tiny"), table)
    assert "<dt>decided</dt><dd>5, 2 of none of the classes</dd>" in page
