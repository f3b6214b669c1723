"""Calibration, class groups and paired intervals against scikit-learn and slow versions; tools/score.py."""

import csv
import io
import itertools
import re

import numpy as np
import pytest

from tests.helpers.prediction_files import block, probabilities, write, write_list
from tools import score as tool
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.table.writer import BaseWriter
from urnet.evaluation.accuracy import ClassAccuracy
from urnet.evaluation.calibration import (
    Calibration,
    Scored,
    class_groups,
    group_accuracy,
    paired_bootstrap,
    read_train_counts,
    write_class_table,
)
from urnet.evaluation.prediction_reader import Listed

N, C = 200, 7
LABELS = np.random.default_rng(4).integers(0, C, N)


def slow_ece(confidence, hit, bins=15):
    error = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if inside:
            gap = np.mean([hit[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            error += len(inside) / len(confidence) * abs(gap)
    return error


def test_calibration_error_is_its_formula():
    rng = np.random.default_rng(0)
    confidence = rng.random(1000)
    confidence[:3] = 0, 1, 0.4
    hit = rng.random(1000) < confidence**2
    found = Calibration()
    for start in range(0, 1000, 130):
        found.update(confidence[start : start + 130], hit[start : start + 130])
    result = found.result()
    assert result["error"] == pytest.approx(slow_ece(confidence, hit))
    assert result["confidence"] == pytest.approx(confidence.mean())
    assert result["accuracy"] == pytest.approx(hit.mean())


def test_calibration_by_hand_and_with_scikit_learn():
    from sklearn.calibration import calibration_curve

    sure = Calibration()
    sure.update(np.full(10, 0.9), np.arange(10) < 5)
    assert sure.result()["error"] == pytest.approx(0.4)
    edge = Calibration()
    edge.update(np.array([0.4, 0.45]), np.array([True, False]))  # 6 / 15 belongs to the bin below
    assert edge.result()["error"] == pytest.approx((0.6 + 0.45) / 2)
    exact = Calibration()
    exact.update(np.ones(4, np.float32) + np.float32(1e-4), np.ones(4, bool))
    assert exact.result()["error"] == 0
    rng = np.random.default_rng(1)
    confidence = rng.random(500)
    hit = rng.random(500) < 0.5
    found = Calibration()
    found.update(confidence, hit)
    right, mean = calibration_curve(hit, confidence, n_bins=15)
    share = found.count[found.count > 0] / 500
    assert found.result()["error"] == pytest.approx(float((share * np.abs(right - mean)).sum()))
    with pytest.raises(InputError, match="calibration of no images"):
        Calibration().result()


def test_judged_rows_match_the_counters(tmp_path):
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    p = probabilities(N, C, 0, LABELS)
    listed = Listed(write_list(tmp_path / "list.txt", LABELS), C)
    good = np.arange(N) % 9 > 0
    whole = block(p, 5, good)
    judged = Scored([whole.part(0, 64), whole.part(64, N)], listed, C)
    np.testing.assert_array_equal(judged.readable, good)
    np.testing.assert_array_equal(judged.hit1, good & (p.argmax(axis=1) == LABELS))
    best = np.argsort(-p, axis=1)[:, :5]
    np.testing.assert_array_equal(judged.hit5, good & (best == LABELS[:, None]).any(axis=1))
    result = judged.accuracy.result()
    assert result["top1"] == pytest.approx(balanced_accuracy_score(LABELS[good], best[good, 0]))
    assert result["image_top1"] == pytest.approx(accuracy_score(LABELS[good], best[good, 0]))
    assert result["image_top5"] == pytest.approx(judged.hit5[good].mean())
    ece = slow_ece(p.max(axis=1)[good], judged.hit1[good])
    assert judged.calibration.result()["error"] == pytest.approx(ece, abs=1e-6)
    with pytest.raises(InputError, match=r"m: lists 1 classes an image, 5 are needed for top-5; infer\.py --topk 5"):
        Scored([block(p, 1)], listed, C)
    with pytest.raises(InputError, match=r"m has 64 rows but \S+list\.txt lists 200"):
        Scored([whole.part(0, 64)], listed, C)


# --- head, middle, tail


def test_thirds_by_hand():
    counts = np.array([5, 90, 5, 40, 7, 40, 100, 1])
    groups = {name: part.tolist() for name, part in class_groups(counts).items()}
    assert groups == {"head": [1, 3, 6], "middle": [0, 4, 5], "tail": [2, 7]}
    borders = {name: part.tolist() for name, part in class_groups(counts, (40, 5)).items()}
    assert borders == {"head": [1, 3, 5, 6], "middle": [0, 2, 4], "tail": [7]}
    with pytest.raises(InputError, match="--borders: found 5 40; MANY and FEW"):
        class_groups(counts, (5, 40))


@pytest.mark.parametrize("borders", [None, (30, 10), (10, 10), (99, 0)])
def test_groups_part_all_classes(borders):
    counts = np.random.default_rng(0).integers(0, 50, 101)
    parts = class_groups(counts, borders)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(101))
    sizes = [counts[part] for part in parts.values() if len(part)]
    assert all(a.min() >= b.max() for a, b in itertools.pairwise(sizes))


def test_group_accuracy_is_the_mean_over_its_classes():
    accuracy = ClassAccuracy(6)
    labels = np.array([0, 0, 1, 2, 4, 4])
    best = np.array(
        [[0, 1, 2, 3, 5], [1, 0, 2, 3, 5], [1, 0, 2, 3, 5], [0, 1, 3, 4, 5], [4, 0, 1, 2, 3], [4, 0, 1, 2, 3]]
    )
    accuracy.update(best, labels)
    groups = {"head": np.array([0, 1]), "middle": np.array([2, 3, 4]), "tail": np.array([5])}
    found = group_accuracy(accuracy, groups)
    assert found["head"] == (2, 0.75, 1.0)
    assert found["middle"] == (2, 0.5, 0.5)  # class 3 has no image
    assert found["tail"][0] == 0
    assert np.isnan(found["tail"][1])


def test_train_counts_of_a_list_and_of_a_table(tmp_path):
    labels = np.array([0, 0, 3, 2, 0])
    file = write_list(tmp_path / "train.txt", labels)
    with BaseWriter(tmp_path / "table", root=tmp_path, format="list", class_names=["a"] * 4) as writer:
        import pyarrow as pa

        writer.add(pa.array([f"{i}.jpg" for i in range(5)]), labels)
    for place in (file, tmp_path / "table"):
        assert read_train_counts(place, 4).tolist() == [3, 0, 1, 1]
        with pytest.raises(InputError, match="label 3"):
            read_train_counts(place, 3)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match=r"empty\.txt: has no training image"):
        read_train_counts(tmp_path / "empty.txt", 4)


def test_class_table():
    accuracy = ClassAccuracy(2)
    accuracy.update(np.array([[1, 0], [0, 1]]), np.array([1, 1]))
    stream = io.StringIO()
    write_class_table(stream, accuracy, ["no", "yes, one"], np.array([7, 8]))
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert rows[0] == {"class": "0", "images": "0", "top1": "", "top5": "", "name": "no", "train_images": "7"}
    assert rows[1]["top1"] == "0.500000"
    assert rows[1]["name"] == "yes, one"


# --- paired intervals


def slow_bootstrap(labels, a, b, within, draws, rng):
    """Image by image: draw indices, compute the two accuracies, take the difference."""
    found = []
    classes = [np.flatnonzero(labels == c) for c in np.unique(labels)] if within else [np.arange(len(labels))]
    for _ in range(draws):
        parts = [rng.choice(rows, len(rows)) for rows in classes]
        found.append(np.mean([a[rows].mean() - b[rows].mean() for rows in parts]))
    return np.array(found)


@pytest.mark.parametrize("within", [True, False])
def test_the_interval_is_that_of_drawing_images(within):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 150)
    first = rng.random(150) < 0.6
    second = np.where(rng.random(150) < 0.7, first, rng.random(150) < 0.4)
    slow = slow_bootstrap(labels, first, second, within, 4000, rng)
    found, low, high = paired_bootstrap(labels, first, second, 8, within_classes=within, draws=4000)
    sizes = [np.mean(first[labels == c].astype(float) - second[labels == c]) for c in range(5)]
    assert found == pytest.approx(np.mean(sizes) if within else first.mean() - second.mean())
    error = 4 * slow.std() / np.sqrt(4000) * 2.7  # of a 2.5 % quantile: σ √(q(1 - q)/n) / density
    np.testing.assert_allclose([low, high], np.quantile(slow, [0.025, 0.975]), atol=error + 1 / 150)


def test_bootstrap_laws():
    rng = np.random.default_rng(0)
    labels, a, b = rng.integers(0, 5, 300), rng.random(300) < 0.7, rng.random(300) < 0.4
    for within in (True, False):

        def interval(x, y, seed=0, draws=500, labels=labels, within=within):
            return paired_bootstrap(labels, x, y, 5, within_classes=within, seed=seed, draws=draws)

        found, low, high = interval(a, b)
        assert low < found < high
        assert low > 0  # so plain a difference is found
        assert interval(a, b) == (found, low, high)
        assert interval(a, b, seed=1) != (found, low, high)
        assert interval(a, a) == (0, 0, 0)
        assert interval(np.ones(300, bool), np.zeros(300, bool)) == (1, 1, 1)
        turned = interval(b, a, draws=4000)
        np.testing.assert_allclose(turned, [-found, -high, -low], atol=0.02)
    with pytest.raises(InputError, match="no images"):
        paired_bootstrap(labels[:0], a[:0], b[:0], 5, within_classes=True)


def test_bootstrap_does_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(0)
    labels, a, b = rng.integers(0, 5, 300), rng.random(300) < 0.7, rng.random(300) < 0.4
    rows = rng.permutation(300)
    one = paired_bootstrap(labels, a, b, 5, within_classes=True, draws=100)
    assert paired_bootstrap(labels[rows], a[rows], b[rows], 5, within_classes=True, draws=100) == one


def test_coverage():
    """A 90 % interval holds the true difference about 90 times in 100 (binomial: 80 to 98)."""
    rng, inside = np.random.default_rng(0), 0
    for repetition in range(100):
        labels = rng.integers(0, 4, 400)
        a, b = rng.random(400) < 0.7, rng.random(400) < 0.6
        _, low, high = paired_bootstrap(labels, a, b, 4, within_classes=True, draws=300, level=0.9, seed=repetition)
        inside += low <= 0.1 <= high
    assert 80 <= inside <= 98


# --- the tool


def call(*arguments):
    return cli.run(tool.main, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    one = write(tmp_path / "a.arrow", probabilities(N, C, 0, LABELS), 5, unreadable={3})
    two = write(tmp_path / "b.csv", probabilities(N, C, 1, LABELS), 6, unreadable={4, 5})
    return one, two, write_list(tmp_path / "list.txt", LABELS)


def test_the_tool(files, tmp_path, capsys):
    one, two, labels = files
    train = write_list(tmp_path / "train.txt", np.repeat(np.arange(C), np.arange(C) + 1))
    table = tmp_path / "classes.csv"
    flags = ["--list", labels, "--class_dim", C, "--train_sizes", train, "--per_class", table, "--draws", 50]
    assert call("--predictions", one, "--against", two, *flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"images: {N - 1} measured, of {C} classes; 1 without a prediction count nowhere"
    assert re.fullmatch(r"class mean \(WebVision 2\.0\) top1:0\.\d{4} top5:0\.\d{4}", lines[1])
    assert re.fullmatch(r"image mean \(WebVision 1\.0\) top1:0\.\d{4} top5:0\.\d{4}", lines[2])
    assert re.match(r"calibration error 0\.\d{4} \(15 bins", lines[3])
    assert lines[4].startswith("head: 3 classes of 5..7 training images, 3 with images: class mean top1:0.")
    assert lines[6].startswith("tail: 2 classes of 1..2 training images")
    assert lines[7] == f"{one} minus {two}, {N - 3} images, 95 % of 50 draws:"
    assert [line.split(":")[0] for line in lines[8:]] == [
        "  class mean top1",
        "  class mean top5",
        "  image mean top1",
        "  image mean top5",
    ]
    rows = list(csv.DictReader(table.open()))
    assert [row["train_images"] for row in rows] == [str(c + 1) for c in range(C)]
    assert sum(int(row["images"]) for row in rows) == N - 1


def test_borders(files, tmp_path, capsys):
    one, _, labels = files
    train = write_list(tmp_path / "train.txt", np.repeat(np.arange(C), np.arange(C) + 1))
    flags = ["--list", labels, "--class_dim", C, "--train_sizes", train, "--borders", 100, 7]
    assert call("--predictions", one, *flags) == 0
    lines = capsys.readouterr().out.splitlines()[4:]
    assert lines[0] == "head: 0 classes, 0 with images: no image"
    assert lines[1].startswith("middle: 1 classes of 7..7")
    assert lines[2].startswith("tail: 6 classes of 1..6")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--borders", 2, 1], "--borders needs --train_sizes"),
        (["--class_names", "x"], "--class_names needs --per_class"),
        (["--draws", 0], "--draws: found 0; 1 or more"),
        (["--seed", -1], "--seed: found -1; 0 or more"),
        (["--class_dim", 3], r"label \d is outside; accepted: 0\.\.2"),
        (["--train_sizes", "gone"], "gone: cannot be read"),
        (["--against", "gone.csv"], r"gone\.csv: cannot be read"),
    ],
)
def test_bad_input(files, tmp_path, capsys, flags, message):
    one, _, labels = files
    before = sorted(tmp_path.iterdir())
    argv = ["--predictions", one, "--list", labels, "--class_dim", C, "--per_class", tmp_path / "c.csv", *flags]
    if "--class_names" in flags:
        argv = [word for word in argv if word not in ("--per_class", tmp_path / "c.csv")]
    assert call(*argv) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err), captured.err
    assert captured.out == ""
    assert sorted(tmp_path.iterdir()) == before
