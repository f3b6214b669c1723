"""Which passes of a stage run in the stage's number format: all of them."""

import contextlib

import paddle
import pytest

import models
from tests.helpers import faults
from urnet.pipeline import run
from urnet.pipeline.recipes import load_recipe


@pytest.mark.parametrize("amp", [None, "bfloat16"])
def test_every_pass_is_in_the_stages_number_format(tmp_path, monkeypatch, amp):
    """Steps, the average's statistics, evaluation, measuring, the reference of in_classes. On a CPU, where Paddle's
    autocast does nothing: what is watched is whether a pass is inside it."""
    faults.make_web(tmp_path / "web")
    short = ["stages.*.duration=1 steps", "stages.*.eval_every=1 steps"]
    recipe = load_recipe(faults.write_recipe(tmp_path, tmp_path / "web"), short)
    formats, passes = [None], []

    @contextlib.contextmanager
    def auto_cast(enable=True, dtype="float16", **how):
        formats.append(dtype if enable else None)
        yield
        formats.pop()

    def build():
        network = models.build("ResNet8_small32", 3)
        network.stem.conv.register_forward_pre_hook(lambda *_: passes.append((network.training, formats[-1])))
        return network

    monkeypatch.setattr(paddle.amp, "auto_cast", auto_cast)
    monkeypatch.setattr(run, "choose_amp", lambda *_: amp)
    run.run_recipe(recipe, build, until="cluster")
    assert set(passes) == {(True, amp), (False, amp)}
    # each stage: a step; for the average's statistics 1 batch; validation; the second stage also measures
    assert len(passes) >= 8
