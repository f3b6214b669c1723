"""tools/serve.py as a process over an exported network: answers, hostile bodies, signals, a dead engine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from tests.helpers.hostile_requests import hostile
from tests.helpers.picture_files import kinds
from tests.helpers.serve import exported_toys
from tests.helpers.serve_server import until
from tools import serve
from tools.service.client import ROOT, Ask, ask, ask_once, form, load, running
from tools.service.engine import Engine, EngineFailed
from urnet.core.checks import InputError
from urnet.inference.signature import read_signature

N_HOSTILE, MOST_BYTES = 200, 48 << 20


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return exported_toys(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def service(toys, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "err"
    with running(toys[1], "--batch_size", "4", "--max_pixels", "1000000", log=log) as found:
        yield found


def blobs(toys):
    return [(name, (toys.images / name).read_bytes()) for name in toys.names]


def check(toys, entries):
    """Answers of all toy images, in order: the live network's, within a thousandth."""
    for i, entry in enumerate(entries):
        best = toys.ranking[i][: len(entry["classes"])]
        assert entry["classes"] == best.tolist()
        assert entry["scores"] == pytest.approx(toys.expected[i][best].tolist(), abs=1e-3)


def test_the_answers_are_the_live_network_s(toys, service):
    """In a form, each alone, over one connection, and of many clients at once."""
    toys, _ = toys
    status, body = ask_once(service.port, form(blobs(toys)), "?topk=7")
    assert status == 200
    check(toys, json.loads(body)["images"])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port)) as connection:
        one_by_one = [ask(connection, Ask(data, "image/png")) for _, data in blobs(toys)]
    check(toys, [json.loads(body)["images"][0] for _, body in one_by_one])
    _, _, statuses = load(service.port, [form([blob]) for blob in blobs(toys)] * 6, 8)
    assert statuses == [200] * 6 * len(toys.names)


def test_hostile_bodies_neither_end_the_service_nor_fill_its_memory(toys, service):
    toys, _ = toys
    requests = hostile(N_HOSTILE, list(kinds().values()), bomb_side=1500)
    for request in requests[:20]:
        ask_once(service.port, request)
    before, statuses = service.rss(), set()
    for request in requests[20:]:
        status, body = ask_once(service.port, request)
        assert b"Traceback" not in body
        statuses.add(status)
    assert {200, 400, 415} <= statuses <= {0, 200, 400, 413, 415}
    assert service.rss() - before < MOST_BYTES
    assert service.process.poll() is None
    status, body = ask_once(service.port, form(blobs(toys)))
    check(toys, json.loads(body)["images"])


def engine_of(service):
    """The process id of the service's engine."""
    (engine,) = [
        child
        for file in Path(f"/proc/{service.process.pid}/task").glob("*/children")
        for child in file.read_text().split()
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return int(engine)


def is_gone(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def test_a_dead_engine_costs_its_batch_and_ends_the_service_for_a_supervisor_to_restart(toys, tmp_path):
    toys, folder = toys
    with running(folder, "--timeout", "60", log=tmp_path / "err") as service:
        engine = engine_of(service)
        os.kill(engine, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask_once, service.port, form(blobs(toys)[:1]))
            until(lambda: health(service)["queue"] == 1)
            os.kill(engine, signal.SIGKILL)
            assert waiting.result() == (500, b'{"error": "the model failed; the service\'s log says why"}\n')
        assert service.process.wait() == 1
    *_, last = (tmp_path / "err").read_text().splitlines()
    assert last == "failed: EngineFailed: the engine's process ended with exit code -9, so the service stops"


def test_an_engine_that_hangs_is_killed_and_has_failed_for_good(toys):
    toys, folder = toys
    signature = read_signature(folder)
    images = np.stack([signature.prepare(data) for _, data in blobs(toys)[:2]])
    with Engine(signature, batch_size=2, threads=1, precision="fp32", patience=5) as engine:
        assert engine(images) == pytest.approx(toys.expected[:2], abs=1e-4)
        assert not engine.ended()
        os.kill(engine.process.pid, signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(EngineFailed, match="ended, or was killed because it did not respond"):
                engine(images)
        assert engine.ended(None)


def test_more_connections_than_it_keeps_up_with_are_refused_and_sigterm_ends_it_though_its_engine_hangs(toys, tmp_path):
    toys, folder = toys
    flags = ["--timeout", "1", "--queue", "1", "--max_images", "1"]
    with running(folder, *flags, log=tmp_path / "err") as service:
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            crowded = (503, b'{"error": "too many connections are open; try again"}\n')
            until(lambda: ask_once(service.port, form(blobs(toys)[:1])) == crowded)
        until(lambda: ask_once(service.port, form(blobs(toys)[:1]))[0] == 200)
        engine = engine_of(service)
        os.kill(engine, signal.SIGSTOP)
        assert ask_once(service.port, form(blobs(toys)[:1]))[0] == 504
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait() == 143
    assert is_gone(engine)


def test_sigterm_lets_it_finish_what_has_begun(toys, tmp_path):
    toys, folder = toys
    request = form(blobs(toys))
    with running(folder, "--timeout", "60", log=tmp_path / "err") as service:
        engine = engine_of(service)
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {request.kind}\r\n"
            connection.sendall(f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode())
            half = len(request.body) // 2
            connection.sendall(request.body[:half])
            until(lambda: health(service)["requests"] == 1)
            service.process.send_signal(signal.SIGTERM)
            os.kill(engine, signal.SIGTERM)  # as systemd does, to all processes of a service
            until(lambda: refuses(service.port))
            connection.sendall(request.body[half:])
            found = b""
            while data := connection.recv(1 << 16):
                found += data
        assert found.startswith(b"HTTP/1.1 200 ")
        check(toys, json.loads(found.partition(b"\r\n\r\n")[2])["images"])
        assert service.process.wait() == 143
    assert (tmp_path / "err").read_text().splitlines()[1:] == ["terminated"]
    assert is_gone(engine)


def health(service):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port)) as connection:
        connection.request("GET", "/health")
        return json.loads(connection.getresponse().read())


def refuses(port):
    """Whether nothing listens at the port any more."""
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return False
    return True


def test_an_engine_does_not_outlive_a_service_that_was_killed(toys, tmp_path):
    with running(toys[1], log=tmp_path / "err") as service:
        engine = engine_of(service)
        service.process.kill()
        service.process.wait()
        until(lambda: is_gone(engine))


# --- folders that cannot be served


@pytest.fixture
def served(toys, tmp_path):
    """A copy of the folder, without hashes as infer.py --save_inference writes it; a test spoils it."""
    folder = tmp_path / "served"
    shutil.copytree(toys[1], folder)
    signature = json.loads((folder / "signature.json").read_text())
    del signature["files"]
    (folder / "signature.json").write_text(json.dumps(signature))
    return folder


def open_engine(signature):
    with Engine(signature, batch_size=2, threads=1, precision="fp32"):
        pass


def test_a_folder_that_lacks_its_weights_is_refused(served):
    (served / "model.pdiparams").unlink()
    with pytest.raises(InputError, match=r"served/model\.pdiparams: cannot be read"):
        open_engine(read_signature(served))


def test_a_signature_that_is_not_the_model_s_is_refused(served):
    """One of other classes; and one that was read before the folder was replaced."""
    other = replace(read_signature(served), class_names=tuple(f"other {c}" for c in range(7)))
    with pytest.raises(InputError, match="served: was replaced while it was being opened; start the service again"):
        open_engine(other)
    signature = json.loads((served / "signature.json").read_text())
    signature["output"]["shape"][1], signature["class_names"] = 9, []
    (served / "signature.json").write_text(json.dumps(signature))
    said = r"served/signature\.json: output\.shape: says 9 classes, but the model's output is \(2, 7\)"
    with pytest.raises(InputError, match=said):
        open_engine(read_signature(served))


def test_a_model_that_is_not_the_exported_one_is_refused_in_a_line(toys, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(toys[1], broken)
    (broken / "model.pdiparams").write_bytes((broken / "model.pdiparams").read_bytes()[:-1000])
    command = [sys.executable, str(ROOT / "tools" / "serve.py"), "--model", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: \S+model\.pdiparams: is not the file that was exported .*\n", done.stderr)


# --- flags


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--queue", "0"], "--queue: found 0; 1 or more is accepted"),
        (["--timeout", "nan"], "--timeout: found nan; more than 0 is accepted"),
        (["--port", "65536"], "--port: found 65536; 0 to 65535 is accepted"),
        (["--max_images", "9", "--queue", "8"], "--max_images: found 9, but --queue is 8"),
        *(
            (["--cors", word], f"--cors: found {word!r}; accepted: scheme://host[:port] in small letters")
            for word in (
                "null",
                "example.com",
                "https://a.example/",
                "https://a.example/x",
                "https://A.example",
                "",
                "https://a.example:443",
                "http://a.example:80",
                "https://*.example",
                "https://u@a.example",
                "https://a.example,https://b.example",
                "https://a.example b",
                "https://ä.example",
            )
        ),
        (["--precision", "fp16"], "--precision: invalid choice: 'fp16'"),
    ],
)
def test_flags_that_cannot_be_are_refused_in_a_line(flags, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        serve.main(["--model", "x", *flags])
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_origins_are_written_as_browsers_send_them():
    origins = [
        "https://a.example",
        "http://127.0.0.1:3000",
        "http://[::1]:8080",
        "https://a.example:80",
        "capacitor://app",
        "*",
    ]
    assert serve.parse(["--model", "x", *chain(*(("--cors", origin) for origin in origins))]).cors == origins
    assert serve.parse(["--model", "x"]).cors == []


def test_an_address_is_bound_before_the_model_is_opened_and_an_open_one_is_said_to_be_open(capsys):
    with serve.listening("0.0.0.0", 0):
        assert "0.0.0.0: other machines can reach it, without TLS or passwords" in capsys.readouterr().err
    with serve.listening("127.0.0.1", 0) as listener:
        assert capsys.readouterr().err == ""
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", serve.address(listener))
        port = listener.getsockname()[1]
        listener.listen()
        with pytest.raises(InputError, match="cannot listen there"), serve.listening("127.0.0.1", port):
            pass
