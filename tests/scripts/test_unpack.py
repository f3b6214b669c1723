"""data/unpack.sh refuses an archive whole when any member could land or point outside the folder."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

UNPACK = Path(__file__).parents[2] / "data" / "unpack.sh"
GOOD = ("pictures/a b.jpg", tarfile.REGTYPE, b"first")


def write_tar(path, *members):
    """Members are (name, type, content or link target); folders come as (name, DIRTYPE, b"")."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content.decode()
                archive.addfile(info)


def unpack(archive, folder, function="unpack"):
    line = f'. "$1"; {function} "$2" "$3"'
    return subprocess.run(
        ["sh", "-c", line, "sh", str(UNPACK), str(archive), str(folder)], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        (("../up.jpg", tarfile.REGTYPE, b"x"), "leads out of the folder: ../up.jpg"),
        (("a/../../up.jpg", tarfile.REGTYPE, b"x"), "leads out of the folder: a/../../up.jpg"),
        (("a/..", tarfile.DIRTYPE, b""), "leads out of the folder: a/.."),
        (("/tmp/absolute.jpg", tarfile.REGTYPE, b"x"), "leads out of the folder: /tmp/absolute.jpg"),
        (("line\n/../../up.jpg", tarfile.REGTYPE, b"x"), "leads out of the folder: line"),
        (("link", tarfile.SYMTYPE, b"/etc"), "holds a link that leads out of the folder: /etc"),
        (("link", tarfile.SYMTYPE, b"../outside"), "holds a link that leads out of the folder: ../outside"),
        (("link", tarfile.SYMTYPE, b"a/../../x"), "holds a link that leads out of the folder: a/../../x"),
        (("a -> b", tarfile.SYMTYPE, b"/etc"), "holds a link that leads out of the folder: /etc"),
        (("hard", tarfile.LNKTYPE, b"/etc/passwd"), "holds a link that leads out of the folder: /etc/passwd"),
        (("hard", tarfile.LNKTYPE, b"../x"), "holds a link that leads out of the folder: ../x"),
        (("a link to b", tarfile.LNKTYPE, b"../x"), "holds a link that leads out of the folder: ../x"),
        (("pipe", tarfile.FIFOTYPE, b""), "not a file, folder or link"),
        (("device", tarfile.CHRTYPE, b""), "not a file, folder or link"),
    ],
)
def test_one_bad_member_refuses_the_archive_whole(tmp_path, member, fault):
    archive, folder = tmp_path / "a.tar", tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    write_tar(archive, GOOD, member)
    done = unpack(archive, folder)
    assert done.returncode == 1
    assert fault in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "folder", "in"]


def test_names_that_only_look_dangerous_are_unpacked(tmp_path):
    names = ["..a/b..", "a..b/...", "-rf", "with  spaces", "é.jpg", "!", "l link to x", "back\\slash", "a\n../b"]
    archive, folder = tmp_path / "a b.tar", tmp_path / "out of here"
    folder.mkdir()
    write_tar(
        archive,
        *[(name, tarfile.REGTYPE, name.encode()) for name in names],
        ("inside", tarfile.SYMTYPE, b"with  spaces"),
        ("again", tarfile.LNKTYPE, b"..a/b.."),
    )
    done = unpack(archive, folder)
    assert done.returncode == 0, done.stderr
    assert {name: (folder / name).read_bytes() for name in names} == {name: name.encode() for name in names}
    assert (folder / "inside").read_bytes() == b"with  spaces"
    assert (folder / "again").read_bytes() == b"..a/b.."


def test_a_truncated_archive_is_refused_at_every_length(tmp_path):
    archive, folder = tmp_path / "a.tar", tmp_path / "folder"
    folder.mkdir()
    write_tar(archive, GOOD, ("second.jpg", tarfile.REGTYPE, b"y" * 700))
    whole = archive.read_bytes()
    for length in (0, 100, 512, 1024, 1400, 1536, 2560, 3000):
        archive.write_bytes(whole[:length])
        done = unpack(archive, folder)
        assert (done.returncode, list(folder.iterdir())) == (1, []), length
        assert "is not a whole tar archive; nothing was unpacked" in done.stderr
    archive.write_bytes(whole)
    assert unpack(archive, folder).returncode == 0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["top/a", "top/b"], ["a", "b"]),
        (["top/a", "b"], ["b", "top"]),
        (["a", "b"], ["a", "b"]),
        (["top/a", ".hidden"], [".hidden", "top"]),
        (["a"], ["a"]),
    ],
)
def test_unpack_as_leaves_a_single_top_folder_out(tmp_path, names, expected):
    write_tar(tmp_path / "a.tar", *[(name, tarfile.REGTYPE, b"1") for name in names])
    (tmp_path / ".val.unpacking").mkdir()  # left by a call that was killed
    (tmp_path / ".val.unpacking" / "stale").write_text("old")
    assert unpack(tmp_path / "a.tar", tmp_path / "val", "unpack_as").returncode == 0
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "val"]
