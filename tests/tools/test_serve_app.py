"""The service's answers, limits and refusals over real HTTP, with an engine that a test holds or breaks."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gzip
import html
import json
import re
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from tests.helpers.picture_files import encode, picture
from tests.helpers.serve_server import BODY, PNG, SIGNATURE, Held, Server, expected, refused, sentence, until
from tools.service.app import HELD
from tools.service.client import Ask, ask_once, form
from urnet.data.images.header import ACCEPTED


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


def test_in_classes_is_said_where_the_model_knows_it(server, monkeypatch):
    monkeypatch.setattr(server.service, "signature", dataclasses.replace(SIGNATURE, in_classes=True))
    compute = server.pipeline._compute
    monkeypatch.setattr(server.pipeline, "_compute", lambda images: [(row, 0.25) for row in compute(images)])
    status, body = ask_once(server.port, form([("a.png", PNG), ("b.png", b"no image")]))
    good, bad = json.loads(body)["images"]
    assert (status, good) == (200, {"file": "a.png", **expected(PNG), "error": "", "in_classes": 0.25})
    assert bad["error"] and bad["in_classes"] is None


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
    error = f"a text file, not a picture; accepted: {ACCEPTED}"
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
    places = [("GET", "/x"), ("POST", "/predict/"), ("GET", "/health/"), ("GET", "/docs/"), ("GET", "/%5B%FF")]
    methods = [("GET", "/predict"), ("HEAD", "/predict"), ("OPTIONS", "/predict"), ("POST", "/"), ("DELETE", "/health")]
    for status, method, path in [*((404, *place) for place in places), *((405, *place) for place in methods)]:
        found, headers, text = server.get(path, method, headers={"Host": "[x"})
        assert found == status and "location" not in headers
        allowed = "" if status == 404 else "POST" if path == "/predict" else "GET, HEAD"
        assert set(headers.get("Allow", "").split(", ")) == set(allowed.split(", "))
        if method != "HEAD":
            said = sentence(text)
            assert f": {method} /" in said
            assert said.endswith("; accepted: GET /, GET /health, POST /predict, GET /docs, GET /openapi.json")


GOOD = form([("a.png", PNG)])


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (Ask(b"a=1", "application/x-www-form-urlencoded"), 415, "content type: found 'application/x-www-form"),
        (
            Ask(PNG, "text/plain"),
            415,
            "accepted: multipart/form-data, application/json, image/* or application/octet-str",
        ),
        (Ask(GOOD.body, "multipart/form-data"), 400, "without a boundary"),
        (Ask(GOOD.body[:-9]), 400, "form: is cut off"),
        (Ask(form([("a", PNG), ("b", PNG)]).body[: -len(PNG) // 2]), 400, "form: is cut off"),
        (Ask(GOOD.body, GOOD.kind + "0"), 400, "form: damaged"),
        (Ask(GOOD.body, f"multipart/form-data; boundary={'b' * 300}"), 400, "form: damaged"),
        (Ask(b""), 400, "form: is cut off"),
        (form([]), 400, "form: "),
        (
            form([("a", PNG)], field="img"),
            400,
            "form: found a field 'img'; accepted: `image`, `images`, `file` or `files`, each",
        ),
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
        assert (status, sentence(text)) == (429, "the queue of 8 images is full; try again")
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
    """Each of BODY bytes without its last, as it is or in a few bytes that unpack to it."""
    packed = gzip.compress(bytes(BODY))
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
    bodies = [HEAD + bytes(BODY - 1), HEAD.replace(b"Content-Length: 100000\r\n", head) + packed[:-1]]
    before = server.service.counts["refused"]
    with contextlib.ExitStack() as stack:
        for i in range(HELD + 4):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(bodies[i % 2])
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


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_elsewhere(server, path):
    status, headers, page = server.get(path)
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    assert "{{" not in page
    assert re.findall(r"(?:https?:)?//[\w.]+", page.replace("// ", "")) == []
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]


def test_the_description_names_every_address_and_the_page_shows_it(server):
    status, headers, text = server.get("/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    tree = json.loads(text)
    assert {(path, method) for path, methods in tree["paths"].items() for method in methods} == {
        ("/", "get"), ("/health", "get"), ("/predict", "post"), ("/docs", "get"), ("/openapi.json", "get")
    }  # fmt: skip
    predict = tree["paths"]["/predict"]["post"]
    assert predict["parameters"][0]["schema"] == {"type": "integer", "minimum": 1, "maximum": 7}
    page = html.unescape(server.get("/docs")[2])
    for said in (f"At most 5 images and {BODY:,} bytes", *predict["requestBody"]["content"], *predict["responses"]):
        assert said in page
    example = predict["responses"]["200"]["content"]["application/json"]["example"]
    assert example.keys() == json.loads(ask_once(server.port, Ask(PNG, "image/png"))[1]).keys()
    assert json.dumps(example) in page


def test_head_answers_as_get_without_a_body(server):
    for path in ("/", "/health", "/docs", "/openapi.json"):
        got, headers, text = server.get(path)
        status, found, nothing = server.get(path, "HEAD")
        assert (status, nothing) == (got, "") and text
        assert found["content-type"] == headers["content-type"]
        assert path == "/health" or found["content-length"] == headers["content-length"]


def test_more_connections_than_it_keeps_up_with_are_503_and_when_to_come_again(server):
    server.crowded = True
    status, headers, text = server.get("/health")
    assert (status, headers["Retry-After"], headers["Connection"]) == (503, "1", "close")
    assert sentence(text) == "too many connections are open; try again"
    server.crowded = False


CHUNKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\n"


@pytest.mark.parametrize("sent", [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", CHUNKED + b"xyz\r\n"])
def test_what_is_no_http_is_refused_in_json_too(server, sent):
    status, answer = ask_once(server.port, Ask(sent, ""))
    assert (status, sentence(answer.partition(b"\r\n\r\n")[2])) == (400, "the request is not readable HTTP/1.1")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_is_understood(server, tmp_path):
    (tmp_path / "é 1.png").write_bytes(PNG)
    (tmp_path / "b.json").write_text(json.dumps({"images": [base64.b64encode(PNG).decode()]}))
    for flags, names in [
        (["-F", "image=@é 1.png"], ["é 1.png"]),
        (["-F", "file=@é 1.png", "-F", "files[]=@é 1.png;filename=x;type=text/plain"], ["é 1.png", "x"]),
        (["--data-binary", "@é 1.png"], [""]),
        (["-H", "Content-Type: image/png", "--data-binary", "@é 1.png"], [""]),
        (["-H", "Content-Type;", "-X", "POST", "-T", "é 1.png"], [""]),  # in chunks, without a type
        (["-d", "@b.json"], [""]),
    ]:
        command = ["curl", "-sS", "--noproxy", "*", *flags, f"http://127.0.0.1:{server.port}/predict?topk=3"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(done.stdout)["images"] == [{"file": n, **expected(PNG, 3), "error": ""} for n in names]


# --- compressed bodies


def test_a_body_may_be_compressed(server):
    bodies = [
        (PNG, "image/png"),
        GOOD,
        (json.dumps({"image": base64.b64encode(PNG).decode()}).encode(), "application/json"),
    ]
    for body, kind, *_ in bodies:
        for encoding in ("gzip", "GZIP", "x-gzip", "identity, gzip"):
            headers = {"Content-Type": kind, "Content-Encoding": encoding}
            status, _, text = server.get("/predict", "POST", gzip.compress(body), headers)
            assert status == 200
            assert {**json.loads(text)["images"][0], "file": ""} == {"file": "", **expected(PNG), "error": ""}
    assert server.get("/predict", "POST", PNG, {"Content-Type": "image/png", "Content-Encoding": "identity"})[0] == 200


PACKED = gzip.compress(PNG)


@pytest.mark.parametrize(
    ("encoding", "body", "status", "said"),
    [
        ("br", PNG, 415, "content encoding: found 'br'; accepted: gzip"),
        ("deflate", PNG, 415, "content encoding: found 'deflate'; accepted: gzip"),
        ("gzip, gzip", PNG, 415, "content encoding: found 'gzip, gzip'; accepted: gzip"),
        (
            "gzip",
            PNG,
            400,
            "body: is not a valid gzip file (Error -3 while decompressing data: incorrect header check)",
        ),
        ("gzip", PACKED[:-1], 400, "body: the gzip file is cut off"),
        ("gzip", b"", 400, "body: the gzip file is cut off"),
        ("gzip", PACKED + PACKED, 400, "body: damaged; bytes follow the end of the gzip file"),
        ("gzip", gzip.compress(bytes(BODY + 1)), 413, "body: at most 100000 bytes are accepted, unpacked"),
        ("gzip", gzip.compress(bytes(50_000_000)), 413, "body: at most 100000 bytes are accepted, unpacked"),
    ],
)
def test_other_encodings_damaged_ones_and_bombs_are_refused(server, encoding, body, status, said):
    headers = {"Content-Type": "image/png", "Content-Encoding": encoding}
    found, headers, text = server.get("/predict", "POST", body, headers)
    assert (found, sentence(text)) == (status, said)
    assert headers.get("Accept-Encoding") == ("gzip" if status == 415 else None)
    assert server.service._held == 0


# --- pages of other origins

PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, content-encoding",
}


@pytest.fixture(scope="module")
def open_server():
    server = Server(Held(), origins=["https://a.example", "http://127.0.0.1:3000"])
    yield server
    server.close()


def allowed(answer):
    return {key: value for key, value in answer[1].items() if key.lower().startswith("access-control-")}


def test_without_origins_no_other_page_may_read_an_answer(server):
    assert server.get("/predict", "OPTIONS", headers={"Origin": "https://a.example", **PREFLIGHT})[0] == 405
    assert allowed(server.get("/health", headers={"Origin": "https://a.example"})) == {}


def test_pages_of_the_given_origins_may_ask_and_no_others(open_server):
    for origin in ("https://a.example", "http://127.0.0.1:3000"):
        status, headers, _ = open_server.get("/predict", "OPTIONS", headers={"Origin": origin, **PREFLIGHT})
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, origin)
        assert "Content-Encoding" in headers["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Credentials" not in headers
        for body, kind, status in ((PNG, "image/png", 200), (PNG, "text/plain", 415)):
            answer = open_server.get("/predict", "POST", body, {"Content-Type": kind, "Origin": origin})
            assert (answer[0], answer[1]["Access-Control-Allow-Origin"], answer[1]["Vary"]) == (
                status,
                origin,
                "Origin",
            )
    for origin in ("null", "https://a.example.evil.org", "https://evil-a.example", "http://a.example", "https://A.example",
                   "https://a.example:8443", "https://a.example/", "https://sub.a.example", "", "*"):  # fmt: skip
        status, headers, text = open_server.get("/predict", "OPTIONS", headers={"Origin": origin, **PREFLIGHT})
        assert status == 400 and "Access-Control-Allow-Origin" not in headers
        assert sentence(text).startswith("Disallowed CORS origin; accepted: ")
        answer = open_server.get("/predict", "POST", PNG, {"Content-Type": "image/png", "Origin": origin})
        assert answer[0] == 200 and "Access-Control-Allow-Origin" not in answer[1]
    headers = {"Origin": "https://a.example", **PREFLIGHT, "Access-Control-Request-Method": "DELETE"}
    assert sentence(open_server.get("/predict", "OPTIONS", headers=headers)[2]).startswith("Disallowed CORS method;")
    assert open_server.get("/predict", "OPTIONS")[0] == 405


def test_a_page_hears_what_failed(open_server, monkeypatch):
    monkeypatch.setattr(open_server.service, "_entry", lambda *_: 1 / 0)
    headers = {"Content-Type": "image/png", "Origin": "https://a.example"}
    status, headers, text = open_server.get("/predict", "POST", PNG, headers)
    assert (status, headers["Access-Control-Allow-Origin"]) == (500, "https://a.example")
    assert sentence(text) == "the service failed; its log says why"
