"""Several processes under Paddle's launcher: an exchange, a whole run, and one that loses a process and resumes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tools.gpu_check.programs import ROOT, digits, ended_stages, last_line, line_like, tiny_run
from tools.gpu_check.rows import Row, Settings, Skipped, attempt

MOST = 8  # processes
PATIENCE = 150, 1200  # seconds for the first checkpoint of a run: on GPUs, and on a CPU that may be busy


def check(settings: Settings) -> Iterator[Row]:
    """A process per GPU; two on the CPU in a dry run."""
    n = settings.size(min(settings.gpus, MOST), 2)
    if n < 2:
        yield attempt("two processes", _one_gpu)
        return
    folder = settings.folder / "several"
    mb = settings.size(256, 1)
    script = Path(__file__).with_name("exchange.py")
    yield attempt(
        "exchange", lambda: line_like(r"\d+ MB among .*", launch(folder / "exchange", n, script, settings.device, mb))
    )
    data = digits(settings.folder / "digits")
    steps, every = settings.size((200, 20), (30, 10))
    keys = ["-o", f"stages.class.duration={steps} steps", "-o", f"stages.class.checkpoint_every={every} steps"]
    if not settings.gpus:
        keys += ["--until", "class"]

    def argv(name: str, *more: str) -> tuple[Any, ...]:
        return "train.py", *tiny_run(data, folder / name, settings.device, *keys, *more)

    if settings.gpus:  # what is seen of it on a CPU the resumed run shows as well
        yield attempt(f"train.py, {n} processes", _whole, folder / "launch-whole", n, argv("whole"))
        programs = argv("programs", "-o", "model.compile=true", "--until", "cluster")
        yield attempt("two stages as programs", _whole, folder / "launch-programs", n, programs)
    yield attempt("one of them killed", _killed, folder, n, settings.size(*PATIENCE), argv("killed"))
    yield attempt("resumed", _resumed, folder, n, argv("killed", "--resume"))


def _one_gpu() -> str:
    raise Skipped("there is one GPU; two or more are needed")


def launch(folder: Path, n: int, *command: Any) -> str:
    """What the processes and the launcher said. Raises RuntimeError, with its reason, for a code other than 0."""
    code, said = _started(folder, n, *command).wait(), _said(folder)
    print(said, file=sys.stderr)
    if code:
        raise RuntimeError(f"the launcher ended with {code}: {last_line(said)}")
    return said


def _started(folder: Path, n: int, *command: Any) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES" or value}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    argv = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(n)]
    argv += ["--log_dir", str(folder / "logs"), *map(str, command)]
    with (folder / "launcher.txt").open("w") as said:
        return subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=said, stderr=said)


def _said(folder: Path) -> str:
    files = [*sorted((folder / "logs").glob("workerlog.*")), folder / "launcher.txt"]
    return "\n".join(file.read_text(errors="replace") for file in files if file.exists())


def _whole(folder: Path, n: int, argv: tuple[Any, ...]) -> str:
    start = time.monotonic()
    return f"{_ended(launch(folder, n, *argv))}; {time.monotonic() - start:.0f} s"


def _ended(said: str) -> str:
    return ", ".join(f"{name} {top1}" for name, top1 in ended_stages(said).items())


def _killed(folder: Path, n: int, patience: float, argv: tuple[Any, ...]) -> str:
    """Process 0 gets SIGKILL at the first checkpoint; all others must end and say which one it was."""
    place, stage = folder / "launch-killed", folder / "killed/digits_web-tiny/class"
    run, give_up = _started(place, n, *argv), time.monotonic() + patience
    while not any(stage.glob("step-*")):
        assert run.poll() is None, f"the launcher ended with {run.returncode}: {last_line(_said(place))}"
        assert time.monotonic() < give_up, f"no checkpoint within {patience} s"
        time.sleep(0.02)
    os.kill(_workers(run.pid)[0], signal.SIGKILL)
    start, code = time.monotonic(), run.wait()
    said = _said(place)
    print(said, file=sys.stderr)
    assert code != 0, "the run had ended before the process could be killed"
    named = re.search(rf"failed: process 0 of {n}.* ended: .*", said)
    assert named, f"no line names process 0: {last_line(said)}"
    return f"all ended after {time.monotonic() - start:.1f} s: {named[0]}"


def _resumed(folder: Path, n: int, argv: tuple[Any, ...]) -> str:
    """It goes on from a checkpoint, and ends near the run that was not killed, where there is one."""
    from urnet.checkpoints.checkpoint import read_weights

    ended = _ended(launch(folder / "launch-resumed", n, *argv))
    log = (folder / "killed/digits_web-tiny/class/log.txt").read_text()
    begun = max(int(step) for step in re.findall(r"begin at step (\d+) of", log))
    assert begun > 0, "it began anew"
    weights, whole = (folder / name / "digits_web-tiny/class/final" for name in ("killed", "whole"))
    found = read_weights(weights)
    other = read_weights(whole) if whole.exists() else found
    apart = max(float(np.abs(value - other[name]).max()) for name, value in found.items())
    assert np.isfinite(apart), "weights are not finite"
    beside = f"; weights at most {apart:.2g} from those of the run that was not killed" if whole.exists() else ""
    return f"from step {begun}; {ended}{beside}"


def _workers(launcher: int) -> dict[int, int]:
    """Process numbers of the launcher's workers, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            variables = dict(item.partition("=")[::2] for item in (path / "environ").read_text().split("\0"))
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == launcher and "PADDLE_TRAINER_ID" in variables:
            found[int(variables["PADDLE_TRAINER_ID"])] = int(path.name)
    return found
