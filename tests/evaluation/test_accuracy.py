"""Accuracies against slow, obvious computations; laws; planted faults; the evaluation loop."""

import io

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.core.top_k import topk
from urnet.data.loading.loader import Batch
from urnet.evaluation.accuracy import ClassAccuracy, write_class_table
from urnet.evaluation.loop import evaluate, ranked


def random_case(n=400, n_classes=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes - 3, n)  # the last three classes have no images
    return topk(rng.random((n, n_classes)), 5)[0], labels, n_classes


def test_result_against_loops_and_scikit_learn():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    best, labels, n_classes = random_case()
    accuracy = ClassAccuracy(n_classes)
    for start in range(0, len(labels), 7):
        accuracy.update(best[start : start + 7], labels[start : start + 7])
    result = accuracy.result()
    assert result["top1"] == pytest.approx(balanced_accuracy_score(labels, best[:, 0]))
    assert result["image_top1"] == pytest.approx(accuracy_score(labels, best[:, 0]))
    inside = [np.mean([labels[i] in best[i] for i in np.flatnonzero(labels == c)]) for c in range(9)]
    assert result["top5"] == pytest.approx(np.mean(inside))
    assert result["top5_all_classes"] == pytest.approx(np.sum(inside) / 12)
    assert result["top1_all_classes"] == pytest.approx(result["top1"] * 9 / 12)
    assert (result["images"], result["classes"]) == (400, 9)


def test_laws():
    best, labels, n_classes = random_case()
    results = []
    for order in (np.arange(400), np.random.default_rng(1).permutation(400)):
        accuracy = ClassAccuracy(n_classes)
        accuracy.update(best[order], labels[order])
        results.append(accuracy.result())
    assert results[0] == results[1]  # the order of the images does not matter
    twice = ClassAccuracy(n_classes)
    for _ in range(2):
        twice.update(best, labels)
    assert twice.result()["top5"] == results[0]["top5"]  # nor does seeing each twice
    assert results[0]["top1"] <= results[0]["top5"]
    two = ClassAccuracy(2)
    two.update(np.array([[0, 1], [0, 1]]), np.array([0, 1]))
    assert (two.result()["top1"], two.result()["top5"]) == (0.5, 1)  # top-5 is over all classes


def test_one_planted_fault():
    """Ten images of class 0, all right, and two of class 1, one wrong: 3/4 by class, 11/12 by image."""
    labels = np.array([0] * 10 + [1] * 2)
    best = np.stack([labels, *(np.full(12, c) for c in (2, 3, 4, 5))], axis=1)
    best[11, 0] = 0
    accuracy = ClassAccuracy(6)
    accuracy.update(best, labels)
    result = accuracy.result()
    assert (result["top1"], result["image_top1"]) == (0.75, pytest.approx(11 / 12))
    assert result["top1_all_classes"] == 1.5 / 6
    plain = ["class,images,top1,top5,name", "0,10,1.000000,1.000000,", "1,2,0.500000,0.500000,", "2,0,,,"]
    assert class_table(accuracy)[:4] == plain
    named = class_table(
        accuracy, ["", "b, c", *"...."], {"train_images": np.arange(6), "f1": np.array([0.5, np.nan, 1, 1, 1, 1])}
    )
    assert named[0] == "class,images,top1,top5,name,train_images,f1"
    assert named[1:3] == ["0,10,1.000000,1.000000,,0,0.500000", '1,2,0.500000,0.500000,"b, c",1,']


def class_table(*arguments):
    stream = io.StringIO()
    write_class_table(stream, *arguments)
    return stream.getvalue().splitlines()


def test_counters_refuse():
    accuracy = ClassAccuracy(9)
    with pytest.raises(InputError, match=r"label 9 in row 1 is outside 0\.\.8"):
        accuracy.update(np.zeros((2, 5), int), np.array([0, 9]))
    with pytest.raises(InputError, match="labels has 1 rows but topk_indices has 2"):
        accuracy.update(np.zeros((2, 5), int), np.array([0]))
    with pytest.raises(InputError, match=r"topk_indices \(1, 4\)"):
        accuracy.update(np.zeros((1, 4), int), np.array([0]))
    with pytest.raises(InputError, match="accuracy of no images"):
        accuracy.result()


class Batches(list):
    """What a Loader is to evaluate(): batches, and the unreadable rows by path and reason."""

    bad: dict


def planted_batches(unreadable=()):
    """Images whose first byte is the class they show; labels are right except for row 3."""
    shown = np.array([4, 1, 2, 2, 0, 1, 3, 4], np.uint8)
    images = np.zeros((8, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = shown
    readable = ~np.isin(np.arange(8), unreadable)
    batches = Batches(Batch(rows, images[rows], readable[rows]) for rows in (np.arange(0, 5), np.arange(5, 8)))
    batches.bad = {row: (f"{row}.jpg", "the JPEG file is cut off") for row in unreadable}
    labels = shown.astype(np.int32)
    labels[3] = 5
    return batches, labels


def see(images):
    return np.eye(7, dtype=np.float32)[images[:, 0, 0, 0]]


def test_evaluate_counts_rows_by_their_label():
    batches, labels = planted_batches()
    result = evaluate(see, batches, labels, 7).averages()
    assert result["image_top1"] == 7 / 8
    assert result["top1"] == pytest.approx(5 / 6)  # class 5 has one image, wrong
    assert result["unreadable"] == 0


def test_evaluate_leaves_out_what_cannot_be_read():
    batches, labels = planted_batches(unreadable=(3,))
    found = evaluate(see, batches, labels, 7, max_bad=1)
    assert found.unreadable == 1
    assert found.accuracy.result()["image_top1"] == 1.0
    assert found.accuracy.count[5] == 0
    with pytest.raises(InputError, match=r"3\.jpg: is not a readable image: the JPEG file is cut off; at"):
        evaluate(see, batches, labels, 7)
    batches, labels = planted_batches(unreadable=(0, 3, 5))
    with pytest.raises(InputError, match=r"0\.jpg: .* \(and 1 more\); at most 1 "):
        evaluate(see, batches, labels, 7, max_bad=1)
    batches, labels = planted_batches(unreadable=range(8))
    with pytest.raises(InputError, match=r"^none of the 8 validation images can be read; the first: 0\.jpg: the JPEG"):
        evaluate(see, batches, labels, 7, max_bad=8)


class Device:
    """What begins batches; notes in which order they are begun and asked for."""

    def __init__(self):
        self.said = []

    def launch(self, images, k):
        number = sum(word.startswith("launch") for word in self.said)
        self.said.append(f"launch {number}")

        def best():
            self.said.append(f"read {number}")
            return (*topk(see(images), k), None)

        return best


def test_the_next_batch_is_begun_before_the_last_one_is_read():
    batches, labels = planted_batches(unreadable=(3,))
    rows = np.arange(8)
    images = np.concatenate([batch.images for batch in batches])
    batches[:] = [Batch(rows[i : i + 2], images[i : i + 2], rows[i : i + 2] != 3) for i in range(0, 8, 2)]
    device = Device()
    found = evaluate(device, batches, labels, 7, max_bad=1).averages()
    order = ["launch 0", "launch 1", "read 0", "launch 2", "read 1", "launch 3", "read 2", "read 3"]
    assert device.said == order
    assert found == evaluate(see, batches, labels, 7, max_bad=1).averages()


def test_what_was_predicted_before_too_many_are_unreadable_is_given_out():
    batches, _ = planted_batches(unreadable=(5,))
    given = []
    with pytest.raises(InputError, match=r"5\.jpg"):
        for best in ranked(see, batches, 2):
            given.append(best.rows.tolist())
    assert given == [[0, 1, 2, 3, 4]]
