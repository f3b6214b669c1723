"""A stage as one program: the same training, programs counted; what cannot be one is refused."""

import signal

import numpy as np
import pytest

import models
from tests.helpers import faults
from tests.helpers.programs import counts, programs
from urnet.config.recipe import read_recipe
from urnet.core.checks import InputError
from urnet.core.signals import Interrupted
from urnet.pipeline import run
from urnet.pipeline.recipes import load_recipe
from urnet.training import trainer
from urnet.training.compiled import check_compile


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    faults.make_web(folder)
    return folder


def recipe_of(folder, web, *overrides):
    return load_recipe(faults.write_recipe(folder, web), overrides)


def final(folder):
    from urnet.checkpoints.checkpoint import read_weights

    return read_weights(folder / "output/five/class/final")


def test_a_compiled_stage_is_the_same_stage_and_resumes(tmp_path, web, monkeypatch):
    """With mixup, class weights and a moving average; the third run is stopped after a step and resumed."""

    def build():
        return models.build("ResNet8_small32", 3)

    with programs() as made:
        for name, compiled in (("plain", "false"), ("compiled", "true")):
            run.run_recipe(recipe_of(tmp_path / name, web, f"model.compile={compiled}"), build, until="class")
    whole = recipe_of(tmp_path / "resumed", web, "model.compile=true")

    def stopped(self, log, only=[]):  # noqa: B006
        save(self, log)
        if not only:
            only.append(1)
            raise Interrupted(signal.SIGTERM)

    save = trainer.Trainer._save_checkpoint
    monkeypatch.setattr(trainer.Trainer, "_save_checkpoint", stopped)
    with pytest.raises(Interrupted):
        run.run_recipe(whole, build, until="class")
    run.run_recipe(whole, build, until="class", resume=True)
    expected = final(tmp_path / "plain")
    for other in ("compiled", "resumed"):
        found = final(tmp_path / other)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
    (n,) = counts(made)
    assert 2 <= n <= 3  # training; evaluation of a whole batch, and of the rest


def test_several_processes_and_their_own_batch_norms_are_accepted(tmp_path, web):
    recipe = read_recipe(faults.write_recipe(tmp_path, web), ["model.compile=true"])
    check_compile(recipe, recipe.stages, 2)
    recipe = read_recipe(faults.write_recipe(tmp_path, web), ["model.compile=true", "model.sync_batch_norm=true"])
    check_compile(recipe, recipe.stages, 1)


@pytest.mark.parametrize(
    ("override", "n_processes", "message"),
    [
        ("model.recompute=true", 1, "with model.recompute: a unit"),
        ("model.sync_batch_norm=true", 2, "with model.sync_batch_norm: "),
        ("stages.class.train=classifier", 1, "with stages.class.train: classifier: only whole networks"),
        ("stages.class.elr={weight: 1.0, teacher: average}", 1, "with stages.class.elr.teacher: average: "),
    ],
)
def test_what_cannot_be_one_program_is_refused(tmp_path, web, override, n_processes, message):
    for compiled in (False, True):
        recipe = read_recipe(faults.write_recipe(tmp_path, web), [override, f"model.compile={compiled}".lower()])
        stages = recipe.stages[:1]
        if compiled:
            with pytest.raises(InputError, match=f"^model.compile: found true together {message}"):
                check_compile(recipe, stages, n_processes)
        else:
            check_compile(recipe, stages, n_processes)


def test_training_programs_crash_with_onednn(tmp_path, web, monkeypatch):
    monkeypatch.setenv("FLAGS_use_onednn", "1")
    recipe = read_recipe(faults.write_recipe(tmp_path, web), ["model.compile=true"])
    with pytest.raises(InputError, match="with FLAGS_use_onednn: Paddle's training programs crash"):
        check_compile(recipe, recipe.stages, 1)
