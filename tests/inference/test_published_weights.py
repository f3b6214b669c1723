"""imagenet and imagenet:NETWORK wherever a checkpoint is accepted, with what belongs to the weights."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from paddle.vision.models import resnet

import eval as eval_script
import infer
import models
import urnet
from tests.helpers import predict
from tests.helpers.published_weights import FILE, NETWORK, WORD, PublishedFile
from tools import convert_checkpoint, export
from urnet.checkpoints.published import FOLDER, published
from urnet.checkpoints.safetensors_io import read_safetensors
from urnet.core import cli
from urnet.core.checks import InputError


@pytest.fixture(scope="module")
def file(tmp_path_factory, toys):
    return PublishedFile(tmp_path_factory.mktemp("published"), toys.images, toys.names)


@pytest.fixture(autouse=True)
def weights(monkeypatch, tmp_path, file):
    """The file, which URNET_WEIGHTS names."""
    file.published(monkeypatch, tmp_path / "cache")
    monkeypatch.setenv(FOLDER, str(file.path.parent))
    return file


@pytest.fixture(scope="module")
def expected(toys, file):
    return predict.expected_probabilities(file.network, toys.images, toys.names, file.transform)


def test_a_predictor_of_a_word(toys, expected):
    predictor = urnet.load_predictor("imagenet", model=NETWORK, build=models.build, engine="dygraph", batch_size=2)
    found = predictor([toys.images / name for name in toys.names[:2]])
    np.testing.assert_allclose(found, expected[:2], atol=1e-5)
    assert predictor.class_names == tuple(published(WORD).class_names)


def test_a_published_file_is_known_by_its_bytes_wherever_it_is(toys, file, expected, tmp_path):
    """So its view of images and its class names go with it; another file of its name is any file."""
    place = tmp_path / FILE
    shutil.copy(file.path, place)
    predictor = urnet.load_predictor(place, build=models.build, engine="dygraph", batch_size=1)
    assert (predictor.transform, predictor.class_names[0]) == (file.transform, "tench")
    np.testing.assert_allclose(predictor([toys.images / toys.names[0]]), expected[:1], atol=1e-5)
    place.write_bytes(file.path.read_bytes() + b"more")
    with pytest.raises(InputError, match="model: found none"):
        urnet.load_predictor(place, build=models.build)


def test_infer_by_a_word(capsys, toys, expected):
    code, _, lines, err = predict.run(capsys, infer.main, toys.argv("--topk", "3", pretrained_model=WORD))
    assert code == 0, err
    classes, scores = predict.numbers(lines)
    order = np.argsort(-expected, axis=1)[:, :3]
    np.testing.assert_array_equal(classes, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, 1), atol=1e-5)


def test_infer_by_the_path_of_a_published_file(capsys, toys, file, expected):
    argv = toys.argv(pretrained_model=file.path, img_path=toys.images / toys.names[0], img_list=None)
    code, _, lines, err = predict.run(capsys, infer.main, argv)
    assert code == 0 and f"{FILE}: is what {WORD} means; its image transform and class names are used" in err
    assert f"note: stdout gives the numbers of {WORD}'s classes; --output FILE.csv also gives their names" in err
    np.testing.assert_array_equal(predict.numbers(lines)[0].ravel(), expected[:1].argmax(axis=1))


def test_flags_go_before_what_belongs_to_the_weights(capsys, toys, file):
    """The view; but not the number of classes."""
    changed = {"pretrained_model": WORD, "image_shape": "3,64,64", "resize": "straight"}
    code, _, lines, err = predict.run(capsys, infer.main, toys.argv(**changed))
    assert code == 0, err
    straight = file.transform.__class__(size=64, mean=file.transform.mean, std=file.transform.std)
    expected = predict.expected_probabilities(file.network, toys.images, toys.names, straight)
    np.testing.assert_array_equal(predict.numbers(lines)[0].ravel(), expected.argmax(axis=1))
    code, _, _, err = predict.run(capsys, infer.main, toys.argv(pretrained_model=WORD, class_dim=10))
    assert code == 2 and "was trained with 1000 (as published)" in err


def test_eval_on_folders_called_by_wordnets_identifiers(capsys, toys, expected, tmp_path):
    """Without a file of names."""
    for name, c in zip(toys.names[:3], expected.argmax(axis=1).tolist(), strict=False):
        place = tmp_path / "val" / published(WORD).synsets[c]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(toys.images / name, place / f"{name.replace('/', '_')}")
    argv = toys.argv(pretrained_model=WORD, img_path=tmp_path / "val", img_list=None)
    code, _, lines, err = predict.run(capsys, eval_script.main, argv)
    assert code == 0, err
    assert lines[-1] == "top1:1.0000 top5:1.0000"


def test_a_word_is_downloaded_or_says_what_to_do(capsys, toys, monkeypatch, tmp_path):
    monkeypatch.delenv(FOLDER)
    code, arguments, lines, err = predict.run(capsys, infer.main, toys.argv(pretrained_model=WORD))
    assert (code, arguments, lines) == (2, [], [])
    line = err.splitlines()[-1]
    assert f"http://127.0.0.1:9/{FILE}: cannot be reached" in line and f"put {FILE} into {tmp_path}/cache" in line
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"pretrained_model": "imagenet"}, "give the network as imagenet:NETWORK"),
        ({"pretrained_model": "imagenet:SENet154"}, "timm's of legacy_senet154 fit"),
        ({"pretrained_model": WORD, "model": "ResNet34"}, "the network is ResNet34"),
    ],
)
def test_words_that_mean_nothing(capsys, toys, changed, line):
    code, _, _, err = predict.run(capsys, infer.main, toys.argv(**changed))
    assert code == 2 and line in err and err.count("\n") == 1


def test_a_checkpoint_of_that_name_is_not_taken_for_the_word(capsys, toys, monkeypatch, tmp_path):
    """imagenet might mean either: refused; ./imagenet is the checkpoint."""
    shutil.copytree(toys.checkpoint, tmp_path / "imagenet")
    monkeypatch.chdir(tmp_path)
    code, _, _, err = predict.run(capsys, infer.main, toys.argv(pretrained_model="imagenet", model=NETWORK))
    assert code == 2 and "give ./imagenet for the checkpoint" in err
    code, _, lines, err = predict.run(capsys, infer.main, toys.argv(pretrained_model="./imagenet"))
    assert code == 0, err
    np.testing.assert_array_equal(predict.numbers(lines)[0].ravel(), toys.labels)


def test_convert_by_a_word(capsys, file, tmp_path):
    assert cli.run(convert_checkpoint.main, ["imagenet", str(tmp_path / "w.safetensors"), "--model", NETWORK]) == 0
    found, own = read_safetensors(tmp_path / "w.safetensors"), predict.weights_of(file.network)
    assert found.keys() == own.keys() and all(np.array_equal(found[key], own[key]) for key in own)
    assert f"{NETWORK} with 1000 classes" in capsys.readouterr().out


def test_export_by_a_word(file):
    """The job that is exported is infer.py's, with the weights' own view and class names."""
    job = export.prediction_job(export.parser().parse_args(["--pretrained_model", WORD, "--out", "nowhere"]))
    notes = job.notes()
    assert (notes["model"], notes["resize"], notes["resize_short_size"]) == (NETWORK, "short", 256)
    assert (notes["mean"], notes["class_names"][0]) == (file.transform.mean, "tench")


def test_the_list_is_paddles(monkeypatch, file):
    assert published(WORD).digest == ("md5", file.md5) == ("md5", resnet.model_urls["resnet18"][1])
