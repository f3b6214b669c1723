"""The figures by hand: AUC, shares, cleanlab's scores, means, the page, the picture."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.benchmark import FILES, RIGHT, finish, rows_of, table_of, write_data, write_recipe
from tools.ablation import report, scores
from tools.ablation.methods import LADDER, make_run
from tools.ablation.results import Results
from tools.ablation.runs import Cost, Record
from urnet.pipeline.recipes import load_recipe

NAN = float("nan")
METHODS = ("untrained", "ce", "class", "+cluster", "+instance", "+bag", "+label", "ce_equal", "oracle")


def test_auc_and_share_by_hand():
    right = np.array([True, True, False, False])
    assert scores.auc(right, np.array([3.0, 1.0, 2.0, 0.0])) == 0.75  # 3 of the 4 pairs
    assert scores.auc(right, np.array([1.0, 1.0, 1.0, 1.0])) == 0.5
    assert scores.auc(right, np.array([3.0, NAN, 2.0, NAN])) == 1.0
    assert scores.auc(right, np.array([3.0, 1.0, NAN, NAN])) is None
    assert scores.share_on_wrong(right, np.array([3.0, NAN, 1.0, NAN])) == 0.25
    assert scores.share_on_wrong(right, np.zeros(4)) is None


def test_auc_inside_classes_by_hand():
    right = np.array([1, 0, 0, 1, 1, 0, 1, 0], bool)
    labels = np.array([0, 1, 0, 0, 1, 1, 3, 5])
    weight = np.array([9.0, 2.0, 8.0, 7.0, 3.0, NAN, 1.0, 5.0])
    # class 0: rows 9 7 right, 8 wrong: 1 of 2 pairs; class 1: 3 over 2; one row has no weight; 3 and 5 know one kind
    assert scores.auc_inside(right, weight, labels) == pytest.approx((3 * 0.5 + 2 * 1.0) / 5)
    assert scores.auc_inside(right, weight + 10 * labels, labels) == scores.auc_inside(right, weight, labels)
    assert scores.auc_inside(right[-2:], weight[-2:], labels[-2:]) is None


@pytest.fixture
def rows(tmp_path):
    return rows_of(write_data(tmp_path / "data"))


@pytest.fixture
def run(tmp_path, rows):
    """A ladder of which nothing is finished."""
    base = load_recipe(write_recipe(tmp_path), [f"data.root={tmp_path / 'data'}", "data.n_classes=3"])
    return make_run(base, LADDER, 0, tmp_path / "out", 12)


def test_an_entry_by_hand(run, rows):
    table_of(run)
    finish(run, "class", 0.5, forward=50)
    finish(run, "cluster", 0.625, epoch=2.5, forward=100)
    assert scores.entry(run, "cluster", Cost(2.0, 30.5), rows) == {
        "method": "+cluster",
        "seed": 0,
        "top1_last": 62.5,
        "top1_best": 75.0,
        "top5_last": 100.0,
        "auc": 1.0,
        "auc_inside": 1.0,
        "weight_on_wrong": 6.25,  # 3 x 0.25 of 9 x 1.25 + 3 x 0.25
        "epochs": 6.5,
        "forward": 150,
        "backward": 96,
        "cost": 114,
        "seconds": 2.0,
        "peak_mb": 30.5,
    }
    weight = FILES["class"]["class_weight"]
    first = scores.entry(run, "class", Cost(None, None), rows)
    assert first["weight_on_wrong"] == pytest.approx(100 * weight[~RIGHT].sum() / weight.sum(), abs=1e-4)
    pairs = [w > v for w in weight[RIGHT] for v in weight[~RIGHT]]
    assert (first["auc"], first["seconds"]) == (pytest.approx(np.mean(pairs), abs=1e-4), None)
    assert scores.entry(run, "class", Cost(1.0, 1.0), replace(rows, right=None))["auc"] is None


def test_the_label_stage_is_scored_by_the_given_labels_part_of_the_target(run, rows):
    index = np.stack([rows.labels, (rows.labels + 1) % 3], axis=1).astype(np.int32)
    part = np.where(RIGHT, 0.75, 0.25)
    prob = np.stack([part, 1 - part], axis=1).astype(np.float16)
    table_of(run, {"label": {"topk_index": index, "topk_prob": prob, "keep": np.ones(12, np.float32)}})
    for stage in run.methods:
        finish(run, stage, 0.5)
    found = scores.entry(run, "label", Cost(1.0, 1.0), rows)
    assert (found["auc"], found["weight_on_wrong"]) == (1.0, 10.0)  # 3 x 0.25 of 9 x 0.75 + 3 x 0.25


def test_cleanlab_rates_the_same_probabilities(run, rows):
    pytest.importorskip("cleanlab")
    full = np.random.default_rng(0).dirichlet(np.ones(3), 12).astype(np.float32)
    index = np.argsort(-full, axis=1)[:, :2].astype(np.int32)
    prob, given = np.take_along_axis(full, index, 1), full[np.arange(12), rows.labels]
    given[4] = prob[4] = 0  # an image that could not be read
    columns = {"oof_index": index, "oof_prob": prob, "confidence": given, "instance_weight": np.ones(12, np.float32)}
    table_of(run, {**FILES, "instance": columns})
    found = scores.cleanlab_scores(run, "instance", rows)
    own, other = [], []
    for row in np.delete(np.arange(12), 4):
        known = {rows.labels[row]: given[row]} | dict(zip(index[row], prob[row], strict=True))
        own.append(given[row])
        other.append(max(value for label, value in known.items() if label != rows.labels[row]))
    seen = np.delete(RIGHT, 4)
    labels = np.delete(rows.labels, 4)
    for name, score in (("self_confidence", np.array(own)), ("normalized_margin", np.array(own) - np.array(other))):
        assert found[name] == pytest.approx((scores.auc(seen, score), scores.auc_inside(seen, score, labels)))
    assert list(found) == list(scores.CLEANLAB) and all(0 <= pooled <= 1 for pooled, _ in found.values())
    other = replace(run, kind="images_only")
    assert scores.cleanlab_scores(other, "instance", rows) == found
    assert scores.cleanlab_scores(run, "cluster", rows) == {}
    assert scores.cleanlab_scores(run, "instance", replace(rows, right=None)) == {}


def test_cleanlab_is_asked_for_only_where_it_is_needed(run):
    assert scores.needs_cleanlab(run.recipe, ("ce", "+instance"))
    assert scores.needs_cleanlab(run.recipe, ("+label",))
    assert scores.needs_cleanlab(run.recipe, ("images_only",)) and scores.needs_cleanlab(run.recipe, ("urnet_images",))
    for methods in (("ce", "class", "+cluster", "oracle"), ("images_only/cluster", "targets_all", "pci")):
        assert not scores.needs_cleanlab(run.recipe, methods)


def entries(**values):
    """`method=[top-1 of seed 0, of seed 1 …]`; None leaves the seed out."""
    rest = {"top1_best": 0.0, "top5_last": 0.0, "auc": None, "auc_inside": None, "weight_on_wrong": None}
    rest |= {"epochs": 1.0, "seconds": 1.0, "peak_mb": 1.0}
    return [
        {"method": method, "seed": seed, "top1_last": value, **rest}
        for method, tops in values.items()
        for seed, value in enumerate(tops)
        if value is not None
    ]


def test_gains_are_compared_seed_by_seed():
    found = entries(ce_equal=[50.0, 60.0, None], label=[53.0, 65.0, 99.0], oracle=[60.0, 80.0, 90.0])
    assert report.gains(found, "label") == [3.0, 5.0]
    assert report.way(found, "label") == pytest.approx(100 * 8 / 30)  # over seeds 0 and 1
    assert report.way(found, "oracle") == 100
    assert report.way(found, "ce") is None
    assert report.gains(entries(label=[1.0]), "label") == []
    assert report.way(entries(ce_equal=[5.0], oracle=[4.0], label=[4.5]), "label") is None


def test_the_table_reads_well_as_text():
    found = entries(ce=[50.0], ce_equal=[50.0, 52.0], oracle=[60.0, 62.0])
    found += entries(balanced_equal=[51.0, 54.0])
    methods = ("ce", "class", "ce_equal", "balanced_equal", "oracle")
    lines = report.accuracy_table(found, methods).splitlines()
    assert len({len(line) for line in lines}) == 1
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert rows == [
        ["`ce`", "1", "1", "50.00", "0.00", "0.00", "+0.00", "-1.00", "0 %"],
        ["`ce_equal`", "2", "1", "51.00 ± 1.41", "0.00 ± 0.00", "0.00 ± 0.00", "", "-1.50 ± 0.71", "0 %"],
        ["`balanced_equal`", "2", "1", "52.50 ± 2.12", "0.00 ± 0.00", "0.00 ± 0.00", "+1.50 ± 0.71", "", "15 %"],
        ["`oracle`", "2", "1", "61.00 ± 1.41", "0.00 ± 0.00", "0.00 ± 0.00", "+10.00 ± 0.00", "+8.50 ± 0.71", "100 %"],
    ]
    judged = {("ladder", 0): {"margin": (0.7, 0.6)}, ("images_only", 0): {"margin": (0.5, None)}}
    judged[("ladder", 1)] = {"margin": (0.9, 0.8)}
    lines = report.quality_table(found, methods, 25.0, judged).splitlines()[2:]
    assert [line.split("|")[1:4] for line in lines] == [
        [" cleanlab margin                  ", " 0.800 ± 0.141 ", "      0.700 ± 0.141 "],
        [" cleanlab margin of `images_only` ", "         0.500 ", "                  – "],
    ]
    assert report.text_of([12.34], 1) == "12.3" and report.text_of([]) == "–"


def test_results_are_written_whole_and_read_again(run, rows, capsys):
    out = run.folder.parents[1]
    made = report.conditions("python x", 1, 2)
    results = Results(out, METHODS, rows, title="toy", made=made)
    record = Record(run, rows)
    record.begin()
    table_of(run)
    for stage, top1 in (("cluster", 0.75), ("class", 0.5)):
        finish(run, "class", 0.5)
        finish(run, stage, top1)
        record.note(stage, Cost(3.0, 100.0), done=True)
        results.add(run, stage, Cost(3.0, 100.0))
    found = json.loads((out / "result.json").read_text())
    assert [(e["method"], e["top1_last"], e["epochs"]) for e in found] == [("class", 50, 4), ("+cluster", 75, 8)]
    page = (out / "result.md").read_text()
    assert "12 training rows in 3 classes, 25.0 % of them with a wrong label." in page
    assert "| `+cluster` | 1.000 |              1.000 |" in page
    assert "- command: `python x`" in page
    again = Results(out, METHODS, rows, title="toy", made=made)
    again.collect([Record(run, rows)])
    assert again.entries == found
    assert "ladder-seed0: finished already, kept: class, +cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    "found",
    [
        {
            "untrained": [10.0, 11.0],
            "ce": [50.0, 51.0],
            "+label": [53.0, 55.0],
            "ce_equal": [50.0, 51.0],
            "images_only": [52.0],
        },
        {"untrained": [10.0]},
        {"oracle": [5.0]},
        {},
    ],
)
def test_the_picture_is_a_png_whatever_is_there(tmp_path, found):
    pytest.importorskip("matplotlib")
    from tools.ablation.plot import draw

    path = tmp_path / ".picture.tmp"
    draw(entries(**found), METHODS, "toy", path)
    assert path.read_bytes()[:4] == b"\x89PNG"
