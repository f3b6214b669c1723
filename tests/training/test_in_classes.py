"""The reference for in_classes that a stage leaves: whose rows it is of, and that it is of the weights beside it."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

import models
from tests.helpers.tiny_training import write_images, write_recipe
from urnet.checkpoints.checkpoint import load_into, read_weights
from urnet.checkpoints.in_classes import FILE, read_reference
from urnet.data.images.decode import read_image
from urnet.data.images.transforms import eval_transform
from urnet.data.sampling.epoch_sampler import EpochSampler
from urnet.nn.normalise import Normalise
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import run_recipe
from urnet.reweight.class_centres import fit
from urnet.training.in_classes import PER_CLASS, reference_rows


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_are_drawn_by_weight_and_never_those_of_weight_0(seed):
    labels = np.random.default_rng(seed).integers(0, 3, 3000)
    loss = np.where(np.arange(3000) % 2, 1, 0).astype(np.float32)
    drawn = np.where(np.arange(3000) % 4 == 1, 9, np.where(np.arange(3000) % 4 == 3, 1, 0)).astype(np.float32)
    sampler = EpochSampler(labels, sampling_weight=drawn, seed=seed, stage="a", n_classes=4)
    job = SimpleNamespace(
        recipe=SimpleNamespace(seed=seed),
        stage=SimpleNamespace(name="a"),
        labels=labels,
        loss_weight=loss,
        sampler=sampler,
    )
    rows = reference_rows(job, 100)
    assert len(rows) == len(set(rows.tolist())) == 300
    assert (np.diff(labels[rows]) >= 0).all() and (rows % 2 == 1).all()
    assert np.mean(rows % 4 == 1) == pytest.approx(0.9, abs=0.06)
    np.testing.assert_array_equal(reference_rows(job, 100), rows)
    assert len(reference_rows(job, 3000)) == np.count_nonzero(drawn)  # fewer than asked for


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished stage whose best weights are not its last ones, and the recipe's file."""
    folder = tmp_path_factory.mktemp("reference")
    write_images(folder)
    recipe = load_recipe(write_recipe(folder), [f"output={folder}/output"])
    (result,) = run_recipe(recipe, lambda: models.build("ResNeXt_small32", 3))
    return folder, recipe, result


def test_both_checkpoints_have_the_reference_of_their_own_weights(trained):
    folder, recipe, result = trained
    validation = [line.rsplit(" ", 1)[0] for line in (folder / "val.txt").read_text().splitlines()]
    training = [line.rsplit(" ", 1) for line in (folder / "train.txt").read_text().splitlines()]
    for name in ("best", "final"):
        network = models.build("ResNeXt_small32", 3)
        load_into(network, read_weights(result.folder / name))
        model = Normalise(network, recipe.transform.mean, recipe.transform.std)
        model.eval()

        def features(paths, model=model):
            images = np.stack([eval_transform(read_image(folder / path), recipe.transform) for path in paths])
            with paddle.no_grad():
                return model.features(paddle.to_tensor(images)).numpy()

        labels = np.array([int(label) for _, label in training])
        found = read_reference(result.folder / name)
        assert found.centres.shape == (3, network.feature_width)
        # the classes of 20 and 11 rows are used whole, that of 30 by a draw
        expected = fit(features([path for path, _ in training]), labels, 3, features(validation))
        np.testing.assert_allclose(found.centres[1:], expected.centres[1:], atol=1e-4)
        assert (found.centres[0] @ expected.centres[0]) > 0.999
        assert PER_CLASS == 20


def test_it_can_be_switched_off_and_changes_neither_weights_nor_finished_stages(trained, tmp_path):
    _, recipe, result = trained
    model = dataclasses.replace(recipe.model, in_classes=False)
    other = dataclasses.replace(recipe, model=model, output=str(tmp_path / "output"))
    (plain,) = run_recipe(other, lambda: models.build("ResNeXt_small32", 3))
    for name in ("best", "final"):
        assert not (plain.folder / name / FILE).exists()
        for file in ("model.safetensors", "state.json", "classes.txt"):
            mine, theirs = (place / name / file for place in (plain.folder, result.folder))
            assert mine.exists() == theirs.exists()
            assert not mine.exists() or mine.read_bytes() == theirs.read_bytes()
    before = (result.folder / "final" / FILE).stat().st_mtime_ns
    run_recipe(dataclasses.replace(recipe, model=model), lambda: models.build("ResNeXt_small32", 3))  # kept
    assert (result.folder / "final" / FILE).stat().st_mtime_ns == before
