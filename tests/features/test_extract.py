"""The measuring pass: the values of a plain forward; the same bytes for any number of processes or kills."""

import functools
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import paddle
import pytest

import models
from tests.helpers.forked import fork
from tests.helpers.image_sources import make, make_files
from tests.helpers.measuring import CLASSES, LABELS, N, apart, network, run
from tests.helpers.picture_files import encode, picture
from tests.helpers.programs import counts, programs
from urnet.core.checks import InputError
from urnet.core.signals import GracefulStop, Interrupted
from urnet.core.top_k import topk
from urnet.data.loading.loader import ImageSource
from urnet.features import extract
from urnet.features.extract import FeatureJob
from urnet.features.store import Measurement
from urnet.features.views import views_of
from urnet.nn.normalise import Normalise
from urnet.runtime.late_top_k import LateTopK


def bytes_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times_of(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.glob("shard-*/*")}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Forty images, all readable."""
    paths = make_files(tmp_path_factory.mktemp("images"))
    for i in (7, 23):
        Path(paths[i]).write_bytes(encode(".jpg", picture(30, 40, seed=i)))
    return paths


@pytest.fixture(scope="module")
def measured(files, tmp_path_factory):
    """A measurement made by this process."""
    return run(tmp_path_factory.mktemp("measured") / "m", files)


@pytest.fixture(scope="module")
def single(files, tmp_path_factory):
    """The bytes of one made by a process with as many threads as those to compare have: sums of others round
    differently."""
    folder = tmp_path_factory.mktemp("single")
    wait(start(folder, files))
    return bytes_of(folder)


def wait(process):
    process.join(600)
    assert process.exitcode == 0


def start(folder, files, rank=0, world_size=1, slow=False):
    """Measure in a process of its own."""
    return fork(apart, folder, files, rank, world_size, slow)


def plain(net, files):
    """Features and probabilities of one plain forward over all images."""
    source = make(ImageSource, files, train=False)
    images = paddle.to_tensor(np.stack([source(row, 0)[0] for row in range(N)]))
    model = Normalise(net, source.transform.mean, source.transform.std)
    model.eval()
    with paddle.no_grad():
        return model.features(images).numpy(), paddle.nn.functional.softmax(model(images)).numpy()


# --- values


def test_the_values_are_those_of_a_plain_forward(files, measured):
    features, prob = plain(network(), files)
    index, best = topk(prob, 3)
    assert measured.features.shape == features.shape == (N, 128)
    np.testing.assert_allclose(measured.features[:], features, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(measured.given, prob[np.arange(N), LABELS], rtol=1e-5)
    np.testing.assert_array_equal(measured.index[:], index)
    np.testing.assert_allclose(measured.prob[:], best, rtol=1e-3)
    assert measured.readable.all()
    assert measured.given.std() > 0.01  # the images differ, so a row in another's place would show


@pytest.mark.parametrize("front", [False, True])
def test_features_are_the_mean_over_the_views_and_may_hold_the_maps_in_front(files, measured, tmp_path, front):
    again = run(tmp_path, files, views=3, front=front)
    source, net = make(ImageSource, files, train=False), network()
    images = np.stack([source(row, 0)[0] for row in range(N)])
    model = Normalise(net, source.transform.mean, source.transform.std)
    model.eval()
    expected = []
    for view in views_of(3, source.transform.size, source.transform.flip):
        with paddle.no_grad():
            shown = paddle.to_tensor(view.of(images))
            maps = model.front(shown).numpy()  # (N, 64, 4, 4)
            cells = maps.reshape(N, 64, 2, 2, 2, 2).mean(axis=(3, 5)).reshape(N, -1)
            expected.append(np.concatenate([model.features(shown).numpy(), *([cells] if front else [])], axis=1))
    np.testing.assert_allclose(again.features[:], np.mean(expected, axis=0), rtol=1e-3, atol=1e-3)
    assert again.features.shape[1] == (128 + 256 if front else 128) and again.passes == 3 * N
    assert np.array_equal(again.index[:], measured.index[:])  # of the evaluation's view
    np.testing.assert_allclose(again.given, measured.given, rtol=1e-6)
    assert measured.passes == N and np.abs(again.features[:][:, :128] - measured.features[:]).max() > 0.01


def test_workers_batch_sizes_and_k_change_no_value(files, measured, tmp_path):
    again = run(tmp_path, files, workers=2, batch_size=11, k=20, shard=1000)
    assert again.describe.k == CLASSES
    np.testing.assert_allclose(again.features[:], measured.features[:], rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(again.given, measured.given, rtol=1e-5)
    np.testing.assert_array_equal(again.index[:][:, :3], measured.index[:])
    np.testing.assert_allclose(again.prob[:].sum(axis=1, dtype=np.float64), 1, atol=2e-3)


def test_mixed_precision_is_recorded_and_near(files, measured, tmp_path):
    again = run(tmp_path, files, amp="bfloat16")  # on the CPU auto_cast has no effect
    assert again.describe.amp == "bfloat16"
    np.testing.assert_allclose(again.given, measured.given, atol=0.02)


def test_one_program_measures_the_same(files, measured, tmp_path):
    """Of all batches, the incomplete ones among them; of several views and maps as well."""
    net = network()
    with programs() as made:
        found = run(tmp_path / "m", files, net=net, compiled=True)
        views = run(tmp_path / "views", files, compiled=True, views=2, front=True)
    assert counts(made) == [1, 1]
    np.testing.assert_allclose(found.features[:], measured.features[:], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.given, measured.given, rtol=1e-5)
    np.testing.assert_array_equal(found.index[:], measured.index[:])
    np.testing.assert_allclose(views.given, measured.given, rtol=1e-5)
    assert "forward" not in vars(net)  # it is not the network itself that was compiled
    with programs() as made:
        run(tmp_path / "m", files, compiled=True)
    assert made == []  # nothing was left to measure


def test_what_the_device_chooses_has_the_same_bytes(files, measured, tmp_path, monkeypatch):
    """The ranking of a GPU, carried out by the CPU."""
    monkeypatch.setattr(extract, "LateTopK", functools.partial(LateTopK, on_device=True))
    run(tmp_path / "m", files)
    assert bytes_of(tmp_path / "m") == bytes_of(measured.folder)


def test_the_next_batch_is_begun_before_the_last_one_is_read(files, tmp_path, monkeypatch):
    said = []
    launch, read = extract.Forward.__call__, extract._Launched.read
    monkeypatch.setattr(
        extract.Forward, "__call__", lambda self, images: (said.append("launch"), launch(self, images))[1]
    )
    monkeypatch.setattr(extract._Launched, "read", lambda self: (said.append("read"), read(self))[1])
    run(tmp_path / "m", files)
    said = said[1:]  # the first finds the widths
    n = len(said) // 2
    assert n > 2
    assert said == ["launch", *["launch", "read"] * (n - 1), "read"]


def test_the_network_is_as_before(files, tmp_path):
    net = network()
    net.train()
    net.stem.eval()
    modes = [layer.training for layer in net.sublayers(True)]
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    run(tmp_path, files, net=net)
    assert [layer.training for layer in net.sublayers(True)] == modes
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), weights[name])


# --- processes, kills, signals


def test_two_processes_write_the_bytes_of_one(files, single, tmp_path):
    ranks = [start(tmp_path, files, rank, 2) for rank in (1, 0)]
    for process in ranks:
        wait(process)
    assert bytes_of(tmp_path) == single


def test_killed_and_resumed_the_bytes_are_the_same(files, single, tmp_path):
    process = start(tmp_path, files, slow=True)
    deadline = time.monotonic() + 600
    while not (tmp_path / "shard-00000").exists() or not list(tmp_path.glob(".shard-00001.*")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join(600)
    assert list(tmp_path.glob(".shard-00001.*.tmp"))
    before = times_of(tmp_path)
    wait(start(tmp_path, files))
    assert times_of(tmp_path).items() >= before.items()
    assert bytes_of(tmp_path) == single


class StopAt(GracefulStop):
    """Asks to stop at its ``checks``-th check."""

    def __init__(self, checks):
        super().__init__()
        self.checks = checks

    def check(self):
        self.checks -= 1
        if self.checks == 0:
            self.number = signal.SIGTERM
        super().check()


def test_a_signal_stops_between_batches_and_the_next_pass_goes_on(files, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, files, stop=StopAt(5))
    before = times_of(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["measurement.json", "shard-00000"]
    again = run(tmp_path, files, stop=StopAt(1000))
    assert times_of(tmp_path).items() >= before.items()
    np.testing.assert_array_equal(Measurement.open(tmp_path).given, again.given)


def test_what_is_whole_is_taken_as_it_is_and_a_truncated_shard_is_said_and_measured_again(
    files, measured, tmp_path, capsys
):
    folder = shutil.copytree(measured.folder, tmp_path / "m")
    before = times_of(folder)
    again = run(folder, ["gone.jpg"] * N)  # no image is asked for
    np.testing.assert_array_equal(again.given, measured.given)
    assert times_of(folder) == before
    file = folder / "shard-00001" / "features.npy"
    file.write_bytes(file.read_bytes()[:-2])
    again = run(folder, files)
    assert re.search(r"note: .*shard-00001/features\.npy: is not a whole array .*again\n", capsys.readouterr().err)
    np.testing.assert_array_equal(again.features[:], measured.features[:])
    changed = {path.parts[0] for path, when in times_of(folder).items() if before[path] != when}
    assert changed == {"shard-00001"}


def test_other_weights_are_not_mixed_in(files, measured, tmp_path):
    folder = shutil.copytree(measured.folder, tmp_path / "m")
    with pytest.raises(InputError, match="was measured with fingerprint w1, now it is w2"):
        run(folder, files, fingerprint="w2")
    np.testing.assert_array_equal(Measurement.open(folder).given, measured.given)
    other = run(folder, files, fingerprint="w2", net=network(7), replace=True)
    assert other.describe.fingerprint == "w2"
    assert (other.given != measured.given).any()


# --- what is refused, or left out


def test_unreadable_images_are_marked_and_move_nothing(files, measured, tmp_path):
    broken = list(files)
    broken[7], broken[23] = "gone.jpg", __file__
    found = run(tmp_path, broken, max_bad=2)
    good = np.ones(N, bool)
    good[[7, 23]] = False
    np.testing.assert_array_equal(found.readable, good)
    assert np.isnan(found.given[~good]).all()
    for name in ("features", "index", "prob"):
        assert not getattr(found, name)[~good].any()
        np.testing.assert_array_equal(getattr(found, name)[good], getattr(measured, name)[good])
    np.testing.assert_array_equal(found.given[good], measured.given[good])


def test_too_many_unreadable_images_are_refused_also_over_several_passes(files, tmp_path):
    broken = list(files)
    broken[7] = broken[23] = "gone.jpg"
    message = r"gone\.jpg: is not a readable image: .*\(and 1 more\); at most 1 unreadable images are accepted"
    for _ in range(2):  # the second pass finds row 7 in the shard that the first one finished
        with pytest.raises(InputError, match=message):
            run(tmp_path, broken, max_bad=1)
        assert sorted(path.name for path in tmp_path.glob("*shard*")) == ["shard-00000"]
    assert (~run(tmp_path, broken, max_bad=2).readable).sum() == 2
    with pytest.raises(InputError, match=message):
        run(tmp_path, broken, max_bad=1)


def test_a_measurement_of_nothing_is_refused(files, tmp_path):
    message = r"none of the \d+ training images can be read; the first: .*gone\.jpg: "
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            run(tmp_path, ["gone.jpg"] * len(files), max_bad=len(files))


def test_values_that_are_not_finite_stop_and_name_the_row(files, tmp_path):
    net = network()
    bias = net.fc.bias.numpy()
    net.fc.bias.set_value(np.where(np.arange(CLASSES) == 2, np.nan, bias).astype(np.float32))
    with pytest.raises(FloatingPointError, match=r"row 0: its features or probabilities are not finite"):
        run(tmp_path, files, net=net)
    net.fc.bias.set_value(bias)
    net.stem.bn.weight.set_value(net.stem.bn.weight * 1e6)
    with pytest.raises(FloatingPointError, match="not finite in float16"):
        run(tmp_path, files, net=net)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; 1 or more"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"shard": -1}, "shard is -1"),
        ({"views": 0}, "views is 0; 1 or more"),
        ({"views": 11}, "views is 11; at most 10 where flip is True"),
        ({"front": True, "net": models.build("DenseNet121", CLASSES)}, "front is true, but the network has no `front`"),
        ({"rank": 2, "world_size": 2}, r"rank 2 of 2 processes; 0\.\.1"),
        ({"net": network(2)}, r"label [234] in row \d+ is outside 0\.\.1"),
    ],
)
def test_bad_input_is_refused(files, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, files, **options)
    assert not any(tmp_path.iterdir())


def test_a_training_view_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match="train=False"):
        FeatureJob(make(ImageSource, files), LABELS, tmp_path, fingerprint="", base_hash="").run(network())
