"""A step never waits for the step before it: what the host reads and sends between the launches of two steps."""

import cv2
import pytest

from tests.helpers.counted_steps import counted
from tests.helpers.dali_stand_in import Pipeline
from tests.helpers.distributed_job import Plain
from tests.helpers.tiny_training import write_images, write_recipe
from urnet.data.loading import dali_loader
from urnet.pipeline import preflight, run
from urnet.pipeline.recipes import load_recipe

STEPS, BATCH = 6, 8
LONG = {"eval_every": "9 epochs", "checkpoint_every": "9 epochs", "log_every": 1}
BARE = {"mixup": 0.0, "accumulate": 1, "balance": 0.0, "ema": None, "optimizer": {}}
ALONE = {"loss_weight": [], "reweight": None}
CASES = {  # what the stage has, and the arrays that a step sends
    "bare": ({}, 3),  # images, labels, weights
    "all": ({"mixup": 0.2, "accumulate": 2, "ema": {"decay": 0.9}, "optimizer": {"clip_norm": 5.0}}, 4),  # and partners
    "gate": ({"gate": {"threshold": 0.5, "agree": True}, "accumulate": 2}, 3),
    "elr": ({"elr": {"top_k": 2}, "accumulate": 2}, 5),
    "taught": ({"elr": {"top_k": 2, "teacher": "average"}, "ema": {"decay": 0.9}, "mixup": 0.2}, 6),
    "bags": ({"bags": {"size": 2}, "label_smoothing": 0.0}, 3),
    "sop": ({"sop": {"top_k": 2}, "label_smoothing": 0.0}, 6),
    "co-teaching": ({"co_teaching": {"forget_rate": 0.2}, "label_smoothing": 0.0, **ALONE}, 3),
    "fp16": ({"amp": "fp16", "mixup": 0.2, "optimizer": {"clip_norm": 5.0}, "ema": {"decay": 0.9}}, 4),
    "DivideMix": ({"dividemix": {"warmup": "0 steps"}, "label_smoothing": 0.0, **ALONE}, 12),
    "adamw": ({"optimizer": {"name": "adamw", "classifier_lr": 10}}, 3),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_no_value_of_the_step_just_launched_is_waited_for(images, tmp_path, case, monkeypatch):
    keys, uploads = CASES[case]
    if "amp" in keys:  # of which a CPU has the scaling only
        monkeypatch.setattr(run, "choose_amp", lambda *_: "float16")
    path = write_recipe(images, duration=f"{STEPS} steps", batch_size=BATCH, **{**LONG, **BARE, **keys})
    with counted() as steps:
        run.run_recipe(load_recipe(path, [f"output={tmp_path}"]), lambda: Plain(3))
    assert steps.launched == STEPS
    views = 2 if "dividemix" in keys else 1
    for number, found in enumerate(steps.counts[1:STEPS], 1):
        assert (found.reads, found.newest, found.collectives) == ([], 0, []), number
        assert len(found.uploads) == uploads, number
        assert [size for kind, size in found.uploads if kind == "uint8"] == [BATCH * views * 16 * 16 * 3]  # once
    assert steps.counts[-1].newest > 0  # when all steps are done the last one is read


def test_images_that_dali_made_are_not_sent_again(images, tmp_path, monkeypatch):
    for file in images.rglob("*.png"):  # what a file is called does not matter
        file.write_bytes(cv2.imencode(".jpg", cv2.imread(str(file)))[1].tobytes())
    monkeypatch.setattr(dali_loader, "build_pipeline", Pipeline)
    monkeypatch.setattr(preflight, "require_dali", lambda: None)
    keys = {"mixup": 0.2, "accumulate": 2, "ema": {"decay": 0.9}, "optimizer": {"clip_norm": 5.0}}
    path = write_recipe(images, duration=f"{STEPS} steps", batch_size=BATCH, **{**LONG, **BARE, **keys})
    others = ["data.decoder=dali", "transform.train=random_resized_crop", "transform.jitter=0"]
    with counted() as steps:
        run.run_recipe(load_recipe(path, [f"output={tmp_path}", *others]), lambda: Plain(3))
    assert steps.launched == STEPS
    for number, found in enumerate(steps.counts[1:STEPS], 1):
        assert (found.reads, found.newest, found.collectives) == ([], 0, []), number
        assert len(found.uploads) == 3 and not [kind for kind, _ in found.uploads if kind == "uint8"], number
