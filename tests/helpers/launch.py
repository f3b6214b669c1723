"""Runs of several processes: Paddle's launcher as users call it, a recipe of all stages, its processes."""

import copy
import importlib
import os
import runpy
import socket
import sys
import time
from pathlib import Path

import paddle
import yaml

from tests.helpers.distributed_job import Plain
from tests.helpers.forked import fork, say_to
from tests.helpers.tiny_training import RECIPE, write_images
from urnet.checkpoints import checkpoint
from urnet.core import cli
from urnet.runtime.refusals import told_once

ROOT = Path(__file__).parents[2]
TOYS = str(Path(__file__).parent / "distributed_job.py")
ENVIRONMENT = {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"], "PYTHONPATH": str(ROOT)}  # those of this process
LAUNCHER = "paddle.distributed.launch"
PATIENCE = 600  # seconds: more than anything here takes on a busy machine
STAGE = {
    "duration": "2 epochs",
    "batch_size": 12,
    "schedule": {"lr": 0.05, "name": "constant"},
    "checkpoint_every": "2 steps",
    "eval_every": "4 steps",
    "log_every": 1,
    "balance": 0.5,
}


class Launch:
    """``python -m paddle.distributed.launch FLAGS COMMAND`` in a process that is forked, where it has imported Paddle.

    Its own processes, which start as users' do, say what they say to FOLDER/logs/workerlog.RANK, the launcher to
    FOLDER/launcher.txt. ``first`` is called in the launcher before all else.
    """

    def __init__(self, folder, *command, flags=("--nproc_per_node", 2), first=None):
        self.folder = Path(folder)
        argv = [*flags, "--log_dir", self.folder / "logs", *command]
        self.process = fork(_launch, self.folder / "launcher.txt", list(map(str, argv)), first)

    def wait(self):
        """The exit code, when all have ended."""
        self.process.join(PATIENCE)
        return self.process.exitcode

    def said(self, ranks=True):
        """All that launcher and processes (or the launcher alone) said."""
        files = [self.folder / "launcher.txt", *(sorted((self.folder / "logs").glob("workerlog.*")) if ranks else [])]
        return "".join(file.read_text() for file in files)


def _launch(said, argv, first):
    say_to(said)
    os.chdir(ROOT)
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # the launcher would take it for a GPU
    os.environ.update(ENVIRONMENT)
    if first is not None:
        first()
    sys.argv = [LAUNCHER, *argv]
    runpy.run_module(LAUNCHER, run_name="__main__", alter_sys=True)


class Pair:
    """``main(*arguments)`` in two processes with the launcher's variables, forked, which costs less than its launch.

    What they say goes to FOLDER/logs/workerlog.RANK.
    """

    def __init__(self, folder, main, *arguments, hosts=("127.0.0.1", "127.0.0.1")):
        self.logs = Path(folder) / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [one.getsockname()[1] for one in sockets]
        master, *endpoints = (f"{host}:{port}" for host, port in zip([next(iter(hosts)), *hosts], ports, strict=True))
        for one in sockets:
            one.close()
        shared = {"PADDLE_TRAINERS_NUM": "2", "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints), "PADDLE_MASTER": master}
        self.processes = [
            fork(
                _one_of_two,
                {
                    **shared,
                    **dict.fromkeys(("PADDLE_TRAINER_ID", "PADDLE_LOCAL_RANK"), str(rank)),
                    "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
                },
                self.logs / f"workerlog.{rank}",
                main,
                arguments,
            )
            for rank in (0, 1)
        ]

    def wait(self):
        """Exit codes by rank; as under the launcher, the failure of one soon ends the other."""
        wait_for(lambda: any(self.codes()) or None not in self.codes())
        for process in self.processes:
            process.join(3)
            process.terminate()
            process.join(30)
        return self.codes()

    def codes(self):
        return [process.exitcode for process in self.processes]

    def said(self, rank=0):
        """All that one of them said."""
        return (self.logs / f"workerlog.{rank}").read_text()


def _one_of_two(environment, log, main, arguments):
    say_to(log)
    os.environ.update(environment)
    sys.exit(main(*arguments))


def program(name, *argv):
    """What ``python NAME.py ARGV`` does, as its exit code."""
    return cli.run(told_once(importlib.import_module(name).main), list(map(str, argv)))


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


def wait_for(condition, seconds=PATIENCE):
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
