"""The loader that nvidia-dali decodes for: rows, boxes and reasons of any other, and no batch lost.

Its pipeline on the CPU where dali is installed, else only a stand-in for it, which the other tests use as well.
"""

import functools
import importlib.util
import sys
import threading
from pathlib import Path

import numpy as np
import paddle
import pytest

from tests.helpers.dali_stand_in import Pipeline
from tests.helpers.picture_files import encode, kinds, picture, with_orientation
from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.data.images.transforms import colour_jitter, draw_jitter, jitter_map
from urnet.data.loading import dali_loader
from urnet.data.loading.dali_loader import FAILURES, DaliLoader, jittered
from urnet.data.loading.dali_pipeline import reason_of, require_dali
from urnet.data.loading.loader import ImageSource, Loader

INSTALLED = importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None
REAL = pytest.param("dali", marks=pytest.mark.skipif(not INSTALLED, reason="nvidia-dali is not installed"))


@pytest.fixture(autouse=True)
def cpu():
    paddle.set_device("cpu")


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(dali_loader, "build_pipeline", Pipeline)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Common JPEGs of several sizes, files that are not dali's to decode, and three that nobody can read."""
    folder = tmp_path_factory.mktemp("files")
    shapes = [(47, 61), (30, 40), (90, 64), (260, 200), (199, 301)]
    found = [encode(".jpg", picture(*shape, seed=i)) for i, shape in enumerate(shapes)]
    found += [kinds()[kind] for kind in ("png alpha", "jpeg grey", "webp", "jpeg progressive")]
    found += [with_orientation(found[0], 6), b"", found[0][:-30]]
    paths = [str(folder / f"{i:02}") for i in range(len(found))]
    for path, data in zip(paths, found, strict=True):
        Path(path).write_bytes(data)
    return [*paths, str(folder / "missing")]


def source(files, **options):
    return ImageSource(files.__getitem__, Transform(size=24, jitter=options.pop("jitter", 0.0)), train=True, **options)


def jobs(files, n=6, size=9):
    rng = np.random.default_rng(1)
    return [(50 + i, rng.permutation(len(files))[:size]) for i in range(n)]


@pytest.mark.parametrize("which", ["stand-in", REAL])
@pytest.mark.parametrize("jitter", [0.0, 0.4])
@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_opencvs(files, monkeypatch, which, jitter, workers):
    if which != "dali":
        monkeypatch.setattr(dali_loader, "build_pipeline", Pipeline)
    options = {"seed": 4, "jitter": jitter, "reduced": False}
    expected = Loader(source(files, **options), jobs(files))
    found = DaliLoader(source(files, **options), jobs(files), workers=workers)
    for one, other in zip(expected, found, strict=True):
        assert np.array_equal(one.rows, other.rows) and np.array_equal(one.readable, other.readable)
        assert isinstance(other.images, paddle.Tensor) and other.images.dtype == paddle.uint8
        apart = np.abs(one.images.astype(int) - other.images.numpy()).reshape(len(one.rows), -1)
        own = [row in (5, 6, 7, 9, 10, 11, 12) for row in one.rows]
        assert apart[own].max() == 0
        assert apart.max() <= (2 if jitter else 1) and apart.mean() < 0.3
    assert found.bad == expected.bad and set(found.bad) == {10, 11, 12}
    assert found.wait_seconds > 0


@pytest.mark.parametrize("which", ["stand-in", REAL])
def test_large_images_lose_their_aliasing(tmp_path, monkeypatch, which):
    """As with the reduced decoding of OpenCV's loader: nearer to the means of areas than a view of all pixels is."""
    if which != "dali":
        monkeypatch.setattr(dali_loader, "build_pipeline", Pipeline)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    (tmp_path / "a").write_bytes(encode(".jpg", noise))
    one = ImageSource(lambda row: str(tmp_path / "a"), Transform(size=16, scale=(1, 1), ratio=(1, 1)), train=True)
    both = []
    for reduced in (True, False):
        one.reduced = reduced
        both.append(next(iter(DaliLoader(one, [(0, np.arange(4))]))).images.numpy().astype(float).std())
    assert both[0] < both[1] / 2


def test_jitter_is_the_hosts_within_a_level():
    images = np.stack([picture(24, 24, seed=i) for i in range(8)])
    expected = [colour_jitter(image, 0.4, np.random.default_rng(i)) for i, image in enumerate(images)]
    maps = [jitter_map(*draw_jitter(0.4, np.random.default_rng(i)), 1.0) for i in range(8)]
    found = jittered(paddle.to_tensor(images), paddle.to_tensor(np.array(maps, np.float32))).numpy()
    assert np.abs(found.astype(int) - np.stack(expected)).max() <= 1
    same = jittered(paddle.to_tensor(images), paddle.to_tensor(np.tile(np.float32([1, 0, 0]), (8, 1))))
    assert np.array_equal(same.numpy(), images)


def test_batches_without_a_jpeg_and_without_a_readable_image(files, stand_in):
    batches = list(DaliLoader(source(files), [(1, [5, 7]), (2, [10, 12]), (3, [0, 1]), (4, [2])]))
    assert [batch.readable.tolist() for batch in batches] == [[True] * 2, [False] * 2, [True] * 2, [True]]
    assert [tuple(batch.images.shape) for batch in batches] == [(n, 24, 24, 3) for n in (2, 2, 2, 1)]
    assert not batches[1].images.numpy().any()


# --- what dali fails at


def test_a_batch_that_dali_fails_at_is_opencvs_and_the_next_is_dalis_again(files, monkeypatch, capsys):
    poison, built = Path(files[2]).read_bytes(), []

    def build(*arguments):
        built.append(Pipeline(*arguments, fails=lambda encoded: any(each.tobytes() == poison for each in encoded)))
        return built[-1]

    monkeypatch.setattr(dali_loader, "build_pipeline", build)
    work = [(7, [0, 1]), (8, [2, 12, 3]), (9, [1, 3]), (10, [2]), (11, [4])]
    found, expected = (list(kind(source(files, seed=2, reduced=False), work)) for kind in (DaliLoader, Loader))
    for one, other in zip(expected, found, strict=True):
        assert np.abs(one.images.astype(int) - other.images.numpy()).max() <= 1
        assert np.array_equal(one.readable, other.readable)
    assert np.array_equal(expected[1].images, found[1].images.numpy())
    assert [pipeline.valid for pipeline in built] == [False, False, True]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "nvidia-dali failed at a batch of 2 images (it has no sense); OpenCV makes this batch, and later ones "
        "if it happens again"
    ]


def test_dali_that_fails_always_ends_the_training(files, monkeypatch):
    monkeypatch.setattr(dali_loader, "build_pipeline", functools.partial(Pipeline, fails=lambda encoded: True))
    loader, done = DaliLoader(source(files), [(i, [0, 1]) for i in range(20)]), []
    with pytest.raises(RuntimeError, match=rf"failed at {FAILURES} batches in a row.*it has no sense; -o data.decoder"):
        done.extend(loader)
    assert not _readers()


def test_leaving_early_ends_the_threads(files, stand_in):
    loader = DaliLoader(source(files), jobs(files, 50), workers=3, prefetch=1)
    for _ in loader:
        break
    assert not _readers()
    iterator = iter(DaliLoader(source(files), jobs(files, 50), workers=3, prefetch=1))
    next(iterator)
    assert _readers()
    iterator.close()
    assert not _readers()


def test_an_error_of_the_source_arrives_as_itself(files, stand_in):
    broken = source(files)
    broken.random = None
    with pytest.raises(TypeError):
        list(DaliLoader(broken, jobs(files)))


def _readers():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("urnet-")]


# --- without it


def test_what_is_missing_is_said_in_one_line(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "nvidia"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nvidia", None)
    with pytest.raises(InputError, match=r"data\.decoder: dali: nvidia-dali is not installed; `pip install") as error:
        require_dali()
    assert "\n" not in str(error.value) and "-o data.decoder=opencv" in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Critical error in pipeline:\nencountered:\n\nnvImageCodec failure: '#3'\nmore", "nvImageCodec failure: '#3'"),
        ("out of memory\nat line 3", "out of memory"),
        ("", "RuntimeError"),
    ],
)
def test_of_dalis_words_the_reason(text, reason):
    assert reason_of(RuntimeError(text)) == reason


def test_a_file_is_read_once(files, stand_in, monkeypatch):
    paths, real = [], dali_loader.read_bytes
    monkeypatch.setattr(dali_loader, "read_bytes", lambda path, most: paths.append(path) or real(path, most))
    list(DaliLoader(source(files), [(0, np.arange(10))]))
    assert sorted(paths) == sorted(files[:10])
