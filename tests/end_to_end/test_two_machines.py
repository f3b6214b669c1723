"""Two machines: network namespaces joined by a cable, each with a host name of its own; needs root."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.helpers.launch import (
    ENVIRONMENT,
    ROOT,
    TOYS,
    alone,
    inherited,
    make_images,
    wait_for,
    with_start,
    write_recipe,
)

HOSTS = {"one": "10.77.0.1", "two": "10.77.0.2"}
PORT = 37_123

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"),
        reason="needs root, ip and unshare",
    ),
]


def system(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True)


class Machines:
    """Two namespaces, ``urnet-one`` and ``urnet-two``, and what runs in them."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        lines = ["127.0.0.1 localhost", *(f"{address} urnet-{name}" for name, address in HOSTS.items())]
        (folder / "hosts").write_text("\n".join(lines) + "\n")
        try:
            for name in HOSTS:
                system("ip", "netns", "add", f"urnet-{name}")
            system("ip", "link", "add", "urnet1", "type", "veth", "peer", "name", "urnet2")
        except subprocess.CalledProcessError as error:
            self.remove()
            pytest.skip(f"this system gives no network namespaces: {error.stderr.strip()}")
        for number, (name, address) in enumerate(HOSTS.items(), 1):
            system("ip", "link", "set", f"urnet{number}", "netns", f"urnet-{name}")
            for words in (
                ["addr", "add", f"{address}/24", "dev", f"urnet{number}"],
                ["link", "set", f"urnet{number}", "up"],
                ["link", "set", "lo", "up"],
            ):
                system("ip", "-n", f"urnet-{name}", *words)

    def start(self, name, port, *command):
        """One machine's launcher; output goes to FOLDER/NAME.txt."""
        launcher = [
            sys.executable,
            "-m",
            "paddle.distributed.launch",
            "--nnodes",
            "2",
            "--master",
            f"{HOSTS['one']}:{port}",
            "--host",
            HOSTS[name],
            "--nproc_per_node",
            "1",
            "--rank",
            str(list(HOSTS).index(name)),
            "--log_dir",
            str(self.folder / f"logs-{name}"),
            *map(str, command),
        ]
        prepare = f'hostname urnet-{name} && mount --bind {self.folder}/hosts /etc/hosts && exec "$@"'
        machine = ["ip", "netns", "exec", f"urnet-{name}", "unshare", "--uts", "--mount", "sh", "-c", prepare]
        environment = {**inherited(), **ENVIRONMENT}
        with (self.folder / f"{name}.txt").open("a") as out:
            started = subprocess.Popen(
                [*machine, "sh", *launcher], stdout=out, stderr=out, cwd=ROOT, env=environment, start_new_session=True
            )
        self.started.append(started)
        return started

    def text(self, name):
        """All that a machine's processes have said."""
        logs = sorted((self.folder / f"logs-{name}").glob("workerlog.*"))
        return (self.folder / f"{name}.txt").read_text() + "".join(path.read_text() for path in logs)

    def cable(self, state):
        """``up`` or ``down``."""
        system("ip", "-n", "urnet-two", "link", "set", "urnet2", state)

    def kill(self, name):
        """A machine's processes end at once, the launcher among them."""
        pids = system("ip", "netns", "pids", f"urnet-{name}").stdout.split()
        for pid in pids:
            os.kill(int(pid), signal.SIGKILL)

    def remove(self):
        for name in HOSTS:
            found = subprocess.run(["ip", "netns", "pids", f"urnet-{name}"], capture_output=True, text=True)
            for pid in found.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", f"urnet-{name}"], capture_output=True)
        for process in self.started:
            process.wait(30)


@pytest.fixture
def machines(tmp_path):
    made = Machines(tmp_path)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    make_images(folder)
    return folder


def test_all_stages_over_two_machines(machines, images, tmp_path):
    one, two = tmp_path / "alone", tmp_path / "two"
    assert alone(TOYS, "train", write_recipe(images, one, with_start(images))).returncode == 0
    recipe = write_recipe(images, two, with_start(images))
    runs = [machines.start(name, PORT, TOYS, "train", recipe) for name in HOSTS]
    assert [run.wait(180) for run in runs] == [0, 0], machines.text("one")[-3000:]
    for path in (one / "run/table").glob("*.arrow"):
        if path.name != "bag.arrow":  # what the network paid attention to while it learned
            assert path.read_bytes() == (two / "run/table" / path.name).read_bytes(), path.name
    log = (two / "run/dense/log.txt").read_text()
    assert "2 processes" in log and "evaluation at step 10" in log


@pytest.mark.parametrize("fault", ["killed", "cable"])
def test_a_lost_machine_ends_the_other_and_the_run_goes_on(machines, images, tmp_path, fault):
    stages = [{**with_start(images)[0], "duration": "400 epochs", "checkpoint_every": "5 steps"}]
    recipe = write_recipe(images, tmp_path / "run", stages)
    folder = tmp_path / "run/run/class"
    first = machines.start("one", PORT + 1, TOYS, "train", recipe)
    machines.start("two", PORT + 1, TOYS, "train", recipe)
    wait_for(lambda: any(folder.glob("step-*")))
    if fault == "killed":
        machines.kill("two")
    else:
        machines.cable("down")
    assert first.wait(300) != 0
    told = machines.text("one")
    assert re.search("failed: process 1 of 2 on urnet-two ended: it was killed, or its machine is gone", told), told
    machines.kill("two")
    machines.cable("up")
    newest = int(max(folder.glob("step-*")).name[5:])
    for name in HOSTS:
        machines.start(name, PORT + 2, TOYS, "train", recipe, "--resume")
    wait_for(lambda: f"begin at step {newest} of" in (folder / "log.txt").read_text())
    wait_for(lambda: int(max(folder.glob("step-*")).name[5:]) > newest)
