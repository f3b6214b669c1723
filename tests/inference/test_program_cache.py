"""The cache of inference programs: what a key depends on, damage, sharing, its bounds."""

import dataclasses
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest

from tests.helpers.predict import varint
from urnet.checkpoints import checkpoint
from urnet.core.checks import InputError
from urnet.inference.program import FILES
from urnet.inference.program_cache import ENTRY, ProgramSource, cache_folder, find_program, keep_program


@pytest.fixture
def source(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "net.py").write_text("width = 8\n")
    weights = tmp_path / "weights"
    checkpoint.save(weights, weights={"w": np.arange(6, dtype=np.float32)}, state={})
    return ProgramSource(weights, "Tiny", 7, 16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), code)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "cache"


def writer(text="program"):
    """A function that writes a program, and the list of folders it was asked to fill."""
    calls = []

    def write(to):
        calls.append(to)
        for name in FILES:
            (to / name).write_text(f"{text} {name}")

    return write, calls


def keep(folder, source, write, **bounds):
    return keep_program(folder, source.key(), source, write, **bounds)


def test_what_was_kept_is_found_and_not_written_again(folder, source, capsys):
    write, calls = writer()
    key = source.key()
    assert find_program(folder, key) is None
    entry = keep(folder, source, write)
    assert entry == folder / key == find_program(folder, key)
    assert sorted(file.name for file in entry.iterdir()) == sorted([*FILES, ENTRY])
    assert [(entry / name).read_text() for name in FILES] == [f"program {name}" for name in FILES]
    assert keep(folder, source, write) == entry
    assert len(calls) == 1
    assert capsys.readouterr().err == ""


def test_every_number_the_code_and_the_versions_make_another_key(source, monkeypatch):
    changes = (
        {},
        {"network": "Tinier"},
        {"n_classes": 8},
        {"image_size": 17},
        {"mean": (0.5, 0.4, 0.31)},
        {"std": (0.2, 0.25, 0.31)},
    )
    keys = {dataclasses.replace(source, **change).key() for change in changes}
    (source.code / "net.py").write_text("width = 9\n")
    keys.add(source.key())
    monkeypatch.setattr(paddle, "__version__", "9.9.9")
    keys.add(source.key())
    assert len(keys) == len(changes) + 2


def test_the_key_follows_the_weights_bytes_not_their_place(source, tmp_path):
    key = source.key()
    checkpoint.save(tmp_path / "copy", weights={"w": np.arange(6, dtype=np.float32)}, state={"step": 9})
    assert dataclasses.replace(source, weights=tmp_path / "copy").key() == key
    changed = np.arange(6, dtype=np.float32)
    changed[3] = np.nextafter(changed[3], np.float32(9))
    checkpoint.save(source.weights, weights={"w": changed}, state={})
    assert source.key() != key
    with pytest.raises(InputError, match="does not exist"):
        dataclasses.replace(source, weights=tmp_path / "none").key()


def test_each_file_of_the_release_s_folder_counts(source, tmp_path):
    fluid = tmp_path / "fluid"
    fluid.mkdir()
    keys = set()
    for name, value in (("a", 1.0), ("b", 1.0), ("a", 2.0)):
        description = b"\x08\x05\x10" + varint(1)
        head = bytes(16) + len(description).to_bytes(4, "little") + description
        (fluid / name).write_bytes(head + np.float32(value).tobytes())
        keys.add(dataclasses.replace(source, weights=fluid).key())
    assert len(keys) == 3


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "a bit": lambda entry: flip(entry / FILES[1]),
    "cut off": lambda entry: (entry / FILES[1]).write_bytes((entry / FILES[1]).read_bytes()[:-3]),
    "a file gone": lambda entry: (entry / FILES[0]).unlink(),
    "no hashes": lambda entry: (entry / ENTRY).unlink(),
    "no JSON": lambda entry: (entry / ENTRY).write_text("{"),
    "another JSON": lambda entry: (entry / ENTRY).write_text("[1]"),
    "a file in its place": lambda entry: [
        [file.unlink() for file in entry.iterdir()],
        entry.rmdir(),
        entry.write_text("x"),
    ],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_written_again_with_a_note(folder, source, damage, capsys):
    write, calls = writer()
    entry = keep(folder, source, write)
    DAMAGES[damage](entry)
    assert find_program(folder, source.key()) is None
    assert keep(folder, source, write) == entry == find_program(folder, source.key())
    assert len(calls) == 2
    assert capsys.readouterr().err == f"note: {entry}: is damaged; it is written again\n"


def test_where_nothing_can_be_written_there_is_a_note_and_none(tmp_path, source, capsys):
    (tmp_path / "file").write_text("")
    write, calls = writer()
    assert keep(tmp_path / "file" / "cache", source, write) is None
    assert find_program(tmp_path / "file" / "cache", source.key()) is None
    err = capsys.readouterr().err
    assert err.startswith("note: the inference program cannot be kept for the next run (") and err.count("\n") == 1
    assert "Not a directory" in err and "URNET_CACHE" in err
    assert calls == []


def test_weights_that_change_meanwhile_are_not_kept_under_the_old_key(folder, source, capsys):
    key = source.key()

    def write(to):
        writer()[0](to)
        checkpoint.save(source.weights, weights={"w": np.zeros(6, np.float32)}, state={})

    assert keep_program(folder, key, source, write) is None
    assert "changed while it was read" in capsys.readouterr().err
    assert find_program(folder, key) is None


def test_the_entries_used_last_stay(folder, source):
    sources = [dataclasses.replace(source, n_classes=n) for n in range(1, 6)]
    for age, one in enumerate(sources[:3]):
        entry = keep(folder, one, writer()[0])
        os.utime(entry / ENTRY, (1000 + age, 1000 + age))
    assert find_program(folder, sources[0].key())  # used again: now number 1 is the oldest
    keep(folder, sources[3], writer()[0], most_entries=3)
    assert [find_program(folder, one.key()) is not None for one in sources] == [True, False, True, True, False]


def test_the_bytes_are_bounded_too_but_the_newest_stays(folder, source):
    first = keep(folder, source, writer()[0])
    size = sum(file.stat().st_size for file in first.iterdir())
    second = dataclasses.replace(source, n_classes=8)
    bounds = {"most_bytes": 2 * size + 10}
    keep(folder, second, writer()[0], **bounds)
    assert first.exists()
    third = keep(folder, dataclasses.replace(source, n_classes=9), writer("long " * size)[0], **bounds)
    assert third.exists() and not first.exists() and not (folder / second.key()).exists()


def test_of_two_writers_one_writes_and_both_have_the_entry(folder, source):
    begun, asked, (write, calls) = threading.Event(), threading.Event(), writer()

    def slow(to):
        begun.set()
        assert asked.wait(60)
        write(to)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(keep, folder, source, slow)
        assert begun.wait(60)
        second = pool.submit(lambda: asked.set() or keep(folder, source, write))
        assert first.result(60) == second.result(60) == folder / source.key()
    assert len(calls) == 1


def test_leftovers_of_killed_writers_are_removed(folder, source):
    leftover = folder / ".0123.abcd.tmp"
    leftover.mkdir(parents=True)
    keep(folder, source, writer()[0])
    assert not leftover.exists()


def test_without_locks_the_second_of_two_takes_the_first_one_s_entry(folder, source, monkeypatch, capsys):
    """On a file system that cannot lock, another process may write the entry meanwhile."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    key = source.key()

    def write(to):
        writer("slow")[0](to)
        monkeypatch.setitem(sys.modules, "fcntl", None)
        other, calls = writer("quick")
        assert keep_program(folder, key, source, other) == folder / key and len(calls) == 1

    assert keep_program(folder, key, source, write) == folder / key
    assert (folder / key / FILES[0]).read_text() == f"quick {FILES[0]}"
    assert capsys.readouterr().err == ""


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("URNET_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "urnet"
    monkeypatch.setenv("URNET_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("URNET_CACHE", "")
    assert cache_folder() is None
