"""The report's parts: counts against slow ones, axes, texts, the states of a run, benchmarks."""

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tests.helpers.report import EVIL, NAMES, write_run
from urnet.core.blocks import class_sizes
from urnet.core.checks import InputError
from urnet.report import aggregates, charts
from urnet.report.aggregates import histogram
from urnet.report.run_state import read_benchmark, read_run
from urnet.report.text import clean, decimal, escape, percent, short


@pytest.fixture(params=[3, 1 << 20], ids=["blocks of 3 rows", "one block"])
def block(request):
    return request.param


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 4, 50).astype(np.int32)


# --- counts


def test_counts_of_classes(block, labels):
    values, suggested = np.random.default_rng(1).random(50, np.float32), np.roll(labels, 1)
    values[[3, 20]] = np.nan
    suggested[np.flatnonzero(labels == 3)[:2]] = -1
    np.testing.assert_array_equal(class_sizes(labels, 6, block=block), np.bincount(labels, minlength=6))
    means = aggregates.class_means(labels, values, 6, block=block)
    assert means[:4] == pytest.approx([np.nanmean(values[labels == c]) for c in range(4)])
    assert np.isnan(means[4:]).all()
    found = aggregates.rows_of(labels, [2, 5, 0], 6, block=block)
    assert {c: rows.tolist() for c, rows in found.items()} == {
        c: np.flatnonzero(labels == c).tolist() for c in (2, 5, 0)
    }
    assert aggregates.rows_of(labels, [], 6, block=block) == {}
    wrong = (values > 0.5) & (suggested >= 0)
    confused = confusion_matrix(labels, np.where(wrong, suggested, labels), labels=range(4))
    got = aggregates.confusion(labels, suggested, wrong, [3, 1], 4, block=block)
    np.testing.assert_array_equal(got, confused[[3, 1]])


def test_one_suspect_row_does_not_make_a_tiny_class_the_worst():
    total, known = np.array([1.0, 50.0, 0.0]), np.array([2, 100, 0])
    got = aggregates.shrunk_means(total, known, strength=10)
    assert got[:2] == pytest.approx([(1 + 10 * 0.5) / 12, (50 + 10 * 0.5) / 110])
    assert np.isnan(got[2])


def test_linear_histogram(block):
    values = np.random.default_rng(0).random(200, np.float32)
    values[:5] = np.nan
    got = histogram(values, log=False, block=block)
    np.testing.assert_array_equal(got.counts, np.histogram(values[5:], np.linspace(0, 1, 21))[0])
    assert (got.unknown, got.zeros, got.log) == (5, 0, False)
    assert got.mean == pytest.approx(values[5:].mean(), rel=1e-5)
    wide = histogram(np.array([-3.0, 7.0, 7.0]), log=True, block=block)  # negative: no logarithms
    assert (wide.edges[0], wide.edges[-1], wide.counts[0], wide.counts[-1]) == (-3, 7, 1, 2)


def test_weights_are_counted_in_half_octaves_around_one(block):
    got = histogram(np.array([0, 0, 1, 1, 1, 2, 4, 1e-9, 1e9, np.inf], np.float32), log=True, block=block)
    middles = np.sqrt(got.edges[:-1] * got.edges[1:])
    counted = {round(float(np.log2(m)), 3): int(n) for m, n in zip(middles, got.counts, strict=True) if n}
    assert counted == {-10: 1, 0: 3, 1: 1, 2: 1, 10: 1}
    assert (got.zeros, got.unknown) == (2, 1)


@pytest.mark.parametrize("values", [[np.nan, np.nan], [0.0, 0.0], [1.0], [5.0, 5.0]])
def test_a_histogram_of_odd_columns_can_be_drawn(values):
    for log in (False, True):
        got = histogram(np.array(values, np.float32), log=log)
        assert got.counts.sum() + got.zeros + got.unknown == len(values)
        assert "nan" not in charts.histogram_chart(got, label="x")


# --- texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("  two\r\nlines\tand\x00more ", "two lines and more"),
        ("abc\u202egnp.exe\u202c \u200bx\ufeff\u2066y\u2069", "abcgnp.exe xy"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("e\u0301 " + "z" + "\u0300" * 50, "e\u0301 z\u0300\u0300"),
        ("\ud800\ue000", ""),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("x" * 30, "x" * 19 + "…"),
        ("\u200b" * 10_000_000 + "late", "…"),
    ],
)
def test_clean(text, expected):
    assert clean(text, 20) == expected


def test_escape_leaves_nothing_that_html_reads():
    for text in (EVIL, *NAMES, "a" * 1000 + "<", "&" * 500):
        got = escape(text)
        assert not set(got) & set("<>\"'")
        assert len(clean(text)) <= 140


def test_numbers_for_people():
    assert [short(x) for x in (0.25, 1, 5000, 16e6)] == ["0.25", "1", "5k", "16M"]
    assert [decimal(x) for x in (0, 0.004, 0.5, 1234.5, 1e7, float("nan"))] == [
        "0.00",
        "0.004",
        "0.50",
        "1,234.50",
        "1.00e+07",
        "–",
    ]
    assert percent(0.123) == "12.3 %"


def test_axes_hold_their_values():
    for values in ([98, 53_647], [1], [7, 7], [0.003, 20], [1e-6, 1e6]):
        axis = charts.log_axis(np.array(values, np.float64))
        assert axis.low <= min(values)
        assert axis.high >= max(values)
        assert 2 <= len(axis.ticks) <= 13
    for values in ([0.534, 0.541], [0.5], [0.0], [1.0], [0, 1], [0.1, 0.7], [0.6, 0.601]):
        axis = charts.linear_axis(values)
        assert 0 <= axis.low <= min(values) + 1e-9
        assert max(values) - 1e-9 <= axis.high <= 1 + 1e-9
        assert 2 <= len(axis.ticks) <= 7


def test_a_line_of_5000_classes_has_few_points():
    sizes = np.geomspace(50_000, 98, 5000)
    drawn = charts.line_chart(sizes, charts.log_axis(sizes), x_name="classes", label="sizes")
    assert drawn.count(",") < 1000
    assert "5k classes" in drawn


# --- runs and benchmarks


def test_stages_come_in_the_recipes_order_with_their_states(tmp_path):
    run = read_run(write_run(tmp_path / "toy", "ab", stages=("zeta", "alpha"), unfinished="alpha"))
    assert [stage.name for stage in run.stages] == ["zeta", "alpha"]
    assert [stage.finished for stage in run.stages] == [True, False]
    assert run.order == ("zeta", "alpha", "later")
    assert (run.name, run.date, run.setting("model", "name")) == ("toy", "2023-11-14", "TinyNet")
    assert run.setting("data", "table") is None
    assert run.stages[0].last["top1"] == pytest.approx(0.58)


def test_a_run_that_has_not_begun_and_one_that_is_broken(tmp_path):
    assert read_run(tmp_path).stages == ()
    with pytest.raises(InputError, match="is not a folder; the folder of a run"):
        read_run(tmp_path / "nowhere")
    write_run(tmp_path / "toy", "ab")
    (tmp_path / "toy/class/final/state.json").write_text("{")
    with pytest.raises(InputError, match=r"class/final/state.json: is not valid JSON"):
        read_run(tmp_path / "toy")


def test_benchmark_means_and_spreads(tmp_path):
    path = tmp_path / "result.json"
    results = [{"method": "a", "seed": s, "top1_last": v} for s, v in enumerate((0.5, 0.6, 0.7))]
    results += [{"method": "b", "seed": 0, "top1_last": None, "top5_last": 0.9, "note": "x"}]
    path.write_text(json.dumps(results))
    a, b = read_benchmark(path)
    assert a.metrics["top1_last"] == pytest.approx((0.6, 0.1, 3))
    assert (b.name, b.seeds, list(b.metrics)) == ("b", 1, ["top5_last"])
    assert np.isnan(b.metrics["top5_last"][1])
    path.write_text(json.dumps([{"method": "a", "top1_last": 50}, {"method": "a", "top1_last": 60.0}]))
    assert read_benchmark(path)[0].metrics["top1_last"][0] == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "a JSON list of results is needed"),
        ("[]", "a JSON list of results is needed"),
        ("nonsense", "is not valid JSON"),
        ('[{"seed": 1}]', 'entry 0 has no "method"'),
        ('[{"method": "a", "top1": "0.5"}]', "entry 0: top1 is '0.5'"),
        ('[{"method": "a", "top1": NaN}]', "entry 0: top1 is nan"),
        ('[{"method": "a", "top1": 101}]', "entry 0: top1 is 101"),
    ],
)
def test_bad_benchmarks(tmp_path, content, message):
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_benchmark(path)
