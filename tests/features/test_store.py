"""Measurements are begun, opened and waited for; another one is never taken for this one."""

import contextlib
import itertools
import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers import shards as shard_files
from tests.helpers.shards import ABOUT, arrays, write
from urnet.core.checks import InputError
from urnet.core.signals import GracefulStop, Interrupted
from urnet.features import store
from urnet.features.shards import missing_shards, write_shard
from urnet.features.store import Measurement, begin, read_description, wait_complete


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return shard_files.make(tmp_path_factory.mktemp("measured"))


@pytest.fixture
def whole(tmp_path, original):
    """The arrays of a measurement, which is in ``tmp_path``."""
    return shard_files.copy(original, tmp_path)


def test_a_measurement_opens(tmp_path, whole):
    measured = Measurement.open(tmp_path)
    assert measured.describe == ABOUT
    for name, expected in whole.items():
        np.testing.assert_array_equal(getattr(measured, name)[:], expected)
    for name in ("given", "readable"):
        assert type(getattr(measured, name)) is np.ndarray


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"layout": 2}', '{"layout": 1, "n_rows": 3}'])
def test_another_description_is_refused(tmp_path, text):
    (tmp_path / "measurement.json").write_text(text)
    with pytest.raises(InputError, match=r"measurement\.json: does not describe"):
        Measurement.open(tmp_path)


def test_a_folder_without_measurement_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"measurement\.json: not found"):
        Measurement.open(tmp_path / "none")


# --- beginning and waiting


def test_the_description_says_what_was_measured(tmp_path):
    begin(tmp_path, ABOUT)
    assert json.loads((tmp_path / "measurement.json").read_text()) == {
        "layout": 1,
        "base_hash": "base",
        "fingerprint": "weights 1",
        "n_rows": 23,
        "width": 3,
        "k": 2,
        "batch_size": 4,
        "amp": None,
        "shard": 5,
    }
    assert read_description(tmp_path) == ABOUT
    several = replace(ABOUT, views=4)
    (tmp_path / "several").mkdir()
    begin(tmp_path / "several", several)
    assert read_description(tmp_path / "several") == several


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    "change", [{"base_hash": "b"}, {"fingerprint": "weights 2"}, {"batch_size": 8}, {"amp": "float16"}]
)
def test_another_measurement_stays_unless_replaced(tmp_path, whole, change, rank):
    other = replace(ABOUT, **change)
    key, value = next(iter(change.items()))
    with pytest.raises(InputError, match=f"was measured with {key} {getattr(ABOUT, key)}, now it is {value}"):
        begin(tmp_path, other, rank=rank)
    assert Measurement.open(tmp_path).describe == ABOUT
    begin(tmp_path, ABOUT, replace=True)  # the same measurement: nothing is lost
    assert missing_shards(tmp_path, ABOUT) == []
    begin(tmp_path, other, replace=True)
    assert read_description(tmp_path) == other
    assert missing_shards(tmp_path, other) == [0, 1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["measurement.json"]


def test_shards_of_unknown_origin_are_refused(tmp_path, whole):
    (tmp_path / "measurement.json").unlink()
    with pytest.raises(InputError, match=r"it is not known what it belongs to, .*measurement\.json is missing"):
        begin(tmp_path, ABOUT)
    begin(tmp_path, ABOUT, replace=True)
    assert missing_shards(tmp_path, ABOUT) == [0, 1, 2, 3, 4]


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


@pytest.mark.parametrize("kept", [None, replace(ABOUT, fingerprint="old")])
def test_other_ranks_wait_for_the_description(tmp_path, kept):
    if kept:
        begin(tmp_path, kept)
    with pytest.raises(TimeoutError, match=r"the description by rank 0, but nothing changed there for 0\.1 s"):
        begin(tmp_path, ABOUT, rank=1, timeout=0.1, replace=True)
    thread = in_thread(lambda: begin(tmp_path, ABOUT, rank=1, timeout=60, replace=True))
    assert thread.is_alive()
    begin(tmp_path, ABOUT, replace=True)
    thread.join(60)
    assert not thread.is_alive()
    assert read_description(tmp_path) == ABOUT


class Recording(GracefulStop):
    """Is asked before every pause; calls ``between`` with the number of the question."""

    def __init__(self, between):
        super().__init__()
        self.between, self.asked = between, 0

    def check(self):
        self.between(self.asked)
        self.asked += 1


def test_waiting_ends_with_the_last_shard_and_goes_on_as_long_as_somebody_works(tmp_path, monkeypatch):
    """By a clock that goes a second a reading: the rows together take longer than the timeout, no row does."""
    about, values = replace(ABOUT, n_rows=10), arrays()
    begin(tmp_path, about)
    write(tmp_path, values, 0, about)
    monkeypatch.setattr(store.time, "monotonic", itertools.count().__next__)
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(write_shard(tmp_path, about, 1))

        def one_row(number):
            if number < 5:
                writer.append({name: array[5 + number : 6 + number] for name, array in values.items()})
            elif number == 5:
                stack.close()

        measured = wait_complete(tmp_path, about, timeout=4, stop=Recording(one_row), poll=0)
    np.testing.assert_array_equal(measured.features[:], values["features"][:10])


def test_waiting_for_nobody_ends(tmp_path):
    begin(tmp_path, ABOUT)
    with pytest.raises(TimeoutError, match=r"waited for shards of other processes.*has another process"):
        wait_complete(tmp_path, ABOUT, timeout=0.05)
    stop = GracefulStop()
    stop.number = 15
    with pytest.raises(Interrupted):
        wait_complete(tmp_path, ABOUT, stop=stop)
