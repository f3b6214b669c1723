"""in_classes of predictions: the engines against NumPy, the files, exported folders, checkpoints with and without."""

import csv
import json
import pickle
import shutil

import numpy as np
import paddle
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

import infer
import models
import urnet
from tests.helpers.predict import N_CLASSES, NAMES, run
from tools import export
from urnet.checkpoints.in_classes import FILE, read_reference, reference_file, write_reference
from urnet.core.checks import InputError
from urnet.evaluation.prediction_reader import read_predictions
from urnet.inference.exported_predictor import Exported
from urnet.inference.program_cache import ProgramSource
from urnet.nn.in_classes import InClasses, in_classes_layer
from urnet.reweight.class_centres import ClassCentres, fit


@pytest.fixture(scope="module")
def known(toys, tmp_path_factory):
    """The toys' checkpoint with a reference, which knows half of the images; and what it says of each."""
    folder = tmp_path_factory.mktemp("known") / "best"
    shutil.copytree(toys.checkpoint, folder)
    plain = urnet.load_predictor(folder, build=models.build, engine="dygraph", batch_size=4)
    paths = [toys.images / name for name in toys.names]
    features = plain.features(paths)
    assert plain.top(paths).in_classes is None
    found = fit(features[:5], np.arange(5) % 3, N_CLASSES, features[2:8])
    reference = ClassCentres(found.centres, found.threshold, max(found.scale, 0.02))  # not steep: engines round
    write_reference(folder, reference)
    return folder, paths, reference.score(features)


def test_the_layer_is_the_array_form():
    rng = np.random.default_rng(2)
    features, labels = rng.exponential(1, (30, 6)).astype(np.float32), rng.integers(0, 4, 30)
    reference = fit(features, labels, 5, features)
    rows = np.concatenate([features, np.zeros((1, 6), np.float32)])
    found = InClasses(reference)(paddle.to_tensor(rows)).numpy()
    np.testing.assert_allclose(found, reference.score(rows), atol=1e-4)
    assert not list(InClasses(reference).parameters()) and not InClasses(reference).state_dict()


@pytest.mark.parametrize("engine", ["dygraph", "inference"])
def test_load_predictor_has_it_beside_the_triple(known, toys, engine):
    folder, paths, expected = known
    predictor = urnet.load_predictor(folder, build=models.build, engine=engine, batch_size=4)
    top = predictor.top(paths, k=2)
    classes, scores, names = top
    assert top.in_classes.dtype == np.float32
    np.testing.assert_allclose(top.in_classes, expected, atol=2e-3)
    np.testing.assert_array_equal(classes, toys.ranking[:, :2])
    np.testing.assert_allclose(predictor(paths), toys.expected, atol=2e-5)
    again = pickle.loads(pickle.dumps(top))
    np.testing.assert_array_equal(again.in_classes, top.in_classes)
    assert again.names == names and len(again) == 3 and scores.shape == (11, 2)


@pytest.mark.parametrize("flags", [[], ["--crops", "5", "--flip"]])
def test_infer_writes_the_column_where_the_checkpoint_knows(known, toys, tmp_path, capsys, flags):
    folder, _, expected = known
    shutil.copytree(toys.images, tmp_path / "images")
    (tmp_path / "images" / toys.names[0]).write_bytes(b"no picture")
    told = {}
    for suffix in (".csv", ".jsonl", ".arrow"):
        out = tmp_path / f"a{suffix}"
        changed = {"pretrained_model": folder, "img_path": tmp_path / "images", "output": out, "max_bad": 1}
        code, _, lines, err = run(capsys, infer.main, toys.argv(*flags, **changed))
        assert code == 0, err
        assert not any("in_classes" in line for line in lines)  # the 2018 release's lines
        (block,) = read_predictions(out, N_CLASSES)
        assert block.readable.tolist() == [False] + [True] * 10
        if suffix == ".csv":
            rows = list(csv.DictReader(out.open(newline="")))
            assert list(rows[0]) == ["path", "classes", "scores", "names", "error", "in_classes"]
            assert rows[0]["in_classes"] == ""
            told[suffix] = [float(row["in_classes"]) for row in rows[1:]]
        elif suffix == ".jsonl":
            rows = [json.loads(line) for line in out.read_text().splitlines()]
            assert rows[0]["in_classes"] is None
            told[suffix] = [row["in_classes"] for row in rows[1:]]
        else:
            values = pa.ipc.open_file(str(out)).read_all()["in_classes"].to_pylist()
            assert values[0] is None
            told[suffix] = values[1:]
    for values in told.values():
        np.testing.assert_array_equal(np.float32(values), np.float32(told[".arrow"]))
        assert np.ptp(values) > 0.02
        if not flags:
            np.testing.assert_allclose(values, expected[1:], atol=2e-3)


def test_a_checkpoint_without_it_gives_the_files_of_before(toys, tmp_path, capsys):
    code, *_ = run(capsys, infer.main, toys.argv(output=tmp_path / "a.csv"))
    assert code == 0
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "path,classes,scores,names,error"


def test_the_file_of_weights_in_the_checkpoint_knows_as_well(known, tmp_path):
    folder, _, _ = known
    assert reference_file(folder / "model.safetensors") == reference_file(folder) == folder / FILE
    shutil.copy(folder / "model.safetensors", tmp_path / "other.safetensors")
    assert read_reference(tmp_path / "other.safetensors") is None


def test_the_cache_tells_checkpoints_that_differ_in_it(known, toys):
    def key(weights):
        return ProgramSource(weights, "x", N_CLASSES, 32, (0.5,) * 3, (0.5,) * 3, toys.root).key()

    assert key(known[0]) != key(toys.checkpoint)


def test_exported_folders_have_a_second_output(known, toys, tmp_path, capsys):
    folder, _, expected = known
    images = ["--images", str(toys.images)]
    assert export.main(["--pretrained_model", str(folder), "--out", str(tmp_path / "new"), *images]) == 0
    assert export.main(["--pretrained_model", str(toys.checkpoint), "--out", str(tmp_path / "old"), *images]) == 0
    found = Exported(tmp_path / "new", batch_size=4, threads=1)
    batch = np.stack([found.signature.prepare((toys.images / name).read_bytes()) for name in toys.names[:4]])
    np.testing.assert_allclose(found.answers(batch).in_classes, expected[:4], atol=2e-3)
    np.testing.assert_allclose(found.probabilities(batch[:3]), toys.expected[:3], atol=1e-4)
    assert Exported(tmp_path / "old", batch_size=4, threads=1).answers(batch).in_classes is None
    tree = json.loads((tmp_path / "new" / "signature.json").read_text())
    assert tree["in_classes"] == {
        "output": 1,
        "dtype": "float32",
        "shape": ["batch"],
        "meaning": "below 0.5: probably none of the classes",
    }
    assert "in_classes" not in json.loads((tmp_path / "old" / "signature.json").read_text())
    assert "below 0.5" in (tmp_path / "new" / "README.txt").read_text()
    for value, message in (
        (7, "in_classes: found 7; an object with output 1"),
        (None, "says no in_classes, but the model"),
    ):
        tree["in_classes"] = value
        (tmp_path / "new" / "signature.json").write_text(json.dumps(tree))
        with pytest.raises(InputError, match=message):
            Exported(tmp_path / "new", batch_size=4, threads=1).answers(batch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": np.zeros(1, np.float32)}, "scale \\(1,\\) above 0 are accepted"),
        ({"centres": np.full((2, 4), np.nan, np.float32)}, "finite float32 centres"),
        ({"centres": np.ones(4, np.float32)}, "found .*'centres': \\(4,\\)"),
        ({"more": np.ones(4, np.float32)}, "found .*'more'"),
    ],
)
def test_a_damaged_reference_is_refused(known, tmp_path, change, message):
    shutil.copytree(known[0], tmp_path / "best")
    save_file({**load_file(tmp_path / "best" / FILE), **change}, tmp_path / "best" / FILE)
    with pytest.raises(InputError, match=message):
        read_reference(tmp_path / "best")


def test_a_reference_of_another_network_is_refused(known):
    network = models.build("ResNet8_small32", len(NAMES))
    with pytest.raises(
        InputError, match=f"copied/best: its reference for in_classes is of .* has {network.feature_width}"
    ):
        in_classes_layer(ClassCentres(np.ones((2, 5), np.float32), 0.5, 0.1), network, "copied/best")
