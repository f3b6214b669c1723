"""Calibration, class groups and paired intervals against scikit-learn, SciPy and slow versions; tools/score.py."""

import csv
import re

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import bootstrap
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from tests.helpers.prediction_files import block, part, probabilities, write, write_list
from tools import score as tool
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.table.writer import BaseWriter
from urnet.evaluation.accuracy import ClassAccuracy
from urnet.evaluation.prediction_reader import Listed
from urnet.evaluation.scoring import (
    Scored,
    calibration,
    class_groups,
    group_accuracy,
    paired_bootstrap,
    read_train_counts,
)

N, C = 200, 7
LABELS = np.random.default_rng(4).integers(0, C, N)


def test_calibration_is_scikit_learns_curve():
    rng = np.random.default_rng(1)
    confidence = rng.random(1000)
    hit = rng.random(1000) < confidence**2
    found = calibration(confidence, hit)
    right, mean = calibration_curve(hit, confidence, n_bins=15)
    share = np.histogram(confidence, 15, (0, 1))[0] / 1000
    assert found.error == pytest.approx(float((share[share > 0] * np.abs(right - mean)).sum()))
    assert found.confidence == pytest.approx(confidence.mean())
    assert found.accuracy == pytest.approx(hit.mean())
    with pytest.raises(InputError, match="calibration of no images"):
        calibration(confidence[:0], hit[:0])


@pytest.mark.parametrize(
    ("confidence", "hit", "error"),
    [
        (np.full(10, 0.9), np.arange(10) < 5, 0.4),
        (np.array([0.4, 0.45]), np.array([True, False]), (0.6 + 0.45) / 2),  # 6 / 15 belongs to the bin below
        (np.array([0.0, 1.0]), np.array([False, True]), 0),
        (np.ones(4, np.float32) + np.float32(1e-4), np.ones(4, bool), 0),  # more than 1 by rounding
    ],
)
def test_calibration_by_hand(confidence, hit, error):
    assert calibration(confidence, hit).error == pytest.approx(error)


def test_a_scored_file_is_what_scikit_learn_finds(tmp_path):
    p = probabilities(N, C, 0, LABELS)
    listed = Listed(write_list(tmp_path / "list.txt", LABELS), C)
    good = np.arange(N) % 9 > 0
    whole = block(p, 5, good)
    scored = Scored([part(whole, 0, 64), part(whole, 64, N)], listed, C)
    best = np.argsort(-p, axis=1)[:, :5]
    np.testing.assert_array_equal(scored.readable, good)
    np.testing.assert_array_equal(scored.hit1, good & (best[:, 0] == LABELS))
    np.testing.assert_array_equal(scored.hit5, good & (best == LABELS[:, None]).any(axis=1))
    result = scored.accuracy.result()
    assert result["top1"] == pytest.approx(balanced_accuracy_score(LABELS[good], best[good, 0]))
    assert result["image_top1"] == pytest.approx(accuracy_score(LABELS[good], best[good, 0]))
    assert result["image_top5"] == pytest.approx(scored.hit5[good].mean())
    assert scored.calibration() == calibration(p.max(axis=1)[good], scored.hit1[good])
    with pytest.raises(InputError, match=r"m: lists 1 classes an image, 5 are needed for top-5; infer\.py --topk 5"):
        Scored([block(p, 1)], listed, C)
    with pytest.raises(InputError, match=r"m has 64 rows but \S+list\.txt lists 200"):
        Scored([part(whole, 0, 64)], listed, C)


# --- head, middle, tail


def test_groups_by_hand():
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
    sizes = [size for part in parts.values() for size in sorted(counts[part], reverse=True)]
    assert sizes == sorted(counts, reverse=True)


def test_group_accuracy_is_the_mean_over_its_classes():
    accuracy = ClassAccuracy(6)
    hit5 = np.array([True, True, True, False, True, False])
    accuracy.update_hits(np.array([0, 0, 1, 2, 4, 4]), hit5 & (np.arange(6) != 1), hit5)
    groups = {"head": np.array([0, 1]), "middle": np.array([2, 3, 4]), "tail": np.array([5])}
    found = group_accuracy(accuracy, groups)
    assert found["head"] == (2, 0.75, 1.0)
    assert found["middle"] == (2, 0.25, 0.25)  # class 3 has no image
    assert found["tail"][0] == 0
    assert np.isnan(found["tail"][1])


def test_train_counts_of_a_list_and_of_a_table(tmp_path):
    labels = np.array([0, 0, 3, 2, 0])
    file = write_list(tmp_path / "train.txt", labels)
    with BaseWriter(tmp_path / "table", root=tmp_path, format="list", class_names=["a"] * 4) as writer:
        writer.add(pa.array([f"{i}.jpg" for i in range(5)]), labels)
    for place in (file, tmp_path / "table"):
        assert read_train_counts(place, 4).tolist() == [3, 0, 1, 1]
        with pytest.raises(InputError, match="label 3"):
            read_train_counts(place, 3)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match=r"empty\.txt: has no training image"):
        read_train_counts(tmp_path / "empty.txt", 4)


# --- paired intervals


@pytest.mark.parametrize("within_classes", [True, False])
def test_the_interval_is_that_of_drawing_images(within_classes):
    """SciPy's bootstrap draws images one by one; of several samples each is drawn from by itself."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 150) + 2
    first = rng.random(150) < 0.6
    second = np.where(rng.random(150) < 0.7, first, rng.random(150) < 0.4)
    pair = first.astype(float) - second
    samples = [pair[labels == c] for c in np.unique(labels)] if within_classes else [pair]
    drawn = bootstrap(
        samples,
        lambda *parts, axis: np.mean([part.mean(axis=axis) for part in parts], axis=0),
        n_resamples=4000,
        method="percentile",
        random_state=rng,
    )
    found, low, high = paired_bootstrap(first, second, labels if within_classes else None, draws=4000)
    assert found == pytest.approx(np.mean([part.mean() for part in samples]))
    error = 4 * drawn.standard_error / np.sqrt(4000) * 2.7  # of a 2.5 % quantile: σ √(q(1 - q)/n) / density
    np.testing.assert_allclose([low, high], drawn.confidence_interval, atol=error + 1 / 150)


@pytest.mark.parametrize("within_classes", [True, False])
def test_bootstrap_laws(within_classes):
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.7, rng.random(300) < 0.4
    labels = rng.integers(0, 5, 300) if within_classes else None
    found, low, high = interval = paired_bootstrap(a, b, labels, draws=500)
    assert 0 < low < found < high  # so plain a difference is found
    assert paired_bootstrap(a, b, labels, draws=500) == interval
    assert paired_bootstrap(a, b, labels, draws=500, seed=1) != interval
    assert paired_bootstrap(a, a, labels) == (0, 0, 0)
    assert paired_bootstrap(np.ones(300, bool), np.zeros(300, bool), labels) == (1, 1, 1)
    np.testing.assert_allclose(paired_bootstrap(b, a, labels, draws=4000), [-found, -high, -low], atol=0.02)
    rows = rng.permutation(300)  # the order of the images does not matter
    moved = None if labels is None else labels[rows]
    assert paired_bootstrap(a[rows], b[rows], moved, draws=500) == interval
    with pytest.raises(InputError, match="no images"):
        paired_bootstrap(a[:0], b[:0], None if labels is None else labels[:0])


def test_coverage():
    """A 90 % interval holds the true difference about 90 times in 100 (binomial: 80 to 98)."""
    rng, inside = np.random.default_rng(0), 0
    for repetition in range(100):
        labels = rng.integers(0, 4, 400)
        a, b = rng.random(400) < 0.7, rng.random(400) < 0.6
        _, low, high = paired_bootstrap(a, b, labels, draws=300, level=0.9, seed=repetition)
        inside += low <= 0.1 <= high
    assert 80 <= inside <= 98


# --- the tool


def call(*arguments):
    return cli.run(tool.main, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    one = write(tmp_path / "a.arrow", probabilities(N, C, 0, LABELS), 5, unreadable={3})
    two = write(tmp_path / "b.csv", probabilities(N, C, 1, LABELS), 6, unreadable={4, 5})
    train = write_list(tmp_path / "train.txt", np.repeat(np.arange(C), np.arange(C) + 1))
    return one, two, write_list(tmp_path / "list.txt", LABELS), train


def test_the_tool(files, tmp_path, capsys):
    one, two, labels, train = files
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
    measures = ["class mean top1", "class mean top5", "image mean top1", "image mean top5"]
    assert [line.split(":")[0].strip() for line in lines[8:]] == measures
    rows = list(csv.DictReader(table.open()))
    assert [row["train_images"] for row in rows] == [str(c + 1) for c in range(C)]
    assert sum(int(row["images"]) for row in rows) == N - 1
    assert call("--predictions", one, *flags, "--borders", 100, 7) == 0
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
    one, _, labels, _ = files
    before = sorted(tmp_path.iterdir())
    per_class = [] if "--class_names" in flags else ["--per_class", tmp_path / "c.csv"]
    assert call("--predictions", one, "--list", labels, "--class_dim", C, *per_class, *flags) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err), captured.err
    assert captured.out == ""
    assert sorted(tmp_path.iterdir()) == before
