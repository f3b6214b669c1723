"""What the page asks for and gets: pictures by row only, and nothing for who lacks the token or is another page."""

import os

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.helpers.picture_files import encode, picture
from tests.helpers.review import NAMES, app_of, ask, make_list, review_of
from urnet.data.decisions import DecisionsFile
from urnet.review.opened import opened
from urnet.review.pictures import Pictures
from urnet.review.state import Review

OPEN = ["", -1]


@pytest.fixture
def file(tmp_path):
    return make_list(tmp_path)


@pytest.fixture
def review(file):
    review = review_of(file)
    yield review
    review.close()


@pytest.fixture
def app(review):
    return app_of(review)


def test_who_lacks_the_token_gets_nothing(app):
    for token, path in (("b-token", ""), ("", ""), (None, "/"), (None, "/a-token"), ("a-toke", "state"), ("ä", "")):
        answer = ask(app, path, token=token)
        assert answer.status == 403 and answer.json == {
            "error": "open the complete address that tools/review.py printed; it is a new one at each start"
        }
    assert ask(app, "").status == 200


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"host": "evil.example:8765"}, "Host ['evil.example:8765']: an address of this machine is accepted"),
        ({"host": ""}, "Host []: an address"),
        ({"origin": "http://evil.example"}, "Origin 'http://evil.example': only this page may send requests"),
        ({"origin": "null"}, "Origin 'null': only this page may send requests"),
        ({"origin": "https://127.0.0.1:8765"}, "only this page may send requests"),
        ({"sec_fetch_site": "cross-site"}, "another page may not send requests"),
        ({"content_type": "text/plain"}, "content-type: application/json is accepted"),
    ],
)
def test_other_pages_and_names_that_point_here_are_refused(app, review, headers, said):
    body = {"rows": [0], "shows": 0, "was": [OPEN]}
    answer = ask(app, "decide", body, **headers)
    assert answer.status in (400, 403) and said in answer.json["error"]
    assert not review.seen.any()


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:8765", "[::1]:8765", "192.168.1.2:8765"])
def test_addresses_and_localhost_are_asked_under(app, host):
    assert ask(app, "state", host=host).status == 200
    assert (
        ask(app, "decide", {"rows": [0], "shows": 0, "was": [OPEN]}, host=host, origin=f"http://{host}").status == 200
    )


def test_every_answer_forbids_frames_referers_and_keeping(app):
    for path in ("", "page.js", "state", "picture/0/large", "nowhere", "picture/99/large"):
        headers = ask(app, path).headers
        assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["picture/../../../etc/passwd/large", "picture/%2e%2e/large", "picture/-1/large", "picture/24/large",
     "picture/0/../large", "picture/0/huge", "picture/ant%2F000.png/large", "validation/0/large",
     "page/page.css", "../page.css", "items?n=x", "items?show=files", "items?show=p0-9", "items?show=v7",
     "state?show=p0", "item/x"],
)  # fmt: skip
def test_nothing_is_asked_by_path(app, path):
    answer = ask(app, path)
    assert answer.status in (400, 404) and list(answer.json) == ["error"] and "/" not in answer.json["error"][:1]


def test_pictures_come_at_a_screens_size_and_upright(file, app):
    wide = picture(1000, 3600)
    (file.parent / "photos/ant/000.png").write_bytes(encode(".jpg", wide))
    for size, side in (("large", 1600), ("small", 360)):
        answer = ask(app, f"picture/0/{size}")
        shown = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
        assert answer.headers["content-type"] == "image/jpeg" and shown.shape == (round(side / 3.6), side, 3)
        expected = cv2.resize(wide, shown.shape[1::-1], interpolation=cv2.INTER_AREA)[:, :, ::-1]
        assert np.abs(shown.astype(int) - expected).mean() < 4
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = encode(".jpg", picture(40, 80))
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    (file.parent / "photos/ant/000.png").write_bytes(turned)
    assert cv2.imdecode(np.frombuffer(ask(app, "picture/0/small").body, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (
        80,
        40,
    )


def test_why_a_picture_cannot_be_shown(file, app):
    (file.parent / "photos/ant/000.png").write_text("<html>not found</html>")
    (file.parent / "photos/ant/003.png").unlink()
    assert "not a picture" in ask(app, "picture/0/large").json["error"]
    answer = ask(app, "picture/3/large")
    assert answer.status == 422 and answer.json["error"] == "cannot be read (No such file or directory)"


def test_links_that_leave_the_folder_are_not_followed_unless_that_is_allowed(file, review, app):
    outside = file.parent / "secret"
    outside.mkdir()
    (outside / "x.png").write_bytes(encode(".png", picture()))
    place = file.parent / "photos/ant/000.png"
    place.unlink()
    place.symlink_to(outside / "x.png")
    (file.parent / "photos/ant/003.png").unlink()
    (file.parent / "photos/ant/003.png").symlink_to("006.png")
    answer = ask(app, "picture/0/large")
    assert answer.status == 422 and f"to {outside}/x.png; --also {outside} allows it" in answer.json["error"]
    assert ask(app, "picture/3/large").status == 200
    also = Pictures(review.photos, [outside])
    assert also.jpeg(0, "small") and also.sha256(0)


def test_a_list_may_not_lead_out_of_the_folder_either(file):
    text = file.read_text(encoding="utf-8").replace("ant/000.png", "../suspects.csv").replace("ant/003.png", os.devnull)
    file.write_text(text, encoding="utf-8")
    review = review_of(file)
    for row in (0, 3):
        assert "leads out of" in ask(app_of(review), f"picture/{row}/large").json["error"]
        review.decide([row], 0, [review.now(row)])
    assert not file.with_name("decisions.csv").exists()
    review.close()


def test_a_leak_is_shown_beside_its_validation_picture(file):
    fine, leak = "0.5213,fine,,1.0000,\n", "0.5213,leak from validation,,1.0000,v/1.png\n"
    text = file.read_text(encoding="utf-8").replace(fine, leak)
    file.write_text(text, encoding="utf-8")
    (file.parent / "val/v").mkdir(parents=True)
    (file.parent / "val/v/1.png").write_bytes(encode(".png", picture(30, 20)))
    photos, evidence = opened(file, root=str(file.parent / "photos"))  # found below the list
    review = Review(photos, evidence, Pictures(photos), DecisionsFile(file.with_name("decisions.csv")))
    app = app_of(review)
    assert ask(app, "item/12").json["leak_of"] == "v/1.png"
    shown = cv2.imdecode(np.frombuffer(ask(app, "validation/12/small").body, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (30, 20, 3)
    review.close()


def test_what_the_page_is_told_of_a_row(app):
    item = ask(app, "item/0").json
    assert item["typical"] == [[21, 12, 15], [22, 10, 16]] or [len(rows) for rows in item["typical"]] == [3, 3]
    del item["typical"]
    assert item == {
        "row": 0, "path": "ant/000.png", "given": 0, "suggested": 1, "by_duplicate": False, "suggested_prob": 0.75,
        "quality": 0.01, "words": "very likely wrong", "in_classes": 1.0, "verdict": 1, "duplicates": [], "leak_of": "",
        "now": OPEN,
    }  # fmt: skip
    item = ask(app, "item/6").json
    assert item["by_duplicate"] and item["suggested"] == 1 and item["suggested_prob"] is None
    assert item["duplicates"] == [{"row": 7, "path": "bee <b>&/007.png", "given": 1, "now": OPEN}]


def test_a_list_opens_on_its_suspects_and_one_in_another_order_whole(file, app):
    state = ask(app, "state").json
    assert state["show"] == "suspects" and state["names"] == NAMES and state["total"] == 10
    assert [choice[::2] for choice in state["choices"]] == [
        ["suspects", 10], ["all", 24], ["v0", 14], ["v1", 6], ["v2", 2], ["v4", 2]]  # fmt: skip
    lines = file.read_text(encoding="utf-8").splitlines()
    other = file.with_name("next.csv")
    other.write_text("\n".join([lines[0], lines[9], lines[4], lines[20]]) + "\n", encoding="utf-8")
    photos, evidence = opened(other, root=str(file.parent / "photos"))
    assert sorted(photos.class_names) == NAMES  # those of the folders
    review = Review(photos, evidence, Pictures(photos), DecisionsFile(file.with_name("others.csv")))
    assert ask(app_of(review), "state").json["show"] == "all"
    assert [item["row"] for item in ask(app_of(review), "items").json["items"]] == [0, 1, 2]
    review.close()


def test_two_pages_hear_of_each_other(app):
    body = {"rows": [0], "shows": 1, "was": [OPEN], "show": "suspects", "revision": 0}
    first = ask(app, "decide", body).json
    assert first["changed"] == {"0": ["relabel", 1]} and first["revision"] == 1 and first["left"] == 9
    clash = ask(app, "decide", {**body, "shows": 2})
    assert clash.status == 409 and "was decided on another page meanwhile (relabel bee <b>&)" in clash.json["error"]
    second = ask(app, "decide", {**body, "rows": [1], "revision": 0}).json
    assert second["changed"] == {"0": ["relabel", 1], "1": ["keep", 1]}
    assert ask(app, "undo", {"revision": 1, "show": "suspects"}).status == 409
    undone = ask(app, "undo", {"revision": 2, "show": "suspects"}).json
    assert undone["taken"] == 1 and undone["items"][0]["row"] == 1 and undone["changed"] == {"1": OPEN}


GOOD = {"rows": [0], "shows": 0, "was": [OPEN]}


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"[" * 100_000, b"x" * 2_000_000, {}, {"rows": [0]}, {**GOOD, "rows": ["0"]}, {**GOOD, "shows": 3},
     {**GOOD, "shows": True}, {**GOOD, "rows": [True]}, {**GOOD, "was": [["", "x"]]}, {**GOOD, "was": ["keep"]},
     {**GOOD, "rows": list(range(600))}, {**GOOD, "revision": "x"}, {**GOOD, "show": "elsewhere"}, {**GOOD, "show": 1}],
)  # fmt: skip
def test_other_bodies_are_refused_and_change_nothing(app, review, body):
    answer = ask(app, "decide", body)
    assert answer.status == 400 and list(answer.json) == ["error"]
    assert not review.seen.any()


def test_a_decision_that_cannot_be_written_is_not_kept(file, app, review):
    file.with_name("decisions.csv").write_text("path,decision\n", encoding="utf-8")  # another program's
    answer = ask(app, "decide", {"rows": [0], "shows": 1, "was": [OPEN]})
    assert answer.status >= 400 and "another program has changed it" in answer.json["error"]
    assert not review.seen.any()
