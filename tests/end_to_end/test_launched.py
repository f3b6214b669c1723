"""Programs under Paddle's launcher, as users start them: results are told once, faults end all processes."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import eval as evaluation
import infer
from tests.helpers import distributed_job, tiny_training
from tests.helpers.launch import (
    LAUNCHER,
    PATIENCE,
    ROOT,
    STAGE,
    TOYS,
    Launch,
    Pair,
    children,
    make_images,
    program,
    wait_for,
    with_start,
    write_recipe,
)
from tests.helpers.predict import Toys, run
from urnet.checkpoints.safetensors_io import read_safetensors


def results(text):
    """What process 0 printed, without the launcher's own lines."""
    return [line for line in text.splitlines() if re.match(r"Test-|top1:|image|stage |checkpoint |\d+ of", line)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    make_images(folder)
    return folder


def newest(folder):
    """Steps of the newest checkpoint."""
    return int(max(folder.glob("step-*")).name[5:])


def test_a_killed_process_ends_all_and_is_named_and_the_run_goes_on(images, tmp_path):
    stages = [{**with_start(images)[0], "duration": "400 epochs", "checkpoint_every": "5 steps"}]
    recipe = write_recipe(images, tmp_path, stages)
    run = Launch(tmp_path, TOYS, "train", recipe)
    folder = tmp_path / "run/class"
    wait_for(lambda: any(folder.glob("step-*")))
    os.kill(children(run.process)[0], signal.SIGKILL)
    assert run.wait() not in (0, None)
    said = run.said()
    assert re.search("failed: process 0 of 2.* ended: it was killed", said), said[-2000:]
    assert re.search("Container rank [01] status failed", said)  # the launcher's words: of the first it sees

    begun = newest(folder)
    pair = Pair(tmp_path / "again", distributed_job.main, "train", str(recipe), "--resume")
    wait_for(lambda: f"begin at step {begun} of" in (folder / "log.txt").read_text())
    wait_for(lambda: newest(folder) > begun)
    pair.processes[1].kill()
    assert pair.wait()[0] not in (0, None)
    assert re.search("failed: process 1 of 2.* ended: it was killed", pair.said()), pair.said()[-2000:]


def test_an_error_of_one_process_ends_the_others(images, tmp_path):
    """A batch that cannot be shared out is refused by all, in one line that is seen once, and nothing is written."""
    recipe = tiny_training.write_recipe(images, batch_size=14)
    done = Launch(tmp_path, "train.py", "-c", recipe, "-o", f"output={tmp_path}/out")
    assert done.wait() == 2
    logs = "".join(path.read_text() for path in sorted((tmp_path / "logs").glob("workerlog.*")))
    for told in (logs, done.said(ranks=False)):
        assert told.count("stages.class.batch_size: found 14; a multiple of 4 is accepted") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_refused_before_the_processes_meet_is_told_once(images, tmp_path):
    recipe = write_recipe(images, tmp_path, [STAGE])
    pair = Pair(tmp_path, program, "train", "-c", recipe, "-o", "seeed=1")
    assert pair.wait() == [2, 2]
    assert [pair.said(rank).count("unknown key seeed; nearest: seed") for rank in (0, 1)] == [1, 0]


# --- infer.py and eval.py


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.mktemp("toys"))


def test_predictions_have_the_bytes_of_one_process(toys, tmp_path, capsys):
    """Three batches, so that one process has more than the other; tests/inference/test_gather.py has other numbers."""
    flags = toys.argv("--batch_size", "4", "--crops", "5", "--topk", "2")
    _, _, one, _ = run(capsys, infer.main, [*flags, "--output", str(tmp_path / "one.csv")])
    two = Pair(tmp_path, program, "infer", *flags, "--output", tmp_path / "two.csv")
    assert two.wait() == [0, 0], two.said()[-2000:]
    assert results("\n".join(one)) == results(two.said()) and len(results(two.said())) > 3
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_accuracy_is_that_of_one_process_to_the_digit(toys, tmp_path, capsys):
    flags = toys.argv(batch_size="2")
    more = [
        ["--class_report", "--per_class", str(tmp_path / f"{n}.csv"), "--confusion", str(tmp_path / f"{n}c.csv")]
        for n in (1, 2)
    ]
    _, _, one, _ = run(capsys, evaluation.main, [*flags, *more[0]])
    two = Launch(tmp_path, "eval.py", *flags, *more[1])
    assert two.wait() == 0, two.said()[-2000:]
    told = results(two.said(ranks=False))
    assert results("\n".join(one)) == told and told[-1].startswith("top1:")
    assert "confused: 0 of 11 images in 0 pairs of classes" in one
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert (tmp_path / "1c.csv").read_bytes() == (tmp_path / "2c.csv").read_bytes()


def test_train_py_itself(images, tmp_path):
    """The program and the launcher from the shell, with batch norm, a moving average, accumulation, mixup and
    recomputation."""
    recipe = tiny_training.write_recipe(images, duration="8 steps")
    launcher = [sys.executable, "-m", LAUNCHER, "--nproc_per_node", "2", "--log_dir", tmp_path / "logs"]
    argv = [*launcher, "train.py", "-c", recipe, "-o", f"output={tmp_path}", "-o", "model.recompute=true"]
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    assert said.count("stage class last top1:") == 1 and said.count("step 8\n") >= 1
    weights = read_safetensors(tmp_path / "tiny/class/final/model.safetensors")
    assert len(weights) > 20 and all(np.isfinite(value).all() for value in weights.values())
