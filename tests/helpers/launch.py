"""Runs of several processes: Paddle's launcher as users call it, a recipe of all stages, its processes."""

import copy
import os
import subprocess
import sys
import time
from pathlib import Path

import paddle
import yaml

from tests.helpers.distributed_job import Plain
from tests.helpers.tiny_training import RECIPE, write_images
from urnet.checkpoints import checkpoint

ROOT = Path(__file__).parents[2]
TOYS = str(Path(__file__).parent / "distributed_job.py")
ENVIRONMENT = {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"], "PYTHONPATH": str(ROOT)}  # those of this process
STAGE = {
    "duration": "2 epochs",
    "batch_size": 12,
    "schedule": {"lr": 0.05, "name": "constant"},
    "checkpoint_every": "2 steps",
    "eval_every": "4 steps",
    "log_every": 1,
    "balance": 0.5,
}


def inherited():
    """The environment, without what the launcher would take for a GPU."""
    return {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}


def launch(folder, *command, processes=2, wait=True, **environment):
    """A command under the launcher: CompletedProcess, or the launcher's Popen where ``wait`` is False."""
    logs = Path(folder) / "logs"
    argv = [
        sys.executable,
        "-m",
        "paddle.distributed.launch",
        "--nproc_per_node",
        str(processes),
        "--log_dir",
        str(logs),
        *map(str, command),
    ]
    started = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**inherited(), **ENVIRONMENT, **environment},
    )
    if not wait:
        return started
    out, err = started.communicate(timeout=180)
    return subprocess.CompletedProcess(argv, started.returncode, out, err)


def alone(*command):
    """The same in one process, without the launcher."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=180,
        env={**os.environ, **ENVIRONMENT},
        check=False,
    )


def make_images(folder):
    """Images, their lists, and a checkpoint of first weights: ``start``."""
    write_images(folder)
    paddle.seed(5)
    weights = {name: value.numpy() for name, value in Plain(3).state_dict().items()}
    checkpoint.save(folder / "start", weights=weights, state={})


def write_recipe(images, folder, stages):
    """A recipe of stages of distributed_toys' network, which has no batch norm."""
    tree = copy.deepcopy(RECIPE)
    tree.update(name="run", output=str(folder), stages=[{**STAGE, **stage} for stage in stages])
    places = {"root": images, "train_list": images / "train.txt", "val_list": images / "val.txt"}
    tree["data"].update({key: str(path) for key, path in places.items()})
    path = Path(folder) / "run.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree))
    return path


COLUMNS = [
    {"name": "class", "reweight": {"method": "class_size"}, "loss_weight": ["class_weight"]},
    {"name": "cluster", "reweight": {"method": "cluster"}, "sampling_weight": ["cluster_weight"]},
    {"name": "instance", "reweight": {"method": "instance"}, "sampling_weight": ["instance_weight"]},
    {"name": "bag", "bags": {"size": 2}, "sampling_weight": ["cluster_weight", "instance_weight"]},
    {"name": "label", "reweight": {"method": "label"}, "targets": "label", "ema": {"decay": 0.9, "bn_batches": 2}},
    {
        "name": "dense",
        "reweight": {"method": "curriculum"},
        "mixup": 0.2,
        "balance": 0.0,
        "subsets": {"parts": [2, 1, 1], "loss_weight": [1.0, 0.5, 0.5]},
    },
]


def with_start(images):
    """The stages, all measured by the same network, whatever was trained before."""
    start = str(images / "start")
    stages = copy.deepcopy(COLUMNS)
    for stage in stages:
        if stage.get("reweight", {}).get("method") not in (None, "class_size"):
            stage["measure"] = {"network": start}
    stages[0]["start"] = start
    return stages


def wait_for(condition, seconds=120):
    """Until ``condition()`` holds."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)


def children(process):
    """Process numbers of the launcher's workers, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        rank = [item[len(b"PADDLE_TRAINER_ID=") :] for item in environment if item.startswith(b"PADDLE_TRAINER_ID=")]
        if parent == process.pid and rank:
            found[int(rank[0])] = int(path.name)
    return found
