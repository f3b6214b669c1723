"""Two gloo processes, started by Paddle's launcher as users start them: the same results as one process."""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import eval as evaluation
import infer
from tests.helpers import distributed_job, tiny_training
from tests.helpers.distributed_job import CASES
from tests.helpers.launch import STAGE, TOYS, children, launch, make_images, wait_for, with_start, write_recipe
from tests.helpers.predict import Toys, run
from urnet.checkpoints.safetensors_io import read_safetensors
from urnet.data.table.table import Table


def results(text):
    """What process 0 printed, without the launcher's own lines."""
    return [line for line in text.splitlines() if re.match(r"Test-|top1:|image|stage |checkpoint |\d+ of", line)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    make_images(folder)
    return folder


def final(folder, stage):
    return read_safetensors(Path(folder) / "run" / stage / "final" / "model.safetensors")


def passes(folder, stage):
    return json.loads((Path(folder) / "run" / stage / "final" / "state.json").read_text())["passes"]


# --- updates, statistics, exchanges


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("steps")
    done = launch(folder, TOYS, "steps", folder / "found.json")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_an_update_is_that_of_one_process(findings, case):
    for found in findings:
        far = {name: off for name, off in found[case].items() if not off < 1e-5}
        assert not far and len(found[case]) >= 12 + 3 + 4


def test_processes_share_what_they_should(findings):
    for found in findings:
        assert found["statistics"] and all(found["statistics"])
        assert found["running mean"][0] == found["running mean"][1] != 0
        assert found["groups"] == [0]  # one communicator for gradients and all else
        assert found["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert found["shared"] == 10
        assert found["sum"] == [1, (1 << 60) + 3]
        assert found["concatenated"] == [0, 0, 1, 1]


def test_an_overflow_in_one_process_is_skipped_by_all(findings):
    first, second = (found["overflows"] for found in findings)
    assert first == second  # to the last digit of the weights
    scale, skipped, sums = first
    assert scale == [2.0**14] and skipped == [False, True, False]
    assert sums[0] == sums[1] != sums[2]


# --- a recipe's stages


HEAD = {
    "name": "head",
    "train": "classifier",
    "views": 2,
    "reweight": {"method": "instance", "suffix": "_head"},
    "sampling_weight": ["instance_weight_head"],
}


@pytest.fixture(scope="module")
def both(images, tmp_path_factory):
    """Folders of the same recipe run by one process and by two."""
    folders, start = {}, str(images / "start")
    frozen = {**HEAD, "start": start, "measure": {"network": start}}
    for number in (1, 2):
        folder = folders[number] = tmp_path_factory.mktemp(f"run{number}")
        recipe = write_recipe(images, folder, [*with_start(images), frozen])
        if number == 1:
            assert distributed_job.main("train", str(recipe)) == 0
        else:
            done = launch(folder, TOYS, "train", recipe)
            assert done.returncode == 0, done.stderr[-3000:]
    return folders


def test_every_column_file_has_the_bytes_of_one_process(both):
    tables = {number: folder / "run" / "table" for number, folder in both.items()}
    files = sorted(path.name for path in tables[1].glob("*.arrow"))
    assert files == sorted(path.name for path in tables[2].glob("*.arrow"))
    assert {"base.arrow", "class.arrow", "cluster.arrow", "instance.arrow", "label.arrow"} < set(files)
    assert "instance_head.arrow" in files
    for name in files:
        if name != "bag.arrow":  # what the network paid attention to while it learned
            assert (tables[1] / name).read_bytes() == (tables[2] / name).read_bytes(), name
    one, two = (Table.open(table).column("bag_attention") for table in tables.values())
    np.testing.assert_allclose(one, two, rtol=1e-4)


def test_stages_end_with_the_weights_of_one_process_but_for_rounding(both):
    for stage in ("class", "cluster", "instance", "bag", "label", "head"):
        one, two = (final(folder, stage) for folder in both.values())
        for name in one:
            np.testing.assert_allclose(one[name], two[name], atol=1e-5, err_msg=f"{stage} {name}")
    evaluations = [
        [
            re.findall(r"evaluation at step (\d+): top1 ([.\d]+)", (folder / f"run/{stage}/log.txt").read_text())
            for stage in ("class", "cluster", "instance", "bag", "label", "head")
        ]
        for folder in both.values()
    ]
    assert evaluations[0] == evaluations[1] and all(evaluations[0])


def test_passes_are_those_of_one_process_to_the_last(both):
    for stage in ("class", "cluster", "instance", "bag", "label", "head"):
        one, two = (passes(folder, stage) for folder in both.values())
        assert one == two and one["forward"] > 0 and one["backward"] > 0, stage


def test_what_is_kept_has_the_bytes_of_one_process(both):
    one, two = (folder / "run" / "kept.features" for folder in both.values())
    names = sorted(path.name for path in one.iterdir())
    assert len(names) == 2 and names == sorted(path.name for path in two.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_only_process_0_writes_a_log(both):
    log = (both[2] / "run/class/log.txt").read_text()
    assert log.count("begin at step 0 of 10, 5 steps an epoch, 2 processes") == 1
    assert log.count("evaluation at step 4") == 1 and log.count("step 3/10 ") == 1


# --- going on, with as many processes or others


def test_another_number_of_processes_goes_on(images, both, tmp_path):
    """One process trains a stage, which two keep, and then five updates of the next, which one goes on with: the
    weights are those of one process throughout."""
    stages = with_start(images)[:2]
    assert distributed_job.main("train", str(write_recipe(images, tmp_path, stages[:1]))) == 0
    recipe = write_recipe(images, tmp_path, stages)
    first = launch(tmp_path, TOYS, "train", recipe, wait=False)
    log = tmp_path / "run/cluster/log.txt"
    give_up = time.monotonic() + 120
    while not (log.exists() and "step 5/10 " in log.read_text()) and time.monotonic() < give_up:
        time.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=60)
    assert "stage class: finished already, kept" in out + err
    steps = sorted(path.name for path in (tmp_path / "run/cluster").glob("step-*"))
    assert steps and steps[-1] >= "step-00000004"
    assert distributed_job.main("train", str(recipe), "--resume") == 0
    begun = re.findall(r"begin at step (\d+) of 10, 5 steps an epoch(.*)", log.read_text())
    assert begun[0] == ("0", ", 2 processes")
    for stage in ("class", "cluster"):
        expected, found = final(both[1], stage), final(tmp_path, stage)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
        assert passes(tmp_path, stage) == passes(both[1], stage)


def test_a_killed_process_ends_all_and_is_named_and_the_run_goes_on(images, tmp_path):
    stages = [{**with_start(images)[0], "duration": "400 epochs", "checkpoint_every": "5 steps"}]
    recipe = write_recipe(images, tmp_path, stages)
    run = launch(tmp_path, TOYS, "train", recipe, wait=False)
    folder = tmp_path / "run/class"
    wait_for(lambda: any(folder.glob("step-*")))
    for rank in (0, 1):
        os.kill(children(run)[rank], signal.SIGKILL)
        out, err = run.communicate(timeout=300)
        assert run.returncode != 0
        logs = "".join(path.read_text() for path in sorted((tmp_path / "logs").glob("workerlog.*")))
        assert re.search(f"failed: process {rank} of 2.* ended: it was killed", logs), logs[-2000:]
        assert re.search("Container rank [01] status failed", out + err)  # the launcher's words: of the first it sees
        newest = max(folder.glob("step-*")).name
        run = launch(tmp_path, TOYS, "train", recipe, "--resume", wait=False)
        wait_for(lambda newest=newest: f"begin at step {int(newest[5:])} of" in (folder / "log.txt").read_text())
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)


def test_an_error_of_one_process_ends_the_others(images, tmp_path):
    """A batch that cannot be shared out is refused by all, in one line that is seen once, and nothing is written."""
    recipe = tiny_training.write_recipe(images, batch_size=14)
    done = launch(tmp_path, "train.py", "-c", recipe, "-o", f"output={tmp_path}/out")
    assert done.returncode == 2
    logs = "".join(path.read_text() for path in sorted((tmp_path / "logs").glob("workerlog.*")))
    for told in (logs, done.stdout + done.stderr):
        assert told.count("stages.class.batch_size: found 14; a multiple of 4 is accepted") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_refused_before_the_processes_meet_is_told_once(images, tmp_path):
    recipe = write_recipe(images, tmp_path, [STAGE])
    done = launch(tmp_path, "train.py", "-c", recipe, "-o", "seeed=1")
    logs = "".join(path.read_text() for path in sorted((tmp_path / "logs").glob("workerlog.*")))
    assert done.returncode == 2
    assert logs.count("unknown key seeed; nearest: seed") == (done.stdout + done.stderr).count("unknown key seeed") == 1


# --- infer.py and eval.py


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.mktemp("toys"))


def test_predictions_have_the_bytes_of_one_process(toys, tmp_path, capsys):
    """Three batches, so that one process has more than the other; tests/inference/test_gather.py has other numbers."""
    flags = toys.argv("--batch_size", "4", "--crops", "5", "--topk", "2")
    _, _, one, _ = run(capsys, infer.main, [*flags, "--output", str(tmp_path / "one.csv")])
    two = launch(tmp_path, "infer.py", *flags, "--output", tmp_path / "two.csv")
    assert two.returncode == 0, two.stderr[-2000:]
    assert results("\n".join(one)) == results(two.stdout) and len(results(two.stdout)) > 3
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_accuracy_is_that_of_one_process_to_the_digit(toys, tmp_path, capsys):
    flags = toys.argv(batch_size="2")
    more = [
        ["--class_report", "--per_class", str(tmp_path / f"{n}.csv"), "--confusion", str(tmp_path / f"{n}c.csv")]
        for n in (1, 2)
    ]
    _, _, one, _ = run(capsys, evaluation.main, [*flags, *more[0]])
    two = launch(tmp_path, "eval.py", *flags, *more[1])
    assert two.returncode == 0, two.stderr[-2000:]
    assert results("\n".join(one)) == results(two.stdout) and results(two.stdout)[-1].startswith("top1:")
    assert "confused: 0 of 11 images in 0 pairs of classes" in one
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert (tmp_path / "1c.csv").read_bytes() == (tmp_path / "2c.csv").read_bytes()


def test_train_py_itself(images, tmp_path):
    """The program, with batch norm, a moving average, accumulation, mixup and recomputation."""
    recipe = tiny_training.write_recipe(images, duration="8 steps")
    overrides = ["-o", f"output={tmp_path}", "-o", "model.recompute=true"]
    done = launch(tmp_path, "train.py", "-c", recipe, *overrides)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    assert said.count("stage class last top1:") == 1 and said.count("step 8\n") >= 1
    weights = read_safetensors(tmp_path / "tiny/class/final/model.safetensors")
    assert len(weights) > 20 and all(np.isfinite(value).all() for value in weights.values())
