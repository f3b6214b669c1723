"""Calibration, class groups and paired intervals against scikit-learn, SciPy and slow versions; tools/score.py."""

import csv
import re

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import bootstrap
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_recall_fscore_support

from tests.helpers.prediction_files import listed, probabilities, write, write_list
from tools import score as tool
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.table.writer import BaseWriter
from urnet.evaluation.accuracy import ClassAccuracy
from urnet.evaluation.matching import Listed
from urnet.evaluation.prediction_writer import open_predictions
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


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".arrow"])
def test_a_scored_file_is_what_scikit_learn_finds(tmp_path, suffix):
    p, order = probabilities(N, C, 0, LABELS), np.random.default_rng(3).permutation(N)
    good = np.arange(N) % 9 > 0
    listed = Listed(write_list(tmp_path / "list.txt", LABELS), C)
    plain = write(tmp_path / f"a{suffix}", p, 5, unreadable=np.flatnonzero(~good))
    turned = write(tmp_path / f"b{suffix}", p[order], 5, [f"{i}.jpg" for i in order], np.flatnonzero(~good[order]))
    best = np.argsort(-p, axis=1)[:, :5]
    for scored in (Scored(plain, listed, C), Scored(turned, listed, C)):  # the order of the rows does not matter
        np.testing.assert_array_equal(scored.readable, good)
        np.testing.assert_array_equal(scored.hit1, good & (best[:, 0] == LABELS))
        np.testing.assert_array_equal(scored.hit5, good & (best == LABELS[:, None]).any(axis=1))
        result = scored.accuracy.result()
        assert result["top1"] == pytest.approx(balanced_accuracy_score(LABELS[good], best[good, 0]))
        assert result["image_top1"] == pytest.approx(accuracy_score(LABELS[good], best[good, 0]))
        assert result["image_top5"] == pytest.approx(scored.hit5[good].mean())
        assert scored.calibration() == calibration(p.max(axis=1)[good], scored.hit1[good])
        assert scored.notes == []
    with pytest.raises(InputError, match=r"lists 1 classes per image, 5 are needed for top-5; infer\.py --topk 5"):
        Scored(write(tmp_path / "one.csv", p, 1), listed, C)


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
        (["--class_names", "x"], "x: cannot be read"),
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
    per_class = ["--per_class", tmp_path / "c.csv"]
    assert call("--predictions", one, "--list", labels, "--class_dim", C, *per_class, *flags) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err), captured.err
    assert captured.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_the_order_of_list_and_predictions_does_not_matter(files, tmp_path, capsys):
    one, two, labels, train = files
    order = np.random.default_rng(1).permutation(N)
    turned = write_list(tmp_path / "turned.txt", LABELS[order], [f"set\\{i}.jpg" for i in order])
    p = probabilities(N, C, 1, LABELS)[order]
    other = write(tmp_path / "other.jsonl", p, 6, [f"{i}.jpg" for i in order], np.flatnonzero(np.isin(order, [4, 5])))
    outputs = []
    for against, chosen in ((two, labels), (other, turned), (other, labels), (two, turned)):
        flags = ["--list", chosen, "--class_dim", C, "--train_sizes", train, "--draws", 50, "--class_report"]
        assert call("--predictions", one, "--against", against, *flags, "--root", "set") == 0
        outputs.append(capsys.readouterr().out.replace(str(against), "B"))
    assert outputs[1:] == outputs[:1] * 3
    assert call("--predictions", one, "--list", turned) == 2
    assert capsys.readouterr().err.endswith("; with --root set the leading folder is ignored and they match\n")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".arrow"])
@pytest.mark.parametrize("told", [True, False])
def test_labels_that_count_from_one_are_refused(tmp_path, capsys, suffix, told):
    file = tmp_path / f"a{suffix}"
    classes, scores = listed(probabilities(N, C, 0, LABELS), 5)
    with open_predictions(file, n_classes=C if told else None) as out:
        out.write_rows(pa.array([f"{i}.jpg" for i in range(N)]), classes, scores, [""] * N)
    one = write_list(tmp_path / "one.txt", LABELS + 1)
    right = write_list(tmp_path / "right.txt", LABELS)
    for flags in ([], ["--class_dim", C]):
        assert call("--predictions", file, "--list", one, *flags) == 2
        assert "; labels seem to count from 1 instead of 0" in capsys.readouterr().err
        assert call("--predictions", file, "--list", right, *flags) == 0
        assert capsys.readouterr().err == ""
    both = ["--predictions", file, "--list", right, "--train_sizes"]
    assert call(*both, write_list(tmp_path / "train.txt", [1, C])) == 2
    assert re.search(f"label {C} is outside|labels up to {C}, but", capsys.readouterr().err)
    assert call("--predictions", file, "--list", one, "--class_dim", C + 1) == 2  # no label is outside
    err = capsys.readouterr().err
    if told and suffix == ".arrow":
        assert f"has {C} classes, but --class_dim says {C + 1}" in err
    else:
        assert f"have labels above {C - 1}, the highest class in" in err
        assert "no image has label 0: the labels seem to count from 1" in err


def test_a_list_that_lacks_the_last_class_may_count_from_one(tmp_path, capsys):
    """No label is outside, so it is the predictions that tell."""
    p = probabilities(N, C, 0, LABELS)
    rows = np.flatnonzero(LABELS < C - 1)
    names = [f"{i}.jpg" for i in rows]
    file = write(tmp_path / "a.csv", p[rows], 5, names)
    for shift, text in ((1, "no image has label 0: the labels seem to count from 1 instead of 0"), (0, None)):
        labels = write_list(tmp_path / "l.txt", LABELS[rows] + shift, names)
        assert call("--predictions", file, "--list", labels, "--class_dim", C) == 0
        err = capsys.readouterr().err
        assert (text in err and err.startswith("note: ")) if text else err == ""


def test_the_report_on_classes(files, tmp_path, capsys):
    one, _, labels, _ = files
    names = tmp_path / "names.txt"
    names.write_text("".join(f"é{c}\n" for c in range(C)), encoding="utf-8")
    table, cells = tmp_path / "t.csv", tmp_path / "c.csv"
    flags = ["--predictions", one, "--list", labels, "--class_dim", C, "--class_names", names]
    assert call(*flags, "--per_class", table, "--confusion", cells, "--class_report", "--excel") == 0
    lines = capsys.readouterr().out.splitlines()
    best = np.argmax(probabilities(N, C, 0, LABELS), axis=1)
    good = np.arange(N) != 3
    expected = precision_recall_fscore_support(LABELS[good], best[good], average="macro")[:3]
    numbers = dict(zip(("precision", "recall", "f1"), expected, strict=True))
    assert lines[4] == " ".join(f"{kind}:{value:.4f}" for kind, value in numbers.items()) + " (means over classes)"
    assert lines[5].startswith("confused: ")
    assert re.fullmatch(r"  é\d \(\d\) -> é\d \(\d\) \d+", lines[6])
    for file in (table, cells):
        assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(table.open(encoding="utf-8-sig", newline="")))
    assert list(rows[0]) == ["class", "images", "top1", "top5", "name", "predicted", "precision", "recall", "f1"]
    assert np.mean([float(row["f1"]) for row in rows]) == pytest.approx(numbers["f1"], abs=1e-6)
    assert sum(int(row["images"]) for row in csv.DictReader(cells.open(encoding="utf-8-sig", newline=""))) == N - 1
    assert call(*flags, "--class_report", "--excel") == 2
    assert "--excel only affects CSV files; it needs --per_class FILE or --confusion FILE" in capsys.readouterr().err
    assert call(*flags, "--per_class", table, "--confusion", table) == 2
