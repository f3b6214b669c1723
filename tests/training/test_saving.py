"""Checkpoints that are written beside the training: of their own step, by the main process alone."""

import threading
from types import SimpleNamespace

import pytest

import models
from tests.helpers.tiny_training import write_images, write_recipe
from urnet.checkpoints import checkpoint
from urnet.core.side_writer import SideWriter
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import run_recipe
from urnet.training.elr_memory import ElrMemory
from urnet.training.step import TrainState
from urnet.training.trainer import Trainer

PATIENCE = 60  # seconds until a test that hangs fails
SETTINGS = {
    "duration": "6 steps",
    "batch_size": 8,
    "checkpoint_every": "2 steps",
    "eval_every": "6 steps",
    "keep": 2,
    "mixup": 0.0,
    "elr": {"weight": 1.0},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


def train(images, folder):
    """Train one stage; its files' bytes by name, without those that hold times."""
    overrides = [f"output={folder}"]
    recipe = load_recipe(write_recipe(images, **SETTINGS), overrides)
    run_recipe(recipe, lambda: models.build(recipe.model.name, 3))
    stage = folder / "tiny/class"
    return {str(p.relative_to(stage)): p.read_bytes() for p in stage.rglob("*/*") if p.name != "recipe.yaml"}


def test_what_is_saved_is_of_its_step_though_training_has_gone_on(images, tmp_path, monkeypatch):
    """No checkpoint is begun before two further steps have changed network, average, optimiser and memory."""
    with monkeypatch.context() as patch:
        patch.setattr(SideWriter, "write", lambda self, job: job())  # as if there were no thread
        expected = train(images, tmp_path / "waiting")
    steps, reached, overtaken = [0], threading.Condition(), []
    real_step, real_save = Trainer._step, checkpoint.save

    def step(self, *arguments):
        real_step(self, *arguments)
        with reached:
            steps[0] += 1
            reached.notify_all()

    def save(folder, **parts):
        kind, _, number = folder.name.partition("-")
        if kind == "step" and int(number) < 6:
            with reached:
                assert reached.wait_for(lambda: steps[0] == int(number) + 2, PATIENCE)
                overtaken.append(int(number))
        real_save(folder, **parts)

    monkeypatch.setattr(Trainer, "_step", step)
    monkeypatch.setattr(checkpoint, "save", save)
    found = train(images, tmp_path / "beside")
    assert overtaken == [2, 4]
    assert set(found) >= {f"{name}/model.safetensors" for name in ("step-00000006", "step-00000004", "best", "final")}
    assert "step-00000004/early.safetensors" in found
    assert found == expected


def test_the_others_gather_nothing_but_take_part_in_what_is_exchanged(images, tmp_path, monkeypatch):
    gathered: list[str] = []
    asked: list[str] = []

    def counted(owner, name, into):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda self: (into.append(f"{owner.__name__}.{name}"), real(self))[1])

    counted(TrainState, "weights", gathered)
    counted(TrainState, "state", gathered)
    counted(ElrMemory, "state", asked)
    real, seen = Trainer._save_checkpoint, []

    def save(self, log):
        if not seen:
            group, self.group = self.group, SimpleNamespace(is_main=False, is_single=False, barrier=lambda: None)
            real(self, log)
            self.group = group
            seen.append((list(gathered), list(asked), list(self.job.folder.glob("step-*"))))
        real(self, log)

    monkeypatch.setattr(Trainer, "_save_checkpoint", save)
    train(images, tmp_path)
    assert seen == [([], ["ElrMemory.state"], [])]
    assert gathered[:2] == ["TrainState.state", "TrainState.weights"]


def test_a_disk_that_fails_behind_the_training_stops_it_and_no_later_checkpoint_is_begun(images, tmp_path, monkeypatch):
    begun = []

    def save(folder, **parts):
        begun.append(folder.name)
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(OSError, match="step-00000002"):
        train(images, tmp_path)
    assert begun == ["step-00000002"]
