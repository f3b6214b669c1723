"""What scripts import from urnet: predictions, the instance stage in one call, docs/library.md's examples."""

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from scipy.special import softmax

import models
import urnet
from tests.helpers.judged_pictures import picture as solid
from tests.helpers.judged_pictures import write, write_tree
from tests.helpers.picture_files import encode, picture, with_orientation
from tests.helpers.predict import (
    N_CLASSES,
    NAMES,
    NETWORK,
    RELEASE,
    expected_probabilities,
    recipe_of,
    save_checkpoint,
    weights_of,
)
from tests.helpers.webvision import N_CLASSES as WEB_CLASSES
from tests.helpers.webvision import write_web
from urnet.checkpoints import safetensors_io
from urnet.checkpoints.checkpoint import read_weights
from urnet.config.recipe import Transform
from urnet.data.images.decode import decode
from urnet.data.table.table import BaseWriter
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import run_recipe
from urnet.report.columns import Columns
from urnet.report.run_evidence import label_evidence

ROOT = Path(__file__).parents[2]


# --- names


def test_readers_type_checkers_and_dir_know_the_same_names():
    tree = ast.parse((ROOT / "urnet/__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module.startswith("urnet.")]
    assert {alias.name: node.module for node in imports for alias in node.names} == urnet._HOMES
    assert urnet.__all__ == sorted(urnet.__all__)
    assert set(urnet.__all__) <= set(dir(urnet))
    for name in urnet.__all__:
        assert getattr(urnet, name).__doc__
    with pytest.raises(AttributeError, match="'urnet' has no attribute 'claster'"):
        urnet.claster  # noqa: B018


def test_names_of_before_still_work():
    assert urnet.judge_labels is urnet.label_quality
    assert urnet.trusted is urnet.sampling_weight


def test_nothing_heavy_comes_before_it_is_used():
    code = """if True:
        import sys, urnet
        assert not {"numpy", "pyarrow"} & set(sys.modules)
        for name in urnet.__all__:
            getattr(urnet, name)
        print(sorted({"paddle", "sklearn", "joblib", "matplotlib", "pandas"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- predictions


@pytest.fixture(scope="module")
def predictor(toys):
    return urnet.load_predictor(toys.checkpoint, build=models.build, engine="dygraph", batch_size=4)


def rgb(path):
    return cv2.imread(str(path))[:, :, ::-1]


def test_arrays_of_any_sizes_and_paths_give_what_the_recipe_means(toys, predictor):
    paths = [toys.images / name for name in toys.names]
    mixed = [str(path) if i % 3 == 0 else path if i % 3 == 1 else rgb(path) for i, path in enumerate(paths)]
    found = predictor(mixed)
    assert (found.dtype, found.shape) == (np.float32, (len(paths), N_CLASSES))
    np.testing.assert_allclose(found, toys.expected, atol=2e-6)
    np.testing.assert_array_equal(predictor(image for image in mixed), found)
    np.testing.assert_allclose(predictor(mixed[2:3]), found[2:3], atol=1e-6)  # one, filled up to four
    same = np.stack([cv2.resize(rgb(path), (50, 40)) for path in paths[:5]])
    np.testing.assert_array_equal(predictor(same), predictor(list(same)))
    assert predictor([]).shape == (0, N_CLASSES)


def test_features_are_what_the_classifier_is_given(toys, predictor):
    images = [toys.images / name for name in toys.names[:5]]
    features = predictor.features(images)
    assert features.dtype == np.float32
    weights = read_weights(toys.checkpoint)
    logits = features @ weights["fc.weight"] + weights["fc.bias"]
    np.testing.assert_allclose(softmax(logits, axis=1), toys.expected[:5], atol=2e-6)
    assert predictor.features([]).shape == (0, features.shape[1])


def test_a_network_of_ones_own_may_lack_features(toys):
    class Plain(paddle.nn.Layer):
        def __init__(self, network):
            super().__init__()
            self.forward, self.state_dict = network.forward, network.state_dict

    loaded = urnet.load_predictor(
        toys.checkpoint, build=lambda *which: Plain(models.build(*which)), engine="dygraph", batch_size=4
    )
    with pytest.raises(urnet.InputError, match=f"features: {NETWORK} of .* has no method `features`"):
        loaded.features([toys.images / toys.names[0]])


def test_the_best_classes_and_their_names(toys, predictor):
    paths = [toys.images / name for name in toys.names]
    best = predictor.top(paths, 3)
    assert (best.classes.dtype, best.scores.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(best.classes, toys.ranking[:, :3])
    np.testing.assert_allclose(best.scores, np.take_along_axis(toys.expected, best.classes, 1), atol=2e-6)
    assert best.names == [[NAMES[c] for c in row] for row in toys.ranking[:, :3]]
    none = predictor.top([], 2)
    assert (none.classes.shape, none.scores.shape, none.names) == ((0, 2), (0, 2), [])
    with pytest.raises(urnet.InputError, match=r"k: found 8; 1\.\.7 is accepted"):
        predictor.top(paths, 8)


def test_images_that_are_none_are_refused_with_their_place(toys, predictor, tmp_path):
    good = toys.images / toys.names[0]
    (tmp_path / "text.jpg").write_text("no image")
    for images, message in (
        ([good, tmp_path / "text.jpg"], r"images: number 1, .*text\.jpg: "),
        ([good, good, "nowhere.jpg"], r"images: number 2, nowhere\.jpg: cannot be read"),
        ([np.zeros((4, 4), np.uint8)], r"images: number 0 is uint8 \(4, 4\); uint8 \(H, W, 3\) or a path"),
        ([np.zeros((4, 4, 3), np.float32)], r"number 0 is float32 \(4, 4, 3\)"),
        ([np.zeros((0, 4, 3), np.uint8)], r"number 0 is uint8 \(0, 4, 3\)"),
        ([None], "number 0 is NoneType"),
        ([[[1, 2, 3], [1]]], "number 0 is list"),
        (None, "images: found NoneType; a list of images is accepted"),
        (str(good), "images: found a single image"),
        (rgb(good), "images: found a single image"),
    ):
        with pytest.raises(urnet.InputError, match=message):
            predictor(images)


def test_exif_and_size_follow_the_recipe(toys, tmp_path):
    jpeg = encode(".jpg", picture(30, 40))
    (tmp_path / "turned.jpg").write_bytes(with_orientation(jpeg, 3))  # by half
    stored = decode(jpeg)
    for exif, expected in (("honour", stored[::-1, ::-1]), ("ignore", stored)):
        recipe = recipe_of(transform=Transform(size=32), exif=exif, max_pixels=1200)
        loaded = urnet.load_predictor(
            save_checkpoint(tmp_path / exif, toys.network, recipe, None), build=models.build, engine="dygraph"
        )
        found = loaded([tmp_path / "turned.jpg"])
        np.testing.assert_allclose(found, loaded([expected]), atol=1e-6)
        assert np.abs(found - loaded([expected[::-1]])).max() > 1e-3
        with pytest.raises(urnet.InputError, match=r"number 0, .*\.png: .* pixels"):
            loaded([toys.images / toys.names[0]])  # 70 x 40
    assert loaded.class_names == ("",) * N_CLASSES


def test_a_file_of_weights_needs_to_be_told_what_it_is(toys, tmp_path):
    file = tmp_path / "alone.safetensors"
    safetensors_io.write_safetensors(file, weights_of(toys.network))
    with pytest.raises(urnet.InputError, match=r"^model: found none; .*alone\.safetensors has no recipe"):
        urnet.load_predictor(file, build=models.build)
    with pytest.raises(urnet.InputError, match=r"^n_classes: found none"):
        urnet.load_predictor(file, build=models.build, model=NETWORK)
    loaded = urnet.load_predictor(
        file,
        build=models.build,
        model=NETWORK,
        n_classes=N_CLASSES,
        transform=RELEASE,
        engine="dygraph",
        class_names=NAMES,
    )
    paths = [toys.images / name for name in toys.names]
    np.testing.assert_allclose(
        loaded(paths), expected_probabilities(toys.network, toys.images, toys.names, RELEASE), atol=2e-6
    )
    assert loaded.class_names == tuple(NAMES)


def test_what_does_not_fit_is_one_line(toys):
    def load(**changed):
        return urnet.load_predictor(toys.checkpoint, **{"build": models.build, **changed})

    def mine(name, n_classes):
        return {"MyNet": lambda: None}[name]()

    for changed, message in (
        ({"model": "ResNet50"}, f"model is 'ResNet50', but .*checkpoint was trained with '{NETWORK}'"),
        ({"n_classes": 9}, r"n_classes is 9, but .* was trained with 7 \(its recipe.yaml\)"),
        ({"class_names": NAMES[::-1]}, "class_names: class 0 is 'class 6, toy', but 'class 0, toy' in .*classes.txt"),
        ({"class_names": ["a"]}, "class_names: found 1 names; the network has 7 classes"),
        ({"build": mine}, rf"checkpoint: build does not make its network, '{NETWORK}' \(.*\)"),
        ({"build": lambda name, n: None}, rf"build\('{NETWORK}', 7\) gave NoneType; a network is needed"),
        ({"build": lambda name, n: models.build("ResNet8_small32", n)}, "does not fit the network"),
        ({"batch_size": 2.5}, r"batch_size: found 2\.5; a whole number above 0"),
        ({"threads": 0}, "threads: found 0; a whole number above 0"),
        ({"device": "tpu"}, "device: 'tpu' is not known"),
        ({"transform": urnet.Transform(eval="long")}, "transform.eval: found 'long'; accepted"),
        ({"transform": urnet.Transform(size=-3)}, "transform.size: found -3; accepted: 8 or more"),
        (
            {"transform": urnet.Transform(eval="short", size=32, resize_short=16)},
            "transform.resize_short: found 16; accepted: >= 32",
        ),
    ):
        with pytest.raises(urnet.InputError, match=message) as caught:
            load(**changed)
        assert "\n" not in str(caught.value)
    with pytest.raises(urnet.InputError, match="does not exist"):
        urnet.load_predictor(toys.root / "nowhere", build=models.build)


# --- features and labels to weights and suspects


def test_the_one_call_is_the_instance_stage_byte_for_byte(tmp_path):
    write_web(tmp_path / "web", 2)
    short = {"duration": "2 steps", "batch_size": 8, "eval_every": "9 steps", "checkpoint_every": "9 steps"}
    tree = {
        "name": "r",
        "output": str(tmp_path),
        "data": {"root": str(tmp_path / "web"), "n_classes": WEB_CLASSES},
        "transform": {"size": 32},
        "model": {"name": "ResNet8_small32"},
        "seed": 5,
        "stages": [
            {"name": "class", **short},
            {
                "name": "instance",
                **short,
                "measure": {"keep": True},
                "reweight": {
                    "method": "instance",
                    "evidence": {"text": 0, "rank_bins": 0, "noise": 0, "shrinkage": "auto"},
                },
            },
        ],
    }
    (tmp_path / "r.yaml").write_text(json.dumps(tree))
    run_recipe(load_recipe(tmp_path / "r.yaml"), lambda: models.build("ResNet8_small32", WEB_CLASSES))
    table = urnet.Table.open(tmp_path / "r/table")
    features = urnet.Measurement.open(tmp_path / "r/measure/instance").features
    given = table.column("label")
    found = urnet.label_quality(features, given, WEB_CLASSES, evidence="head", seed=5)
    for name in ("relevance", "instance_weight", "suggested", "suggested_prob"):
        column = table.column(name)
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column, err_msg=name)
    reported = label_evidence(Columns(table))
    np.testing.assert_array_equal(found["relevance"], reported.label_quality)
    assert (found["score"] > 0).any()
    np.testing.assert_array_equal(found["score"] == 0, found["suggested"] == table.column("label"))


# --- the page


BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PRINTED = re.compile(r"^ *print\(.*\)  +# (.*)$", re.M)


@pytest.fixture
def finished_run(tmp_path, monkeypatch):
    """What the page expects of ``sh run.sh``, in the working folder: a checkpoint, a table and an image."""
    names = [f"digit {c}" for c in range(10)]
    paddle.seed(0)
    recipe = recipe_of("ResNet8_small32", Transform(size=32), n_classes=10)
    save_checkpoint(tmp_path / "output/digits_web/label/final", models.build("ResNet8_small32", 10), recipe, names)
    place = tmp_path / "output/digits_web/table"
    with BaseWriter(place, root="data", format="webvision2", class_names=names) as writer:
        writer.add([f"{i}.jpg" for i in range(30)], np.arange(30) % 10, text=["title"] * 30)
    urnet.Table.open(place).write(
        "instance", {"relevance": np.linspace(0, 1, 30, dtype=np.float32)}, stage="", recipe_hash="", checkpoint=""
    )
    images = tmp_path / "data/digits_web/val_images_resized"
    images.mkdir(parents=True)
    cv2.imwrite(str(images / "val000001.jpg"), np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    write_tree(tmp_path / "photos", each=10, ending="jpg")
    write(tmp_path / "photos/blue/mistaken.jpg", solid("red", 30))
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)


def test_the_examples_of_the_page_print_what_it_says(finished_run):
    blocks = BLOCK.findall((ROOT / "docs/library.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 5
    names: dict = {}
    for block in blocks:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(block, "docs/library.md", "exec"), names)
        expected = PRINTED.findall(block)
        assert len(expected) == block.count("print(")
        assert said.getvalue().splitlines() == expected, block


def test_the_page_explains_every_name():
    page = (ROOT / "docs/library.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", page))
    assert set(urnet.__all__) - words - {"ImagePredictor", "Top"} == set()
