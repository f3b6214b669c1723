"""tools/review.py: it says where the page is, keeps what is decided, ends at Ctrl-C, and refuses in one line."""

import contextlib
import csv
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.helpers.review import make_list
from tools import review
from urnet.core import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path):
    return make_list(tmp_path)


@contextlib.contextmanager
def running(*arguments):
    """The command with its page's address."""
    command = [sys.executable, "tools/review.py", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("review http://127.0.0.1:"), process.stderr.read()
            yield process, line.split()[1]
        finally:
            process.kill()


def asked(address, body=None):
    request = urllib.request.Request(address, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def refused(capsys, *arguments):
    capsys.readouterr()
    assert cli.run(review.main, [*map(str, arguments)]) == cli.BAD_INPUT
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    return line


def test_it_runs_until_ctrl_c_and_the_next_start_goes_on(file, capsys):
    decide = {"rows": [0, 3], "shows": 1, "was": [["", -1], ["", -1]], "show": "suspects"}
    with running(file, "--port", 0) as (process, address):
        assert len(address.rstrip("/").rpartition("/")[2]) == 22
        with urllib.request.urlopen(address) as page:
            assert "<h1" in page.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address[: address.rstrip("/").rindex("/") + 1])
        assert asked(address + "decide", decide)["left"] == 8
        with file.with_name("decisions.csv").open(newline="", encoding="utf-8") as stream:
            assert [row["path"] for row in csv.DictReader(stream)] == ["ant/000.png", "ant/003.png"]
        held = f"error: {file.with_name('decisions.csv')}: another program is writing it; stop that program"
        assert refused(capsys, file).startswith(held)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1].splitlines()
        assert process.returncode == cli.DONE
    assert said[0] == f"note: the pictures are read from {file.parent}/photos (to change this, give --root)"
    assert said[-2] == f"{file.with_name('decisions.csv')}: 2 pictures are decided"
    held = "-o data.val_root=null -o data.val_split=0.1"
    keys = f"-o data.root={file.parent}/photos {held} -o data.decisions={file.with_name('decisions.csv')}"
    assert said[-1] == f"next: python train.py -c recipes/folder.yaml {keys}"
    with running(file, "--port", 0) as (_, other):
        state = asked(other + "state")
        assert other != address and state["counts"]["relabel"] == 2 and state["left"] == 8


def test_a_taken_port_is_passed_by_unless_it_was_asked_for(capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(review, "PORT", port)
        args = review.parser().parse_args(["list.csv"])
        with review._listening(args) as listener:
            assert listener.getsockname()[1] > port
        assert f"note: port {port} is in use" in capsys.readouterr().err
        args = review.parser().parse_args(["list.csv", "--port", str(port)])
        with pytest.raises(review.InputError, match=f"--port {port}: cannot listen there"), review._listening(args):
            pass


def test_what_is_refused_is_said_in_a_line(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "nothere.csv: cannot be read (No such file or directory)" in refused(capsys, "nothere.csv")
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,0\n")
    assert "labels.csv: has no column given; the CSV that tools/suspects.py writes is accepted" in refused(
        capsys, "labels.csv"
    )
    assert "--root nowhere: does not exist" in refused(capsys, file, "--root", "nowhere")
    assert "--val suspects.csv: is not a folder" in refused(capsys, file, "--val", "suspects.csv")
    assert "--class_names photos: cannot be read" in refused(capsys, file, "--class_names", "photos")
    assert "--port: found 65536; 0 to 65535 is accepted" in refused(capsys, file, "--port", 65536)
    (tmp_path / "photos").rename(tmp_path / "a")
    line = refused(capsys, file, "--root", tmp_path / "a", "--decisions", tmp_path)
    assert line == f"error: {tmp_path}: is a folder; a file's path is needed"
    (tmp_path / "b").symlink_to(tmp_path / "a")  # the same folder, which is no doubt
    make_list(tmp_path / "c")
    line = refused(capsys, file)
    assert line.endswith(f"is in {tmp_path}/a and in {tmp_path}/c/photos; give the right one with --root DIR")
    (tmp_path / "far").mkdir()
    monkeypatch.chdir(tmp_path / "far")
    moved = file.rename(tmp_path / "far/suspects.csv")
    line = refused(capsys, moved)
    assert line == (
        f"error: ant/000.png: no folder in {tmp_path}/far has this picture and the list's others; give it with "
        "--root DIR"
    )


def test_what_the_service_needs_is_named_where_it_is_not_installed(file, capsys, monkeypatch):
    monkeypatch.setattr(review, "NEEDED", ("starlette", "nowhere_at_all"))
    assert refused(capsys, file) == 'error: not installed: nowhere_at_all; `pip install -e ".[serve]"` brings them'
