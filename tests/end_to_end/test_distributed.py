"""Two gloo processes: the same updates, columns, weights and passes as one. test_launched.py has the programs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import distributed_job
from tests.helpers.distributed_job import CASES
from tests.helpers.launch import COLUMNS, TOYS, Launch, Pair, make_images, wait_for, with_start, write_recipe
from urnet.checkpoints.safetensors_io import read_safetensors
from urnet.data.table.table import Table


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

COUNTED = {"name": "class", "duration": "5 steps", "eval_every": "9 epochs", "checkpoint_every": "9 epochs"}
SUMS = ["all_reduce"] * 4  # the rows' weight and signals; gradients with and without weight decay; loss and flags
COUNTS = {  # keys of the stage, collective operations and uploads of a step
    "all": ({"mixup": 0.2, "accumulate": 2, "ema": {"decay": 0.9}, "optimizer": {"clip_norm": 5.0}}, SUMS, 5),
    "gate": ({"gate": {"threshold": 0.5}}, [*SUMS, "all_reduce"], 4),
    "elr": ({"elr": {"top_k": 2}, "balance": 0.0}, [*SUMS, "all_gather"], 6),
    "bags": ({"bags": {"size": 2}}, [*SUMS, "all_gather"], 4),
    "sop": ({"sop": {"top_k": 2}, "label_smoothing": 0.0, "balance": 0.0}, [*SUMS, "all_gather"], 7),
}


@pytest.fixture(scope="module")
def findings(images, tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("steps")
    recipes = [write_recipe(images, folder / name, [{**COUNTED, **keys}]) for name, (keys, _, _) in COUNTS.items()]
    pair = Pair(folder, distributed_job.main, "steps", str(folder / "found.json"), *map(str, recipes))
    assert pair.wait() == [0, 0], pair.said()[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_an_update_is_that_of_one_process(findings, case):
    for found in findings:
        far = {name: off for name, off in found[case].items() if not off < 1e-5}
        assert not far and len(found[case]) >= 12 + 3 + 4


@pytest.mark.parametrize("case", COUNTS)
def test_no_value_of_the_step_just_launched_is_waited_for(findings, case):
    _, collectives, uploads = COUNTS[case]
    for found in findings:
        steps = found["counts"][case]
        assert len(steps) == 4
        for reads, newest, exchanged, sent in steps:
            assert (reads, newest, sorted(exchanged), sent) == ([], 0, sorted(collectives), uploads)


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
            pair = Pair(folder, distributed_job.main, "train", str(recipe))
            assert pair.wait() == [0, 0], pair.said()[-3000:]
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


def test_programs_of_two_processes_measure_and_train_what_one_does(images, tmp_path):
    """With micro-batches and a moving average; all rows are one shard, which the main process measures."""
    start = str(images / "start")
    stage = {
        **COLUMNS[1],
        "start": start,
        "measure": {"network": start},
        "duration": "1 epochs",
        "accumulate": 2,
        "ema": {"decay": 0.9},
    }
    one, two = (write_recipe(images, tmp_path / name, [stage]) for name in ("one", "two"))
    assert distributed_job.main("train", str(one)) == 0
    pair = Pair(two.parent, distributed_job.main, "train", str(two), "model.compile=true")
    assert pair.wait() == [0, 0], pair.said()[-3000:]
    for rank, programs in enumerate(([1, 2], [2])):  # of measuring; of training and evaluation
        assert f"programs: {programs}" in pair.said(rank)
    plain, compiled = (Table.open(recipe.parent / "run/table").column("cluster_weight") for recipe in (one, two))
    np.testing.assert_array_equal(plain, compiled)
    for kept in ("final", "best"):
        plain, compiled = (
            read_safetensors(recipe.parent / f"run/cluster/{kept}/model.safetensors") for recipe in (one, two)
        )
        for name, value in plain.items():
            np.testing.assert_allclose(compiled[name], value, atol=1e-5, err_msg=name)


# --- going on, with as many processes or others


def test_another_number_of_processes_goes_on(images, both, tmp_path):
    """One process trains a stage, which two keep, and then five updates of the next, which one goes on with: the
    weights are those of one process throughout."""
    stages = with_start(images)[:2]
    assert distributed_job.main("train", str(write_recipe(images, tmp_path, stages[:1]))) == 0
    recipe = write_recipe(images, tmp_path, stages)
    first = Launch(tmp_path, TOYS, "train", recipe)
    log = tmp_path / "run/cluster/log.txt"
    wait_for(lambda: log.exists() and "step 5/10 " in log.read_text())
    first.process.terminate()
    first.wait()
    assert "stage class: finished already, kept" in first.said()
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
