"""The figures by hand: AUC, shares, cleanlab's scores, means, the page, the picture."""

import json

import numpy as np
import pytest

from tests.helpers.benchmark import FILES, RIGHT, finish, lists_and_truth, table_of, write_data, write_recipe
from tools.ablation import report, scores
from tools.ablation.methods import LADDER, make_run
from tools.ablation.results import Results
from tools.ablation.runs import Cost, Record
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe

NAN = float("nan")


def test_auc_and_share_by_hand():
    right = np.array([True, True, False, False])
    assert scores.auc(right, np.array([3.0, 1.0, 2.0, 0.0])) == 0.75  # 3 of the 4 pairs
    assert scores.auc(right, np.array([1.0, 1.0, 1.0, 1.0])) == 0.5
    assert scores.auc(right, np.array([3.0, NAN, 2.0, NAN])) == 1.0
    assert scores.auc(right, np.array([3.0, 1.0, NAN, NAN])) is None
    assert scores.share_on_wrong(right, np.array([3.0, 1.0, 2.0, 2.0])) == 0.5
    assert scores.share_on_wrong(right, np.array([3.0, NAN, 1.0, NAN])) == 0.25
    assert scores.share_on_wrong(right, np.zeros(4)) is None


def test_dense_probabilities_hold_the_given_label_even_outside_the_best():
    index, prob = np.array([[2, 0], [1, 0]]), np.array([[0.6, 0.3], [1.0, 0.0]], np.float16)
    full = scores.dense(index, prob, np.array([0.05, 1.0]), np.array([1, 1]), 4)
    np.testing.assert_allclose(full, [[0.3, 0.05, 0.6, 0], [0, 1, 0, 0]], atol=1e-3)


@pytest.fixture
def ladder(tmp_path):
    """A ladder of which two rungs are finished, and its data."""
    root = write_data(tmp_path / "data")
    base = load_recipe(write_recipe(tmp_path), [f"data.root={root}", "data.n_classes=3"])
    return base, make_run(base, LADDER, 0, tmp_path / "out", 12), *lists_and_truth(root)


def test_an_entry_by_hand(ladder):
    _, run, _, truth = ladder
    table_of(run)
    finish(run, "class", 0.5)
    finish(run, "cluster", 0.625, epoch=2.5)
    assert scores.entry(run, "cluster", Cost(2.0, 30.5), truth) == {
        "method": "+cluster",
        "seed": 0,
        "top1_last": 62.5,
        "top1_best": 75.0,
        "top5_last": 100.0,
        "auc": 1.0,
        "weight_on_wrong": 6.25,  # 3 x 0.25 of 9 x 1.25 + 3 x 0.25
        "epochs": 6.5,
        "seconds": 2.0,
        "peak_mb": 30.5,
    }
    weight = FILES["class"]["class_weight"]
    first = scores.entry(run, "class", Cost(None, None), truth)
    assert first["weight_on_wrong"] == pytest.approx(100 * weight[~RIGHT].sum() / weight.sum(), abs=1e-4)
    assert first["seconds"] is None
    pairs = [w > v for w in weight[RIGHT] for v in weight[~RIGHT]]
    assert first["auc"] == pytest.approx(np.mean(pairs), abs=1e-4)
    assert scores.entry(run, "class", Cost(1.0, 1.0), None)["auc"] is None


def test_cleanlab_rates_the_same_probabilities(ladder):
    pytest.importorskip("cleanlab")
    _, run, _, truth = ladder
    rng = np.random.default_rng(0)
    full = rng.dirichlet(np.ones(3), 12).astype(np.float32)
    order = np.argsort(-full, axis=1)[:, :2]
    given = full[np.arange(12), truth.labels]
    prob = np.take_along_axis(full, order, 1)
    given[4] = prob[4] = 0  # an image that could not be read
    columns = {
        "oof_index": order.astype(np.int32),
        "oof_prob": prob,
        "confidence": given,
        "instance_weight": np.ones(12, np.float32),
    }
    table = table_of(run, {**FILES, "instance": columns})
    finish(run, "instance", 0.5)
    found = scores.instance_scores(run, "instance", truth)
    seen = np.arange(12) != 4
    kept = scores.dense(order, columns["oof_prob"], given, truth.labels, 3)[seen]
    own = kept[np.arange(11), truth.labels[seen]]
    other = kept.copy()
    other[np.arange(11), truth.labels[seen]] = -1
    assert found["self_confidence"] == pytest.approx(scores.auc(RIGHT[seen], own))
    assert found["normalized_margin"] == pytest.approx(scores.auc(RIGHT[seen], own - other.max(axis=1)))
    assert scores.instance_scores(run, "cluster", truth) == {}
    assert scores.instance_scores(run, "instance", None) == {}
    assert scores.label_quality(table, truth, 3, "_second") == {}


def test_cleanlab_is_asked_for_only_where_it_is_needed(ladder):
    base, _, _, truth = ladder
    assert scores.needs_cleanlab(base, ("ce", "+instance"), truth)
    assert scores.needs_cleanlab(base, ("+label",), truth)
    assert not scores.needs_cleanlab(base, ("ce", "class", "+cluster", "oracle"), truth)
    assert not scores.needs_cleanlab(base, ("+label",), None)
    with pytest.raises(InputError, match=r'no_such_package is not installed; pip install -e "\.\[benchmark\]"'):
        scores.need("no_such_package")


def entries(**values):
    """`method=[top-1 of seed 0, of seed 1 …]`; None leaves the seed out."""
    rest = {"top1_best": 0.0, "top5_last": 0.0, "auc": None, "weight_on_wrong": None}
    rest |= {"epochs": 1.0, "seconds": 1.0, "peak_mb": 1.0}
    return [
        {"method": method, "seed": seed, "top1_last": value, **rest}
        for method, tops in values.items()
        for seed, value in enumerate(tops)
        if value is not None
    ]


def test_gains_are_compared_seed_by_seed():
    found = entries(ce_equal=[50.0, 60.0, None], label=[53.0, 65.0, 99.0], oracle=[60.0, 80.0, 90.0])
    assert report.gain(found, "label") == (4.0, pytest.approx(2**0.5), 2)
    assert report.way(found, "label") == pytest.approx(100 * 8 / 30)  # over seeds 0 and 1
    assert report.way(found, "oracle") == 100
    assert report.way(found, "ce") is None
    assert report.gain(entries(label=[1.0]), "label") is None
    assert report.way(entries(ce_equal=[5.0], oracle=[4.0], label=[4.5]), "label") is None


def test_spreads_are_those_of_a_sample():
    assert report.spread([1.0, 3.0, None]) == (2.0, pytest.approx(2**0.5), 2)
    assert report.spread([1.5]) == (1.5, None, 1)
    assert report.spread([None]) is None
    assert report.text_of(report.Spread(1.234, 0.5, 2), sign=True) == "+1.23 ± 0.50"
    assert report.text_of(report.Spread(12.34, None, 1), 1) == "12.3"
    assert report.text_of(None) == "–"


def test_the_table_reads_well_as_text():
    found = entries(ce_equal=[50.0, 52.0], oracle=[60.0, 62.0])
    lines = report.accuracy_table(found, ("ce", "ce_equal", "oracle")).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        "`oracle`",
        "2",
        "1",
        "61.00 ± 1.41",
        "0.00 ± 0.00",
        "0.00 ± 0.00",
        "+10.00 ± 0.00",
        "100 %",
    ]


def test_results_are_written_whole_and_read_again(ladder, capsys):
    base, run, lists, truth = ladder
    made = report.conditions("python x", 1, 2)
    out = run.folder.parents[1]
    methods = ("untrained", "ce", "class", "+cluster", "+instance", "+bag", "+label", "ce_equal", "oracle")
    results = Results(out, methods, lists, truth, "toy", made)
    record = Record(run, lists, truth)
    record.begin()
    table_of(run)
    for stage, top1 in (("class", 0.5), ("cluster", 0.75)):
        finish(run, stage, top1)
        record.note(stage, Cost(3.0, 100.0), done=True)
        results.add(run, stage, Cost(3.0, 100.0))
    found = json.loads((out / "result.json").read_text())
    assert [(e["method"], e["top1_last"], e["epochs"]) for e in found] == [
        ("class", 50.0, 4.0),
        ("+cluster", 75.0, 8.0),
    ]
    page = (out / "result.md").read_text()
    assert "12 training rows in 3 classes, 25.0 % of them with a wrong label." in page
    assert "| `+cluster` | 1.000 |" in page
    assert "- command: `python x`" in page
    again = Results(out, methods, lists, truth, "toy", made)
    again.collect([Record(r, lists, truth) for r in (run, make_run(base, "ce", 0, out, 12))])
    assert again.entries == found
    assert "ladder-seed0: finished already, kept: class, +cluster" in capsys.readouterr().err


def test_the_picture_is_a_png_whatever_is_there(tmp_path):
    pytest.importorskip("matplotlib")
    from tools.ablation.plot import draw, subtitle

    full = entries(untrained=[10.0, 11.0], ce=[50.0, 51.0], label=[53.0, 55.0], ce_equal=[50.0, 51.0])
    for number, found in enumerate((full, entries(untrained=[10.0]), entries(oracle=[5.0]), [])):
        path = tmp_path / f".{number}.tmp"
        draw(found, ("untrained", "ce", "label", "ce_equal", "oracle"), "toy", path)
        assert path.read_bytes()[:4] == b"\x89PNG"
    assert subtitle(full).endswith("mean ± deviation and each of 2 seeds; untrained 10.5 %")
