"""The loader: leaving early, exceptions, killed workers, a killed parent. Nothing hangs or stays behind."""

import gc
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.image_sources import Exits, Faulty, RaisesUnpicklable, Slow, Stuck, make, make_files
from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.data.loading.loader import ImageSource, Loader

WORKERS = pytest.mark.parametrize("workers", [0, 2])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("files"))


def jobs(n_batches=6):
    rng = np.random.default_rng(0)
    return [(b, rng.integers(0, 40, 19)) for b in range(n_batches)]


def state(pid):
    """(state, parent) of a process as Linux reports it; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def children():
    """The living child processes of this one."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (state(pid) or ("Z", 0))[1] == os.getpid()]


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = children()

    def left():
        threads = [thread for thread in threading.enumerate() if thread.name == "urnet-loader"]
        return threads, set(children()) - set(before)

    yield
    if any(left()):
        gc.collect()  # takes longer than most of these tests
    assert left() == ([], set())


@WORKERS
def test_the_consumer_s_wait_is_measured(files, workers):
    loader = Loader(make(Slow, files), [(0, np.arange(4))] * 4, workers=workers)
    start = time.perf_counter()
    list(loader)
    assert 16 * 0.02 / max(1, workers) <= loader.wait_seconds <= time.perf_counter() - start


def open_files():
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


@WORKERS
@pytest.mark.parametrize("how", ["break", "raise", "close", "forget"])
def test_leaving_early_leaves_nothing(files, workers, how):
    loader = Loader(make(ImageSource, files), jobs(200), workers=workers, prefetch=2)
    before, open_before = children(), open_files()
    if how == "break":
        for _ in loader:
            assert len(children()) == len(before) + workers
            break
    elif how == "raise":
        with pytest.raises(ZeroDivisionError):
            for _ in loader:
                raise ZeroDivisionError
    elif how == "forget":
        next(iter(loader))
    else:
        iterator = iter(loader)
        next(iterator)
        loader.close()
        assert children() == before
        with pytest.raises(RuntimeError, match="closed"):
            for _ in range(50):
                next(iterator)
    assert children() == before
    assert open_files() == open_before
    assert not list(Path("/dev/shm").glob("urnet*"))


@WORKERS
@pytest.mark.parametrize("error", [InputError("x: bad"), OSError(5, "x"), SystemExit(3)])
def test_an_exception_of_the_source_arrives_as_itself(files, workers, error):
    faulty = make(Faulty, files)
    faulty.error = error
    plan = [(0, np.arange(8)), (0, np.arange(8, 16)), (0, np.arange(8))]
    with pytest.raises(type(error)) as caught:
        list(Loader(faulty, plan, workers=workers))
    assert caught.value.args == error.args
    if workers:
        assert "image_sources.py" in str(caught.value.__cause__)  # where in the worker it happened


class Local(ImageSource):
    """Found by no worker, as its name says that it is somewhere else."""

    __qualname__ = "nowhere.Local"


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (RaisesUnpicklable, RuntimeError, "its own words"),
        (Stuck, ValueError, "cannot be rebuilt"),
        (Local, (AttributeError, pickle.PicklingError), "Local"),
        (Exits, RuntimeError, r"loader worker . .*with exit code 9"),
    ],
)
def test_a_source_that_does_not_travel_or_whose_errors_do_not(files, kind, error, message):
    with pytest.raises(error, match=message):
        list(Loader(make(kind, files), jobs(), workers=2))


@WORKERS
def test_an_exception_of_the_batches_arrives_as_itself(files, workers):
    def plan():
        yield 0, np.arange(4)
        raise ZeroDivisionError("sampler")

    with pytest.raises(ZeroDivisionError, match="sampler"):
        list(Loader(make(ImageSource, files), plan(), workers=workers))


@pytest.mark.parametrize(("when", "victim"), [("working", 0), ("idle", 1)])
def test_a_killed_worker_is_named(files, when, victim):
    source = make(Slow if when == "working" else ImageSource, files)
    loader = Loader(source, jobs(300), workers=2, prefetch=1)
    iterator = iter(loader)
    next(iterator)
    pid = loader._runs[0].pool.processes[victim].pid
    if when == "idle":
        time.sleep(0.3)  # everything is decoded ahead; nobody waits for the worker
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=rf"loader worker {victim} \(process {pid}\).*SIGKILL"):
        rest = len(list(iterator))
        pytest.fail(f"{rest} more batches came; state of the killed worker: {state(pid)}")


def test_the_parent_s_threads_and_settings_do_not_matter(files):
    """OpenCV's and Paddle's thread pools are busy in the parent while workers start and work."""
    import cv2
    import paddle

    stop = threading.Event()

    def busy():
        while not stop.is_set():
            cv2.GaussianBlur(np.zeros((500, 500, 3), np.uint8), (31, 31), 5)
            paddle.matmul(paddle.ones([100, 100]), paddle.ones([100, 100])).numpy()

    big = Transform(size=600, jitter=0.3)  # large enough for OpenCV to use threads, had it any
    source = ImageSource(files.__getitem__, big, train=True)
    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        iterator = iter(Loader(source, [(0, np.arange(7))] * 2, workers=2))
        batches = [next(iterator)]
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children()]
        batches += iterator
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(commands) >= 2  # fresh interpreters: what is forked has the parent's locks, as they happened to be
    assert Path("/proc/self/cmdline").read_bytes() not in commands
    assert len(batches) == 2
    for batch, row in itertools.product(batches, range(7)):
        assert np.array_equal(batch.images[row], source(row, 0)[0])


def test_two_loaders_at_once_do_not_disturb_each_other(files):
    train, evaluation = make(ImageSource, files), make(ImageSource, files, train=False)
    one = iter(Loader(train, jobs(), workers=2))
    first = next(one)
    inner = list(Loader(evaluation, jobs(), workers=1))
    rest = list(one)
    for got, source in ((inner, evaluation), ([first, *rest], train)):
        by_itself = list(Loader(source, jobs()))
        assert len(got) == len(by_itself) == 6
        assert all(np.array_equal(a.images, b.images) for a, b in zip(got, by_itself, strict=True))


def test_workers_end_when_their_parent_is_killed(files):
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from urnet.data.loading.loader import ImageSource, Loader\n"
        "from urnet.config.recipe import Transform\n"
        "source = ImageSource(lambda row: sys.argv[2], Transform(size=16), train=False)\n"
        "loader = Loader(source, [(0, np.arange(8))] * 1000, workers=3)\n"
        "for _ in loader:\n"
        "    print(*[process.pid for process in loader._runs[0].pool.processes], flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[2]), files[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 3 and all(state(pid) for pid in workers)
        parent.kill()
    deadline = time.monotonic() + 600
    while any((state(pid) or "Z")[0] != "Z" for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
