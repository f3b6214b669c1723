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
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from tests.helpers.serve import exported_toys
from tools import serve
from tools.fuzz_doors import image_seeds
from tools.service import engine
from tools.service.client import ROOT, Ask, ask, ask_once, form, hostile, load, running
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
    toys, _ = toys
    status, body = ask_once(service.port, form(blobs(toys)), "?topk=7")
    assert status == 200
    check(toys, json.loads(body)["images"])
    one_by_one = [ask_once(service.port, Ask(data, "image/png")) for _, data in blobs(toys)]
    check(toys, [json.loads(body)["images"][0] for _, body in one_by_one])


def test_many_clients_at_once_get_their_own_answers(toys, service):
    toys, _ = toys
    requests = [form([blob]) for blob in blobs(toys)] * 6
    _, _, statuses = load(service.port, requests, 8)
    assert statuses == [200] * len(requests)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)) as connection:
        for _ in range(3):  # over one connection
            status, body = ask(connection, form(blobs(toys)[:5]))
            assert status == 200
            check(toys, json.loads(body)["images"])


def test_hostile_bodies_neither_end_the_service_nor_fill_its_memory(toys, service):
    toys, _ = toys
    seeds = image_seeds()
    requests = hostile(N_HOSTILE, seeds, bomb_side=1500)
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
    """The process id of the service's only child."""
    tasks = Path(f"/proc/{service.process.pid}/task")
    (child,) = [child for file in tasks.glob("*/children") for child in file.read_text().split()]
    return int(child)


def health(service):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)) as connection:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def in_time(service, request):
    """The first answer that is not 504: an engine takes a while to start."""
    end = time.monotonic() + 60
    while (answer := ask_once(service.port, request))[0] == 504:
        assert time.monotonic() < end
    return answer


def test_an_engine_that_died_while_nothing_was_asked_costs_no_answer(toys, service):
    toys, _ = toys
    os.kill(engine_of(service), signal.SIGKILL)
    time.sleep(0.2)
    status, body = in_time(service, form(blobs(toys)[:1]))
    assert status == 200
    check(toys, json.loads(body)["images"])


def test_a_dead_engine_costs_its_batch_and_is_replaced_at_once(toys, service):
    toys, _ = toys
    engine = engine_of(service)
    os.kill(engine, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask_once, service.port, form(blobs(toys)[:1]))
        while not health(service)[1]["queue"]:
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(engine, signal.SIGKILL)
        assert waiting.result(30) == (500, b"the model failed; the service's log says why\n")
    status, found = health(service)
    assert (status, found["status"]) == (503, "failed")
    end = time.monotonic() + 60
    while health(service)[0] == 503:  # nobody has to ask for it
        assert time.monotonic() < end
        time.sleep(0.1)
    status, body = ask_once(service.port, form(blobs(toys)[:1]))
    assert status == 200
    check(toys, json.loads(body)["images"])


def test_a_folder_that_was_replaced_is_not_opened_under_the_old_names(toys, tmp_path):
    toys, folder = toys
    served = tmp_path / "served"
    shutil.copytree(folder, served)
    with running(served, "--timeout", "30", log=tmp_path / "err") as service:
        signature = json.loads((served / "signature.json").read_text())
        signature["class_names"] = [f"other {c}" for c in range(7)]
        (served / "signature.json").write_text(json.dumps(signature))
        os.kill(engine_of(service), signal.SIGKILL)
        status, _ = ask_once(service.port, form(blobs(toys)[:1]))
        assert (status, health(service)[0]) == (500, 503)
        said, end = "was replaced while it was served; start the service again", time.monotonic() + 60
        while said not in (tmp_path / "err").read_text():  # the request may have met the dying engine
            assert time.monotonic() < end
            time.sleep(0.1)
        shutil.copy(folder / "signature.json", served)
        end = time.monotonic() + 60
        while health(service)[0] == 503:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_sigterm_ends_a_service_whose_engine_hangs(toys, tmp_path):
    toys, folder = toys
    with running(folder, "--timeout", "1", log=tmp_path / "err") as service:
        engine = engine_of(service)
        os.kill(engine, signal.SIGSTOP)
        assert ask_once(service.port, form(blobs(toys)[:1]))[0] == 504
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)


def test_an_engine_that_hangs_is_killed_and_replaced(toys, monkeypatch):
    toys, folder = toys
    signature = read_signature(folder)
    images = np.stack([signature.prepare(data) for _, data in blobs(toys)[:2]])
    with engine.EngineProcess(signature, batch_size=2, threads=1, precision="fp32") as running:
        expected = running(images)
        monkeypatch.setattr(running, "_patience", 0.5)
        running._process.send_signal(signal.SIGSTOP)
        with pytest.raises(engine.EngineFailed, match="ended with -9"):
            running(images)
        monkeypatch.undo()
        running.revive()
        np.testing.assert_array_equal(running(images), expected)
        assert running.starts == 2


@pytest.mark.parametrize("n_classes", [4, 9])
def test_a_signature_of_other_classes_than_the_model_s_is_refused(toys, tmp_path, n_classes, capfd):
    _, folder = toys
    served = tmp_path / "served"
    shutil.copytree(folder, served)
    signature = json.loads((served / "signature.json").read_text())
    signature["output"]["shape"][1], signature["class_names"] = n_classes, []
    (served / "signature.json").write_text(json.dumps(signature))
    with pytest.raises(InputError, match="served: the engine refuses it; the line above says why"):
        engine.EngineProcess(read_signature(served), batch_size=2, threads=1, precision="fp32")
    said = f"served/signature.json: output.shape: says {n_classes} classes, the model's answer is (2, 7)"
    assert said in capfd.readouterr().err


def test_sigterm_lets_it_finish_what_has_begun(toys, tmp_path):
    toys, folder = toys
    request = form(blobs(toys))
    with running(folder, log=tmp_path / "err") as service:
        engine = engine_of(service)
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {request.kind}\r\n"
            connection.sendall(f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode())
            half = len(request.body) // 2
            connection.sendall(request.body[:half])
            time.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(request.body[half:])
            found = b""
            while data := connection.recv(1 << 16):
                found += data
        assert found.startswith(b"HTTP/1.1 200 ")
        check(toys, json.loads(found.partition(b"\r\n\r\n")[2])["images"])
        assert service.process.wait(30) == 143
    assert (tmp_path / "err").read_text() == "terminated\n"
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)


def test_a_model_that_cannot_be_opened_is_refused(toys, tmp_path):
    _, folder = toys
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.pdiparams").write_bytes((folder / "model.pdiparams").read_bytes()[:-1000])
    command = [sys.executable, str(ROOT / "tools" / "serve.py"), "--model", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: \S+model\.pdiparams: is not the file that was exported .*\n", done.stderr)


def test_a_folder_without_hashes_that_lacks_its_weights_is_refused(toys, tmp_path):
    _, folder = toys
    served = tmp_path / "served"
    shutil.copytree(folder, served)
    signature = json.loads((served / "signature.json").read_text())
    del signature["files"]  # as infer.py --save_inference writes it
    (served / "signature.json").write_text(json.dumps(signature))
    (served / "model.pdiparams").unlink()
    with pytest.raises(InputError, match=r"served/model\.pdiparams: cannot be read"):
        engine.EngineProcess(read_signature(served), batch_size=2, threads=1, precision="fp32")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--queue", "0"], "--queue: found 0; above 0 is accepted"),
        (["--timeout", "nan"], "--timeout: found nan; above 0 is accepted"),
        (["--port", "65536"], "--port: found 65536; 0 to 65535 is accepted"),
        (["--max_images", "9", "--queue", "8"], "--max_images: found 9, but --queue is 8"),
        (["--precision", "fp16"], "--precision: 'fp16' is not known; nearest: bf16, fp32"),
    ],
)
def test_flags_that_cannot_be_are_refused(flags, said):
    args = serve.parser().parse_args(["--model", "x", *flags])
    with pytest.raises(InputError, match="^" + re.escape(said)):
        serve.check(args)


def test_a_port_in_use_is_refused_before_the_model_is_opened():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="cannot be listened on"), serve.listening("127.0.0.1", port):
            pass


def test_an_open_address_is_said_to_be_open(capsys):
    with serve.listening("0.0.0.0", 0):
        assert "0.0.0.0: other machines reach it, without TLS or passwords" in capsys.readouterr().err
    with serve.listening("127.0.0.1", 0) as listener:
        assert capsys.readouterr().err == ""
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", serve.address(listener))
