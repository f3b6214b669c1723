"""tools/transfer.py: its figures against a plain computation, and what it refuses."""

import json
import shutil

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from tests.helpers.mosaics import SPLITS, draw, halves, write_mosaics
from tests.helpers.predict import NETWORK, TRANSFORM, make_network, prepare, save_checkpoint
from tests.helpers.voc import labels_of
from tools import transfer
from urnet.core import cli
from urnet.data.lists.voc import read_voc
from urnet.inference import program
from urnet.runtime.device_to_host import Download

COLOURS = [(230, 40, 30), (30, 210, 60), (40, 60, 230)]
CLASSES = ["c0000", "c0001", "c0002"]
N = 40  # pictures of a split


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Mosaics of coloured images, and a checkpoint of a network with random weights."""
    root, rng = tmp_path_factory.mktemp("toy"), np.random.default_rng(0)
    labels, files = np.arange(36) % 3, [root / f"{i}.png" for i in range(36)]
    for file, label in zip(files, labels, strict=True):
        image = rng.integers(60, 180, (20, 20, 3)).astype(np.uint8)
        image[6:14, 6:14] = COLOURS[label]
        assert cv2.imwrite(str(file), image)
    objects = write_mosaics(root / "voc", files, labels, N, tile=20)
    pictures = sorted(file.name for file in (root / "voc/JPEGImages").iterdir())
    network = make_network(root / "voc/JPEGImages", pictures[:N], TRANSFORM)
    return root, objects, network, save_checkpoint(root / "checkpoint", network)


@pytest.fixture
def folder(toy, tmp_path):
    """A copy of the pictures to spoil."""
    return shutil.copytree(toy[0] / "voc", tmp_path / "voc")


def call(toy, *arguments, voc=None):
    fixed = ["--pretrained_model", toy[3], "--voc", voc or toy[0] / "voc", "--use_gpu", "False"]
    return cli.run(transfer.main, [str(part) for part in (*fixed, *arguments)])


def expected(toy, c):
    """The exact average precisions, from images to scikit-learn's measure, step by step."""
    import paddle

    root, objects, network, _ = toy
    x, y = [], [labels_of(objects[split], CLASSES) for split in SPLITS]
    for first in (1, 1 + N):
        views = [prepare(root / f"voc/JPEGImages/{first + i:06d}.jpg", TRANSFORM) for i in range(N)]
        with paddle.no_grad():
            x.append(network.features(paddle.to_tensor(np.stack(views))).numpy().astype(np.float64))
    mean = x[0].mean(axis=0)
    x = [(rows - mean) / np.linalg.norm(rows - mean, axis=1, keepdims=True) for rows in x]
    found = []
    for k in range(len(CLASSES)):
        a, b = (labels[:, k] != 0 for labels in y)
        svm = LinearSVC(C=c, random_state=0, dual=True, max_iter=5000).fit(x[0][a], y[0][a, k])
        found.append(average_precision_score(y[1][b, k] == 1, svm.decision_function(x[1][b])))
    return found


def test_figures_are_those_of_a_plain_computation(toy, tmp_path, capsys, monkeypatch):
    assert call(toy, "--c", "1", "--batch_size", "7", "--out", tmp_path / "f.json") == 0
    out = capsys.readouterr().out.splitlines()
    tree = json.loads((tmp_path / "f.json").read_text())
    figures = [row["exact"] for row in tree["classes"]]
    np.testing.assert_allclose(figures, expected(toy, 1.0), atol=0.02)  # another solver; features are rounded otherwise
    assert np.mean(figures) > 1.2 * np.mean([row["positive"] / N for row in tree["classes"]])
    labels = labels_of(toy[1]["test"], CLASSES)
    for c, (row, line) in enumerate(zip(tree["classes"], out[:3], strict=True)):
        assert line == (
            f"{CLASSES[c]} eleven_point:{row['eleven_point']:.4f} area:{row['area']:.4f} "
            f"exact:{row['exact']:.4f} c:1 positive:{(labels[:, c] == 1).sum()} "
            f"difficult:{(labels[:, c] == 0).sum()}"
        )
    assert out[3] == f"{N} training and {N} test images, 0 unreadable, {toy[2].feature_width} features"
    assert out[4] == "mAP " + " ".join(
        f"{kind}:{np.mean([row[kind] for row in tree['classes']]):.4f}" for kind in ("eleven_point", "area", "exact")
    )
    assert tree["model"] == NETWORK
    begin, read, said = program.live_outputs, Download.value, []
    monkeypatch.setattr(program, "live_outputs", lambda *a, **k: (said.append("begun"), begin(*a, **k))[1])
    monkeypatch.setattr(Download, "value", lambda self: (said.append("read"), read(self))[1])
    assert call(toy, "--c", "1", "--batch_size", "7", "--out", tmp_path / "again.json") == 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "f.json").read_bytes()
    assert said == ["begun", *["begun", "read"] * (-(-N // 7) - 1), "read"] * 2  # the next one before the last is read


def test_unreadable_images_are_refused_or_left_out(toy, folder, capsys):
    bad = folder / f"JPEGImages/{N + 4:06d}.jpg"
    bad.write_bytes(b"no image")
    assert call(toy, voc=folder) == 2
    assert f"error: {bad}: is not a readable image" in capsys.readouterr().err
    assert call(toy, "--max_bad", "1", "--c", "1", voc=folder) == 0
    assert f"{N} training and {N - 1} test images, 1 unreadable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--voc", "/nowhere"], "/nowhere/ImageSets/Main: is not a folder"),
        (["--train", "../x"], "split: found '../x'"),
        (["--train", "test"], f"--train test, --test test: {N} images are in both, such as {N + 1:06d}.jpg"),
        (["--c", "1,x"], "--c: found '1,x'"),
        (["--c", "0"], "--c: found '0'"),
        (["--c", "inf"], "--c: found 'inf'"),
        (["--c", "nan,1"], "--c: found 'nan,1'"),
        (["--batch_size", "0"], "--batch_size: found 0"),
        (["--image_shape", "3,4,4"], "--image_shape"),
        (["--out", "/"], "--out /: is a folder"),
        (["--pretrained_model", "/nowhere"], "/nowhere: does not exist"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_usage(toy, capsys, arguments, words):
    try:
        code = call(toy, *arguments)
    except SystemExit as left:  # of argparse
        code = left.code
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1)
    assert words in said.err


@pytest.mark.parametrize(
    ("split", "value", "words"),
    [
        ("trainval", " 1", "class c0001: 1 positive training images; 2 or more are needed, to choose C"),
        ("test", "-1", "--test test: class c0001: has no positive row"),
    ],
)
def test_a_class_without_examples(toy, folder, capsys, split, value, words):
    file = folder / f"ImageSets/Main/c0001_{split}.txt"
    lines = [f"{line.split()[0]} -1\n" for line in file.read_text().splitlines()]
    file.write_text("".join([lines[0].replace("-1", value), *lines[1:]]))
    assert call(toy, voc=folder) == 2
    assert words in capsys.readouterr().err


def test_mosaics_are_what_their_lists_say(toy, capsys):
    """Lists and annotations agree; no image is behind both splits, and every tile is of its class."""
    classes, splits = read_voc(toy[0] / "voc", SPLITS)
    assert classes == CLASSES
    for split in splits:
        np.testing.assert_array_equal(split.labels, labels_of(toy[1][split.name], CLASSES))
        assert {0, 1, -1} == set(np.unique(split.labels))
    assert "note" not in capsys.readouterr().err
    labels, rng = np.repeat([0, 1, 5], [7, 2, 9]), np.random.default_rng(0)
    pools = halves(labels, rng)
    assert sorted(i for pool in pools.values() for part in pool.values() for i in part) == list(range(18))
    pictures = [draw(pools["test"], rng) for _ in range(300)]
    assert all(labels[i] == label and i in pools["test"][label] for four in pictures for i, label, _ in four)
    counts = np.bincount([len({label for _, label, _ in four}) for four in pictures])
    assert counts[1:].min() > 50  # of 300: 1, 2 and 3 classes, as there are no more
