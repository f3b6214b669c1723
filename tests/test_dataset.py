"""Image source and loader: same bytes for any number of workers, clear errors, nothing left behind."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_files import encode, picture

from urnet.checks import InputError
from urnet.dataset import ImageSource, Loader, RowRandom
from urnet.images import eval_transform, read_image, train_transform
from urnet.recipe import Transform

TRANSFORM = Transform(size=16, jitter=0.3)
WORKERS = pytest.mark.parametrize("workers", [0, 1, 2])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Forty small JPEGs; number 7 is cut off, number 23 is missing."""
    folder = tmp_path_factory.mktemp("files")
    paths = [str(folder / f"{i:02}.jpg") for i in range(40)]
    for i, path in enumerate(paths):
        Path(path).write_bytes(encode(".jpg", picture(30, 40, seed=i)))
    Path(paths[7]).write_bytes(Path(paths[7]).read_bytes()[:-30])
    Path(paths[23]).unlink()
    return paths


def source_of(files, **options):
    return ImageSource(files.__getitem__, TRANSFORM, **{"train": True, "seed": 5, **options})


def jobs(n_batches=6, size=19, draw=100):
    rng = np.random.default_rng(0)
    return [(draw + b, rng.integers(0, 40, size)) for b in range(n_batches)]


def left_behind():
    """Threads and processes of a loader that still run."""
    gc.collect()
    threads = [thread for thread in threading.enumerate() if thread.name == "urnet-loader"]
    return threads + multiprocessing.active_children()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    assert left_behind() == []


def everything(loader):
    batches = list(loader)
    return [np.concatenate([getattr(b, name) for b in batches]) for name in ("rows", "images", "readable")]


# --- randomness ---


def test_row_random_is_philox_with_key_seed_draw_and_counter_row():
    random = RowRandom(seed=2**64 - 1)
    for draw, row in [(0, 0), (7, 3), (2**64 - 1, 2**24), (7, 3)]:
        key = np.array([2**64 - 1, draw], np.uint64)
        fresh = np.random.Generator(np.random.Philox(key=key, counter=np.array([0, row, 0, 0], np.uint64)))
        got = random(draw, row)
        assert np.array_equal(got.random(7), fresh.random(7))
        assert np.array_equal(got.integers(0, 5, 3), fresh.integers(0, 5, 3))  # half-used words and all


def test_row_random_begins_anew_whatever_was_drawn_before():
    random = RowRandom(1)
    first = random(2, 3).random(4)
    random(2, 4).integers(0, 3, 5, dtype=np.int32)
    assert np.array_equal(random(2, 3).random(4), first)
    streams = [random(draw, row).random() for draw in range(30) for row in range(30)]
    streams += [RowRandom(seed)(0, 0).random() for seed in range(2, 30)]
    assert len(set(streams)) == len(streams)


def test_a_view_depends_on_seed_draw_and_row_only(files):
    one = source_of(files)
    view = one(3, 8)[0]
    for row, draw in [(4, 8), (3, 9), (5, 1)]:
        one(row, draw)
    assert np.array_equal(one(3, 8)[0], view)
    assert np.array_equal(source_of(files)(3, 8)[0], view)
    same_file = ImageSource(lambda row: files[3], TRANSFORM, train=True, seed=5)
    for other in (source_of(files, seed=6)(3, 8), one(3, 9), same_file(4, 8)):
        assert not np.array_equal(other[0], view)
    expected = train_transform(read_image(files[3]), TRANSFORM, RowRandom(5)(8, 3))
    assert np.array_equal(view, expected)


def test_the_evaluation_view_has_no_randomness(files):
    source = source_of(files, train=False)
    image, reason = source(3, 0)
    assert reason == ""
    assert np.array_equal(image, eval_transform(read_image(files[3]), TRANSFORM))
    assert np.array_equal(image, source(3, 99)[0])


def test_the_source_passes_its_settings_on(files):
    image, reason = source_of(files, max_pixels=1199)(3, 0)
    assert image is None and "40 x 30 pixels; at most 1199" in reason
    assert source_of(files, max_pixels=1200)(3, 0)[1] == ""
    image, reason = source_of(files)(23, 0)
    assert image is None and "No such file" in reason


# --- the loader ---


@WORKERS
def test_batches_are_what_the_source_makes_in_order(files, workers):
    source = source_of(files)
    loader = Loader(source, jobs(), workers=workers, prefetch=2)
    batches = list(loader)
    assert len(batches) == 6
    for batch, (draw, rows) in zip(batches, jobs()):
        assert [a.dtype for a in (batch.rows, batch.images, batch.readable)] == [np.int64, np.uint8, bool]
        assert np.array_equal(batch.rows, rows)
        assert batch.images.shape == (19, 16, 16, 3)
        assert np.array_equal(batch.readable, ~np.isin(rows, [7, 23]))
        for image, row, readable in zip(batch.images, rows.tolist(), batch.readable):
            expected = source(row, draw)[0]
            assert np.array_equal(image, expected if readable else np.zeros((16, 16, 3), np.uint8))
    assert set(loader.bad) == {7, 23} & set(np.concatenate([rows for _, rows in jobs()]).tolist())
    assert loader.bad[7] == (files[7], "the JPEG file is cut off")
    assert loader.bad[23] == (files[23], "cannot be read (No such file or directory)")


def test_any_number_of_workers_and_prefetch_gives_the_same_bytes(files):
    reference = everything(Loader(source_of(files), jobs()))
    for workers, prefetch in [(0, 1), (1, 1), (2, 9), (3, 2)]:
        got = everything(Loader(source_of(files), jobs(), workers=workers, prefetch=prefetch))
        for one, two in zip(reference, got):
            assert np.array_equal(one, two)


@WORKERS
def test_batches_of_any_size_among_them_empty_ones(files, workers):
    sizes = [3, 0, 200, 1, 0, 40, 8, 16, 7]
    plan = [(0, np.arange(size) % 40) for size in sizes]
    got = [batch for batch in Loader(source_of(files), plan, workers=workers)]  # noqa: C416
    assert [len(batch.rows) for batch in got] == sizes
    assert [batch.images.shape for batch in got] == [(size, 16, 16, 3) for size in sizes]
    assert list(Loader(source_of(files), [], workers=workers)) == []


@WORKERS
def test_epoch_after_epoch_from_one_loader(files, workers):
    loader = Loader(source_of(files), jobs(3), workers=workers)
    one, two = everything(loader), everything(loader)
    assert all(np.array_equal(a, b) for a, b in zip(one, two))
    once = Loader(source_of(files), iter(jobs(3)), workers=workers)
    everything(once)
    with pytest.raises(RuntimeError, match="one epoch"):
        everything(once)


@WORKERS
def test_a_consumer_may_keep_its_batches(files, workers):
    """A batch is the consumer's own: later batches do not write over it."""
    loader = Loader(source_of(files), [(0, np.full(8, row)) for row in range(6)], workers=workers, prefetch=1)
    kept = list(loader)
    for row, batch in enumerate(kept):
        assert np.array_equal(batch.images[5], source_of(files)(row, 0)[0])
        batch.images[:] = 0
        assert batch.images.flags.owndata


@WORKERS
def test_the_consumer_s_wait_is_measured(files, workers):
    class Slow(ImageSource):
        def __call__(self, row, draw):
            time.sleep(0.02)
            return super().__call__(row, draw)

    slow = Slow(files.__getitem__, TRANSFORM, train=True)
    loader = Loader(slow, [(0, np.arange(4))] * 4, workers=workers)
    start = time.perf_counter()
    list(loader)
    assert 16 * 0.02 / max(1, workers) <= loader.wait_seconds <= time.perf_counter() - start
    ahead = Loader(slow, [(0, np.arange(4))] * 4, workers=workers)
    iterator = iter(ahead)
    next(iterator)
    first = ahead.wait_seconds
    time.sleep(0.8)  # the rest, 0.24 s of work for one, is decoded meanwhile
    assert len(list(iterator)) == 3
    assert ahead.wait_seconds - first < 0.2


def open_files():
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


@WORKERS
@pytest.mark.parametrize("how", ["break", "raise", "close", "forget"])
def test_leaving_early_leaves_nothing(files, workers, how):
    loader = Loader(source_of(files), jobs(200), workers=workers, prefetch=2)
    open_before = open_files()
    if how == "break":
        for _ in loader:
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
        with pytest.raises(RuntimeError, match="closed"):
            for _ in range(50):
                next(iterator)
    assert left_behind() == []
    assert open_files() == open_before


@WORKERS
@pytest.mark.parametrize(
    "error", [KeyError("row 11"), InputError("x: bad"), OSError(5, "disk"), SystemExit(3)]
)
def test_an_exception_of_the_source_arrives_as_itself(files, workers, error):
    class Faulty(ImageSource):
        def __call__(self, row, draw):
            if row == 11:
                raise error
            return super().__call__(row, draw)

    faulty = Faulty(files.__getitem__, TRANSFORM, train=True)
    plan = [(0, np.arange(8)), (0, np.arange(8, 16)), (0, np.arange(8))]
    got = []
    with pytest.raises(type(error)) as caught:
        for batch in Loader(faulty, plan, workers=workers):
            got.append(batch)
    assert caught.value.args == error.args
    if workers:
        assert "in __call__" in str(caught.value.__cause__)  # where in the worker it happened


def test_an_exception_that_cannot_travel_is_told_in_words(files):
    class Odd(Exception):  # local: it cannot be pickled
        pass

    class Faulty(ImageSource):
        def __call__(self, row, draw):
            raise Odd("words of the odd one")

    with pytest.raises(RuntimeError, match="words of the odd one"):
        list(Loader(Faulty(files.__getitem__, TRANSFORM, train=True), jobs(), workers=2))


@WORKERS
def test_an_exception_of_the_batches_arrives_as_itself(files, workers):
    def plan():
        yield 0, np.arange(4)
        raise ZeroDivisionError("sampler")

    got = []
    with pytest.raises(ZeroDivisionError, match="sampler"):
        for batch in Loader(source_of(files), plan(), workers=workers):
            got.append(batch)
    assert len(got) == 1 or workers


@pytest.mark.parametrize("when", ["working", "idle"])
def test_a_killed_worker_is_named_within_seconds(files, when):
    class Slow(ImageSource):
        def __call__(self, row, draw):
            time.sleep(0.02)
            return super().__call__(row, draw)

    source = (Slow if when == "working" else ImageSource)(files.__getitem__, TRANSFORM, train=True)
    loader = Loader(source, jobs(300), workers=2, prefetch=1)
    iterator = iter(loader)
    next(iterator)
    victim = multiprocessing.active_children()[0]
    number, pid = victim.name[-1], victim.pid
    if when == "idle":
        time.sleep(0.3)  # everything is decoded ahead; nobody waits for the worker
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"loader worker {number} \(process {pid}\).*SIGKILL"):
        list(iterator)
    assert time.monotonic() - start < 5


def test_workers_after_the_parent_used_all_its_threads(files):
    """OpenCV's and Paddle's thread pools exist in the parent; the forked workers must not wait for them."""
    import paddle

    cv2.setNumThreads(2)
    try:
        cv2.resize(np.zeros((3000, 3000, 3), np.uint8), (1500, 1500), interpolation=cv2.INTER_AREA)
        cv2.GaussianBlur(np.zeros((3000, 3000, 3), np.uint8), (31, 31), 5)
        paddle.matmul(paddle.ones([300, 300]), paddle.ones([300, 300])).numpy()
        big = Transform(size=600, jitter=0.3)  # large enough for OpenCV to use threads, had it any
        source = ImageSource(files.__getitem__, big, train=True)
        batches = list(Loader(source, [(0, np.arange(7))] * 2, workers=2))
        assert np.array_equal(batches[1].images[3], source(3, 0)[0])
    finally:
        cv2.setNumThreads(-1)


def test_two_loaders_at_once_do_not_disturb_each_other(files):
    train, evaluation = source_of(files), source_of(files, train=False)
    one = iter(Loader(train, jobs(), workers=2))
    first = next(one)
    inner = everything(Loader(evaluation, jobs(), workers=2))
    rest = list(one)
    alone = list(Loader(train, jobs()))
    assert all(np.array_equal(a.images, b.images) for a, b in zip([first, *rest], alone))
    assert np.array_equal(inner[1], everything(Loader(evaluation, jobs()))[1])


def test_workers_end_when_their_parent_is_killed(files, tmp_path):
    code = (
        "import sys, time, multiprocessing; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from urnet.dataset import ImageSource, Loader\n"
        "from urnet.recipe import Transform\n"
        "source = ImageSource(lambda row: sys.argv[2], Transform(size=16), train=False)\n"
        "for _ in Loader(source, [(0, np.arange(8))] * 1000, workers=3):\n"
        "    print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "    time.sleep(60)\n"
    )
    root = str(Path(__file__).parents[1])
    parent = subprocess.Popen([sys.executable, "-c", code, root, files[0]], stdout=subprocess.PIPE, text=True)
    workers = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert len(workers) == 3
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.1)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("options", [{"workers": -1}, {"prefetch": 0}])
def test_impossible_settings_are_bad_input(files, options):
    with pytest.raises(InputError, match="workers"):
        Loader(source_of(files), jobs(), **options)
