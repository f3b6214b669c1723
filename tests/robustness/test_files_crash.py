"""Killed, cut off from power, on a full disk: what is there is the old or the new, and the file is named."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from urnet.core.atomic_files import AppendedFile, atomic_file, atomic_folder, naming

ROOT = Path(__file__).parents[2]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- killed before any operation, and power cuts


CRASHES = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from urnet.core.atomic_files import recover_folder, atomic_file, atomic_folder
folder, kind = Path(sys.argv[2]), sys.argv[3]
OPERATIONS = ("open", "shutil.rmtree",
              *("os." + name for name in ("mkdir", "chmod", "rename", "link", "remove", "rmdir")))

def write(path, text):
    if kind == "folder":
        with atomic_folder(path, replace=True) as part:
            for name in "ab":
                (part / name).write_text(text)
    else:
        with atomic_file(path, replace=kind == "file") as part:
            part.write_text(text)

def read(path):
    if kind == "folder":
        return [(path / name).read_text() for name in "ab"] if path.exists() else None
    return path.read_text() if path.exists() else None

def killed(path, k):
    child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    left = [k]
    def watch(event, args):
        if event in OPERATIONS:
            left[0] -= 1
            if left[0] == -1:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    write(path, "new")
    os._exit(0)

k, seen = 0, []
while not seen or seen[-1][0]:
    path = folder / str(k) / "it"
    path.parent.mkdir()
    if kind != "new file":
        write(path, "old")
    was_killed = killed(path, k)
    before = read(path)
    recover_folder(path)
    seen.append([was_killed, before, read(path), sorted(os.listdir(path.parent))])
    k += 1
print(json.dumps(seen))
"""


@pytest.mark.parametrize(("kind", "old"), [("folder", ["old"] * 2), ("file", "old"), ("new file", None)])
def test_killed_before_any_operation_there_is_the_old_or_the_new(tmp_path, kind, old):
    """At every operation on files, one after the other; a folder may wait aside until it is recovered."""
    new = ["new"] * 2 if kind == "folder" else "new"
    command = [sys.executable, "-c", CRASHES, str(ROOT), str(tmp_path), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    seen = json.loads(done.stdout)
    assert len(seen) > 5 and [killed for killed, *_ in seen] == [True] * (len(seen) - 1) + [False]
    assert [found for _, _, found, _ in seen] == sorted((found for _, _, found, _ in seen), key=[old, new].index)
    assert seen[0][2] == old and seen[-1][2] == new
    for _, before, found, names in seen:
        assert before == found or (kind == "folder" and before is None)
        assert names == ([] if found is None else ["it"])


def record_order(monkeypatch) -> list[tuple[str, ...]]:
    """What reaches the disk, in order: ("sync", path), ("name", path), ("name", path), …"""
    order: list[tuple[str, ...]] = []
    sync, rename, link = os.fsync, os.replace, os.link

    def note_sync(handle):
        order.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        sync(handle)

    def note_name(function):
        return lambda a, b: (order.append(("name", str(b))), function(a, b))[1]

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_name(rename))
    monkeypatch.setattr(os, "link", note_name(link))
    return order


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell a handle's path")
@pytest.mark.parametrize("replace", [False, True])
def test_contents_reach_the_disk_before_their_name_and_the_name_before_the_end(tmp_path, monkeypatch, replace):
    """So a power cut at any moment leaves the old or the new: no name leads to nothing."""
    order = record_order(monkeypatch)
    with atomic_file(tmp_path / "new" / "deep" / "a", replace=replace) as part:
        part.write_text("x")
        order.append(("written",))
    folder = tmp_path / "new" / "deep"
    assert order == [
        ("sync", str(folder.parent)),
        ("sync", str(tmp_path)),  # the names of the new folders
        ("written",),
        ("sync", str(part)),
        ("name", str(folder / "a")),
        ("sync", str(folder)),
    ]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell a handle's path")
def test_a_folder_s_contents_reach_the_disk_before_its_name(tmp_path, monkeypatch):
    (tmp_path / "w").mkdir()
    order = record_order(monkeypatch)
    with atomic_folder(tmp_path / "w", replace=True) as part:
        (part / "below").mkdir()
        for name in ("a", "below/b"):
            (part / name).write_text("x")
    inside = [str(part / name) for name in ("a", "below", "below/b", "")]
    assert sorted(order[:4]) == sorted(("sync", name.rstrip("/")) for name in inside)
    assert order[4:] == [("name", str(tmp_path / ".w.old")), ("name", str(tmp_path / "w")), ("sync", str(tmp_path))]
    assert names_in(tmp_path) == ["w"]


def test_interrupted_between_the_renamings_the_old_folder_is_back(tmp_path, monkeypatch):
    with atomic_folder(tmp_path / "w") as part:
        (part / "a").write_text("old")
    rename, calls = os.replace, []

    def interrupted(a, b):
        calls.append(b)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(a, b)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "w", replace=True) as part:
        (part / "a").write_text("new")
    assert names_in(tmp_path) == ["w"] and (tmp_path / "w/a").read_text() == "old"


# --- disks


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_a_disk_s_fault_names_the_file(tmp_path, whole, number):
    """The system's error names none where writing fails, and a temporary one where opening does."""
    for inner in ("", "/model.safetensors") if whole is atomic_folder else ("",):
        with pytest.raises(OSError) as caught, whole(tmp_path / "a") as part:
            raise OSError(number, "any words", f"{part}{inner}") if inner else OSError(number, "any words")
        assert str(caught.value) == f"[Errno {number}] {os.strerror(number)}: '{tmp_path / 'a'}{inner}'"
        assert names_in(tmp_path) == []


def test_other_errors_pass_as_they_are(tmp_path):
    for error in (BrokenPipeError(), FileNotFoundError(2, "No such file", "b"), OSError("words"), KeyError(3)):
        with pytest.raises(type(error)) as caught, atomic_file(tmp_path / "a"):
            raise error
        assert caught.value is error
    with pytest.raises(OSError, match="standard output"), naming("a"):  # who knows better is believed
        raise OSError(errno.ENOSPC, "No space", "standard output")


def test_what_does_not_fit_is_not_appended_in_part(tmp_path):
    file = AppendedFile(tmp_path / "log.txt")
    file.write("one ü\n")
    file.write(b"two\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*log\.txt'"):
            file.write("does not fit\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "log.txt").read_text() == "one ü\ntwo\n"
    file.write("three\n")
    file.close()
    assert (tmp_path / "log.txt").read_text() == "one ü\ntwo\nthree\n"
