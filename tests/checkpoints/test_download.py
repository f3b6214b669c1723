"""One file out of the network: whole and checked, or one line and nothing left."""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import socket
from pathlib import Path

import pytest

from tests.helpers.faulty_server import Served, serving
from urnet.checkpoints.download import fetch
from urnet.core.checks import InputError

BODY = bytes(range(256)) * 4000
MD5 = ("md5", hashlib.md5(BODY).hexdigest())
REMEDY = "put it there by hand"


def fetched(tmp_path: Path, served: Served, **how: object) -> Path:
    """The file at a folder that is not there yet."""
    with serving({"/w.pdparams": served}) as address:
        return fetch(f"{address}/w.pdparams", tmp_path / "a" / "b" / "w.pdparams", MD5, remedy=REMEDY, **how)


def refused(tmp_path: Path, served: Served, **how: object) -> str:
    """The one line of a download that fails; nothing is left."""
    with pytest.raises(InputError) as caught:
        fetched(tmp_path, served, **how)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(REMEDY) and "w.pdparams" in text
    assert list(tmp_path.iterdir()) == []
    return text


def test_a_file_comes_whole_and_is_not_fetched_twice(tmp_path: Path) -> None:
    """Also where it is larger than a block; the second call asks the server nothing."""
    served = Served(BODY)
    with serving({"/w.pdparams": served}) as address:
        for _ in range(2):
            found = fetch(f"{address}/w.pdparams", tmp_path / "w.pdparams", MD5, remedy=REMEDY, block=1000)
            assert found.read_bytes() == BODY
    assert len(served.starts) == 1
    assert [item.name for item in tmp_path.iterdir()] == ["w.pdparams"]


def test_a_wrong_file_of_its_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "w.pdparams").write_bytes(BODY[:-1])
    assert fetched(tmp_path, Served(BODY)).read_bytes() == BODY


def test_a_broken_transfer(tmp_path: Path) -> None:
    assert f"broke off after 1000 of {len(BODY)} bytes" in refused(tmp_path, Served(BODY, plan=[1000]))


def test_a_server_that_falls_silent(tmp_path: Path) -> None:
    assert "broke off (timed out)" in refused(tmp_path, Served(BODY, plan=[-1000]), seconds=0.2)


def test_a_wrong_checksum(tmp_path: Path) -> None:
    other = BODY[::-1]
    text = refused(tmp_path, Served(other))
    assert hashlib.md5(other).hexdigest() in text and MD5[1] in text


@pytest.mark.parametrize("status", ["404", "403", "500", "503"])
def test_a_status_that_is_no_file(tmp_path: Path, status: str) -> None:
    assert f"the server returns {status} " in refused(tmp_path, Served(BODY, plan=[status]))


def test_a_web_page_in_the_place_of_the_file(tmp_path: Path) -> None:
    assert "HTML page" in refused(tmp_path, Served(b"<html>log in</html>", kind="text/html; charset=utf-8"))


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/w.pdparams"
        with pytest.raises(InputError, match=r"cannot be reached \(Connection refused\)") as caught:
            fetch(address, tmp_path / "a" / "w.pdparams", MD5, remedy=REMEDY)
    assert str(caught.value).endswith(REMEDY)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the write fails in the middle."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, limits[1]))
    try:
        text = refused(tmp_path, Served(BODY), block=1 << 16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written (File too large)" in text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        serving({"/w.pdparams": Served(BODY)}) as address,
        pytest.raises(InputError, match="cannot be written") as caught,
    ):
        fetch(f"{address}/w.pdparams", tmp_path / "file" / "w.pdparams", MD5, remedy=REMEDY)
    assert str(caught.value).endswith(REMEDY)


def _fetch_one(address: str, folder: Path) -> None:
    fetch(f"{address}/w.pdparams", folder / "w.pdparams", MD5, remedy=REMEDY)


def test_of_several_processes_one_downloads(tmp_path: Path) -> None:
    served = Served(BODY)
    with serving({"/w.pdparams": served}) as address:
        workers = [
            multiprocessing.get_context("fork").Process(target=_fetch_one, args=(address, tmp_path)) for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(served.starts) == 1
    assert [item.name for item in tmp_path.iterdir()] == ["w.pdparams"]
