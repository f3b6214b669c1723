"""Files and folders that are there whole or not at all: raced by others, named at length, of any mode."""

import errno
import os
from pathlib import Path

import pytest

from urnet.core.atomic_files import atomic_file, atomic_folder, recover_folder
from urnet.core.checks import InputError

ROOT = Path(__file__).parents[2]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_file(path) as part:
        part.write_text("one")
    assert path.read_text() == "one"
    with pytest.raises(InputError, match="exists already"), atomic_file(path) as part:
        part.write_text("two")
    with pytest.raises(ZeroDivisionError), atomic_file(path, replace=True) as part:
        part.write_text("tw")
        raise ZeroDivisionError
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_whole_folder_replaces_and_cleans_up(tmp_path):
    path = tmp_path / "best"
    for text in ("one", "two"):
        with atomic_folder(path, replace=True) as part:
            (part / "w").write_text(text)
    with pytest.raises(InputError, match="exists already"), atomic_folder(path):
        pass
    with pytest.raises(ZeroDivisionError), atomic_folder(path, replace=True) as part:
        (part / "w").write_text("three")
        raise ZeroDivisionError
    assert (path / "w").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


def test_files_of_a_whole_folder_follow_the_umask(tmp_path):
    """Also those that a library wrote for their owner only."""
    mask = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "best") as part:
            (part / "below").mkdir(mode=0o700)
            (part / "below/w").touch(mode=0o600)
    finally:
        os.umask(mask)
    modes = [(tmp_path / "best" / name).stat().st_mode & 0o777 for name in ("", "below", "below/w")]
    assert modes == [0o750, 0o750, 0o640]


def test_an_unwritable_place_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), atomic_file(tmp_path / "file" / "a.txt"):
        pass
    with pytest.raises(InputError, match="cannot be written"), atomic_folder(tmp_path / "file" / "a"):
        pass


# --- several processes


def test_what_another_process_wrote_meanwhile_stays(tmp_path):
    with pytest.raises(InputError, match="exists already"), atomic_file(tmp_path / "a") as part:
        part.write_text("mine")
        (tmp_path / "a").write_text("theirs")
    assert (tmp_path / "a").read_text() == "theirs"
    with pytest.raises(InputError, match="at the same time"), atomic_folder(tmp_path / "w") as part:
        (part / "x").write_text("mine")
        (tmp_path / "w").mkdir()
        (tmp_path / "w" / "x").write_text("theirs")
    assert (tmp_path / "w" / "x").read_text() == "theirs"
    assert names_in(tmp_path) == ["a", "w"]


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_what_is_refused_leaves_no_folder_that_was_not_there(tmp_path, whole):
    (tmp_path / "own").mkdir()
    for place in ("a/b/c", "own/c", "own/a/c"):
        with pytest.raises(InputError, match="no good"), whole(tmp_path / place):
            raise InputError("no good")
        assert names_in(tmp_path) == ["own"] and names_in(tmp_path / "own") == []
    with pytest.raises(InputError, match="no good"), whole(tmp_path / "a/b/c"):
        (tmp_path / "a/mine").write_text("")
        raise InputError("no good")
    assert names_in(tmp_path / "a") == ["mine"]


@pytest.mark.parametrize("there", [False, True])
def test_file_systems_without_links(tmp_path, monkeypatch, there):
    def none(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    if there:
        with pytest.raises(InputError, match="exists already"), atomic_file(tmp_path / "a") as part:
            (tmp_path / "a").write_text("theirs")
        assert (tmp_path / "a").read_text() == "theirs"
    else:
        with atomic_file(tmp_path / "a") as part:
            part.write_text("mine")
        assert (tmp_path / "a").read_text() == "mine"
    assert names_in(tmp_path) == ["a"]


def test_leftovers_of_other_names_are_left(tmp_path):
    ours = [".a[1].0123abcd.tmp", ".a[1].zz_9old8.tmp"]
    others = [".a.b.0123abcd.tmp", ".a1.0123abcd.tmp", ".a[1].b.0123abcd.tmp", "a[1]", "xa[1].0123abcd.tmp"]
    for name in (*ours, *others):
        (tmp_path / name).write_text("")
    recover_folder(tmp_path / "a[1]")
    assert names_in(tmp_path) == sorted(others)


# --- names, modes, kinds


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "日" * 85, "x" * 250 + ".csv"])
def test_names_as_long_as_the_system_allows(tmp_path, monkeypatch, name):
    file, folder = tmp_path / name, tmp_path / "below" / name
    for text in ("one", "two"):
        with atomic_file(file, replace=True) as part:
            part.write_text(text)
        with atomic_folder(folder, replace=True) as part:
            (part / "a").write_text(text)
    rename, calls = os.replace, []

    def once(a, b):
        calls.append(b)
        if len(calls) > 1:
            raise OSError(errno.EIO, "the disk is gone")
        rename(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", once)
        with pytest.raises(OSError, match="Input/output error"), atomic_folder(folder, replace=True) as part:
            (part / "a").write_text("three")
    assert names_in(folder.parent) != [name]
    recover_folder(folder)
    assert file.read_text() == (folder / "a").read_text() == "two"
    assert names_in(folder.parent) == [name] and names_in(tmp_path) == sorted([name, "below"])


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
@pytest.mark.parametrize("name", ["x" * 256, "ü" * 128, "/".join(["x" * 200] * 25)])
def test_names_and_paths_that_are_too_long_are_bad_input(tmp_path, whole, name):
    with pytest.raises(InputError, match=r"cannot be written \(File name too long\)"), whole(tmp_path / name):
        pass
    assert names_in(tmp_path) == []


def test_a_folder_shared_by_a_group_stays_so(tmp_path):
    """What is made in a folder with the set-group-id bit has it too."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    with atomic_folder(tmp_path / "shared" / "w") as part:
        (part / "below").mkdir(mode=0o700)
    for name in ("w", "w/below"):
        assert (tmp_path / "shared" / name).stat().st_mode & 0o7000 == 0o2000, name


def test_a_file_and_a_folder_do_not_replace_one_another(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder; a file's path"), atomic_file(tmp_path / "folder", replace=True):
        pass
    with pytest.raises(InputError, match="is a file; a folder's path"), atomic_folder(tmp_path / "file", replace=True):
        pass
    assert names_in(tmp_path) == ["file", "folder"]


def test_devices_pipes_and_streams_stay(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stream").symlink_to("/proc/self/fd/1")
    (tmp_path / "device").symlink_to("/dev/null")
    for name, what in (("pipe", "is a device, a pipe"), ("device", "is a device"), ("stream", "is an open stream")):
        with pytest.raises(InputError, match=f"{name}: {what}"), atomic_file(tmp_path / name, replace=True):
            pass
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "stream").is_symlink() and (tmp_path / "device").is_symlink()
