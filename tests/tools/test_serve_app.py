"""The service's answers, limits and refusals over real HTTP, with an engine that a test holds or breaks."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from tests.helpers.picture_files import encode, picture
from tests.helpers.serve_server import BODY, PNG, Held, Server, expected, refused, until
from tools.service.app import HELD
from tools.service.client import Ask, ask_once, form


@pytest.fixture(scope="module")
def module_server():
    server = Server(Held())
    yield server
    server.close()


@pytest.fixture
def server(module_server):
    yield module_server
    module_server.compute.error = None
    module_server.compute.go.set()
    until(lambda: module_server.pipeline.pending == 0)


@pytest.fixture
def hasty():
    """A server that gives a request no time, over an engine that is held."""
    server = Server(Held(), seconds=1.0)
    server.compute.go.clear()
    yield server
    server.close()


def test_one_image_as_the_body_and_several_in_a_form(server):
    other = encode(".jpg", picture(20, 60, seed=3))
    status, body = ask_once(server.port, Ask(PNG, "image/png"))
    assert status == 200
    assert json.loads(body) == {"model": "toy", "images": [{"file": "", **expected(PNG), "error": ""}]}
    request = form([("a b.png", PNG), ("é.jpg", other), ("", b"no image")])
    status, body = ask_once(server.port, request, "?topk=2")
    assert status == 200
    first, second, third = json.loads(body)["images"]
    assert first == {"file": "a b.png", **expected(PNG, 2), "error": ""}
    assert second == {"file": "é.jpg", **expected(other, 2), "error": ""}
    error = "no JPEG, PNG, GIF, WebP, BMP or TIFF file"
    assert third == {"file": "", "classes": [], "scores": [], "names": [], "error": error}


def test_an_image_has_the_limit_of_pixels_before_it_is_decoded(server):
    status, body = ask_once(server.port, Ask(encode(".png", picture(101, 100)), "image/png"))
    error = json.loads(body)["images"][0]["error"]
    assert (status, error) == (200, "the header claims 100 x 101 pixels; at most 10000 are accepted")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        *(
            (f"?topk={word}", f"topk: found {word[:40]!r}; accepted: 1 to 7")
            for word in ("0", "8", "-1", "1.0", "9" * 99)
        ),
        ("?topk=%C2%B2", "topk: found '²'; accepted: 1 to 7"),
        ("?topK=1", "query: found 'topK'; accepted: topk, once"),
        ("?topk=1&topk=2", "query: found 'topk&topk'; accepted: topk, once"),
    ],
)
def test_topk_is_a_number_of_classes_and_nothing_else_is_asked(server, query, said):
    assert refused(server, Ask(PNG, "image/png"), query) == (400, said)


def test_other_places_and_methods_are_refused(server):
    places = [("GET", "/x"), ("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/predict/"), ("GET", "/health/")]
    for status, method, path in [*((404, *place) for place in places), (405, "GET", "/predict"), (405, "POST", "/")]:
        found, headers, text = server.get(path, method)
        assert found == status and "location" not in headers
        assert text.endswith("; accepted: GET /, GET /health, POST /predict\n") and text.count("\n") == 1


GOOD = form([("a.png", PNG)])


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (Ask(b"a=1", "application/x-www-form-urlencoded"), 415, "content type: found 'application/x-www-form"),
        (Ask(PNG, "text/plain"), 415, "accepted: multipart/form-data with a field `image`, or image/*"),
        (Ask(GOOD.body, "multipart/form-data"), 400, "without a boundary"),
        (Ask(GOOD.body[:-9]), 400, "form: is cut off"),
        (Ask(form([("a", PNG), ("b", PNG)]).body[: -len(PNG) // 2]), 400, "form: is cut off"),
        (Ask(GOOD.body, GOOD.kind + "0"), 400, "form: damaged"),
        (Ask(GOOD.body, f"multipart/form-data; boundary={'b' * 300}"), 400, "form: damaged"),
        (Ask(b""), 400, "form: is cut off"),
        (form([]), 400, "form: "),
        (form([("a", PNG)], field="img"), 400, "form: found a field 'img'; accepted: `image`"),
        (form([("a", b"")] * 6), 413, "at most 5 images are accepted in a request"),
    ],
)
def test_what_is_no_form_of_images_is_refused(server, request_, status, said):
    found, text = refused(server, request_)
    assert (found, said in text) == (status, True), text


def test_a_body_over_the_limit_is_refused_and_the_client_hears_it(server):
    for size in (BODY + 1, 4 * BODY - 1):
        assert refused(server, Ask(bytes(size), "image/png")) == (413, "body: at most 100000 bytes are accepted")
    in_pieces = server.get("/predict", "POST", iter([bytes(30_000)] * 5), {"Content-Type": "image/png"})
    assert in_pieces[0] == 413  # without a length beforehand
    assert ask_once(server.port, Ask(bytes(BODY), "image/png"))[0] == 200
    assert server.service._held == 0


def test_a_full_queue_answers_429_and_when_to_come_again(server):
    server.compute.go.clear()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask_once, server.port, form([("a", PNG)] * 4)) for _ in range(2)]
        until(lambda: server.pipeline.pending == 8)
        status, headers, text = server.get("/predict", "POST", PNG, {"Content-Type": "image/png"})
        assert (status, text) == (429, "the queue of 8 images is full; try again\n")
        assert int(headers["Retry-After"]) >= 1
        health = server.health()  # which answers all the while
        assert (health["queue"], health["queue_limit"]) == (8, 8)
        server.compute.go.set()
        assert [future.result()[0] for future in waiting] == [200, 200]


def test_no_answer_in_time_is_504_and_its_places_are_free_again(hasty):
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask_once, hasty.port, form([("a", PNG)] * 4)) for _ in range(2)]
        assert [future.result()[0] for future in waiting] == [504, 504]
    until(lambda: hasty.pipeline.pending == 0)
    assert hasty.health()["late"] == 2


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"


def test_a_body_that_does_not_arrive_is_408(hasty):
    with socket.create_connection(("127.0.0.1", hasty.port)) as connection:
        connection.sendall(HEAD + b"abc")
        found = connection.recv(1 << 16)
        while b"seconds" not in found and (data := connection.recv(1 << 16)):
            found += data
    assert found.startswith(b"HTTP/1.1 408 ") and b"the body did not arrive within 1 seconds" in found
    until(lambda: hasty.service._held == 0)


def test_half_sent_bodies_are_held_up_to_a_limit_in_all(server):
    before = server.service.counts["refused"]
    with contextlib.ExitStack() as stack:
        for _ in range(HELD + 4):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(HEAD + bytes(BODY - 1))
        until(lambda: server.service.counts["refused"] >= before + 4)
        assert server.service._held <= HELD * BODY
    until(lambda: server.service._held == 0)


def test_a_failing_engine_is_500_without_a_traceback(server, capfd):
    server.compute.error = RuntimeError("secret detail")
    assert refused(server, Ask(PNG, "image/png")) == (500, "the model failed; the service's log says why")
    assert "secret detail" in capfd.readouterr().err
    server.compute.error = None
    assert ask_once(server.port, Ask(PNG, "image/png"))[0] == 200


def test_a_fault_of_the_service_itself_is_500_too(server, monkeypatch):
    monkeypatch.setattr(server.service, "_entry", lambda *_: 1 / 0)
    assert refused(server, Ask(PNG, "image/png")) == (500, "the service failed; its log says why")


def test_health_counts_what_happened_and_says_whether_there_is_an_engine(server):
    before = server.health()
    ask_once(server.port, form([("a", PNG), ("b", b"x")]))
    ask_once(server.port, Ask(b"", "text/plain"))
    after = server.health()
    grown = {key: after[key] - before[key] for key in ("requests", "images", "unreadable", "refused", "computed")}
    assert grown == {"requests": 2, "images": 2, "unreadable": 1, "refused": 1, "computed": 1}
    assert (after["status"], after["model"], after["classes"], after["queue"]) == ("ok", "toy", 7, 0)
    server.alive = False
    assert (server.get("/health")[0], server.health()["status"]) == (503, "failed")
    server.alive = True


def test_the_page_loads_nothing_from_elsewhere(server):
    status, headers, page = server.get("/")
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"(?:https?:)?//[\w.]+", page.replace("// ", "")) == []
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
