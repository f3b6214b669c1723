"""Two machines: network namespaces joined by a cable, each with a host name of its own; needs root."""

import ctypes
import functools
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from tests.helpers import distributed_job
from tests.helpers.launch import COLUMNS, PATIENCE, TOYS, Launch, Pair, make_images, wait_for, with_start, write_recipe

HOSTS = {"one": "10.77.0.1", "two": "10.77.0.2"}
PORT = 37_123
ALL = [stage["name"] for stage in COLUMNS]
NEW_NETWORK, NEW_NAME, NEW_MOUNTS = 0x40000000, 0x04000000, 0x00020000  # of setns and unshare
PRIVATE, BIND = 0x44000, 0x1000  # of mount: MS_REC | MS_PRIVATE, MS_BIND

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"),
    reason="needs root, ip and unshare",
)


def system(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True)


def move_to(name, hosts):
    """This process, which was just forked, is on a machine from now on, as `ip netns exec` and `unshare` do it."""
    libc = ctypes.CDLL(None, use_errno=True)
    network = os.open(f"/run/netns/urnet-{name}", os.O_RDONLY)
    for done in (
        libc.setns(network, NEW_NETWORK),
        libc.unshare(NEW_NAME | NEW_MOUNTS),
        libc.mount(None, b"/", None, PRIVATE, None),
        libc.mount(os.fsencode(hosts), b"/etc/hosts", None, BIND, None),
    ):
        if done:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.close(network)
    socket.sethostname(f"urnet-{name}")


def job_on(hosts, *arguments):
    """What the launcher starts on a machine."""
    move_to(list(HOSTS)[int(os.environ["PADDLE_TRAINER_ID"])], hosts)
    return distributed_job.main(*arguments)


class Machines:
    """Two namespaces, ``urnet-one`` and ``urnet-two``, and what runs in them."""

    def __init__(self, folder):
        self.folder = folder
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

    def launch(self, name, *command):
        """One machine's launcher."""
        flags = ["--nnodes", 2, "--master", f"{HOSTS['one']}:{PORT}", "--host", HOSTS[name], "--nproc_per_node", 1]
        flags += ["--rank", list(HOSTS).index(name)]
        first = functools.partial(move_to, name, self.folder / "hosts")
        (self.folder / f"launcher-{name}").mkdir()
        return Launch(self.folder / f"launcher-{name}", *command, flags=flags, first=first)

    def fork(self, folder, *arguments):
        """The job's process on each machine, without the launcher, which costs less."""
        hosts = str(self.folder / "hosts")
        return Pair(self.folder / folder, job_on, hosts, *arguments, hosts=HOSTS.values())

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


@pytest.mark.parametrize(
    "names", ["class cluster dense", pytest.param("", marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_stages_over_two_machines(machines, images, tmp_path, names):
    one, two = tmp_path / "alone", tmp_path / "two"
    stages = [
        {**stage, "duration": "1 epochs"} for stage in with_start(images) if stage["name"] in (names.split() or ALL)
    ]
    assert distributed_job.main("train", str(write_recipe(images, one, stages))) == 0
    recipe = write_recipe(images, two, stages)
    runs = [machines.launch(name, TOYS, "train", recipe) for name in HOSTS]
    assert [run.wait() for run in runs] == [0, 0], runs[0].said()[-3000:]
    for path in (one / "run/table").glob("*.arrow"):
        if path.name != "bag.arrow":  # what the network paid attention to while it learned
            assert path.read_bytes() == (two / "run/table" / path.name).read_bytes(), path.name
    log = (two / "run/dense/log.txt").read_text()
    assert "2 processes" in log and "evaluation at step 5" in log


@pytest.mark.parametrize("fault", ["killed", pytest.param("cable", marks=pytest.mark.slow)])
def test_a_lost_machine_ends_the_other_and_the_run_goes_on(machines, images, tmp_path, fault):
    stages = [{**with_start(images)[0], "duration": "400 epochs", "checkpoint_every": "5 steps"}]
    recipe = write_recipe(images, tmp_path / "run", stages)
    folder = tmp_path / "run/run/class"
    pair = machines.fork("first", "train", str(recipe))
    wait_for(lambda: any(folder.glob("step-*")))
    if fault == "killed":
        machines.kill("two")
    else:
        machines.cable("down")
    pair.processes[0].join(PATIENCE)
    assert pair.codes()[0] not in (0, None)
    told = pair.said()
    assert re.search("failed: process 1 of 2 on urnet-two ended: it was killed, or its machine is gone", told), told
    machines.kill("two")
    machines.cable("up")
    newest = int(max(folder.glob("step-*")).name[5:])
    machines.fork("again", "train", str(recipe), "--resume")
    wait_for(lambda: f"begin at step {newest} of" in (folder / "log.txt").read_text())
    wait_for(lambda: int(max(folder.glob("step-*")).name[5:]) > newest)
