"""The service's page in headless Chromium: an image is chosen, its classes appear; skipped without Chromium."""

from __future__ import annotations

import base64

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from tests.helpers.browser import CHROMIUM
from tests.helpers.serve import NASTY, exported_toys
from tools.service.client import running
from urnet.data.images.header import ACCEPTED

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The toys, and the address of a service that takes at most 20,000 bytes."""
    toys, folder = exported_toys(tmp_path_factory.mktemp("page"))
    with running(folder, "--max_body_mb", "0.02") as service:
        yield toys, f"http://127.0.0.1:{service.port}/"


ROWS = "[...document.querySelectorAll('#answers > li:first-child ol li')].map(row => row.innerText)"
LIGHTNESS = "Number(/[0-9]+/.exec(getComputedStyle(document.body).backgroundColor)[0])"  # its red, 0 to 255
WIDTHS = "[...document.querySelectorAll('#answers > li:first-child .track div')].map(bar => bar.style.width)"


def test_a_chosen_image_is_answered_with_names_and_bars(place, browser):
    toys, url = place
    browser.open(url)
    browser.until("document.title === 'ResNeXt_small32'")
    about = browser.run("document.querySelector('#about').innerText")
    assert about == "7 classes; images are resized to 32 × 32 pixels"
    browser.choose(toys.images / "0.png")
    rows = browser.until(f"({ROWS}).length === 5 && {ROWS}")
    best = toys.ranking[0][:5]
    for row, c in zip(rows, best, strict=True):
        name, percent = row.split("\n")
        assert name == (NASTY if c == toys.labels[0] else f"class {c}")  # as text: no element came of it
        assert percent == f"{100 * toys.expected[0][c]:.1f} %"
    widths = [float(width.rstrip("%")) for width in browser.run(WIDTHS)]
    assert widths == pytest.approx(100 * toys.expected[0][best], abs=0.01)
    assert browser.run("document.querySelectorAll('#answers img').length") == 1
    assert browser.run("document.title") == "ResNeXt_small32"
    assert browser.run("document.querySelector('#state').innerText") == "1 image answered."
    addresses = {sent["request"]["url"] for sent in browser.seen("Network.requestWillBeSent")}
    addresses = {address for address in addresses if not address.startswith(("blob:", "data:"))}
    assert addresses == {url, url + "health", url + "predict"}  # nothing from elsewhere
    problems = browser.seen("Log.entryAdded") + browser.seen("Runtime.exceptionThrown")
    assert problems == []  # no violation of the page's policy either


def test_what_is_no_image_and_what_is_refused_is_said(place, browser, tmp_path):
    toys, url = place
    (tmp_path / "<b>notes.txt").write_text("no picture")
    (tmp_path / "large.png").write_bytes(bytes(30_000))
    browser.open(url, width=400, dark=True)
    browser.choose(tmp_path / "large.png", tmp_path / "<b>notes.txt", toys.images / "2.png")
    browser.until("document.querySelector('#state').className === 'bad'")
    assert browser.run("document.querySelector('#state').innerText") == "1 of 3 images answered."
    cards = browser.run("[...document.querySelectorAll('#answers > li')].map(card => card.innerText)")
    assert cards[0].split()[:3] == ["2.png", "class", str(toys.labels[2])]
    assert cards[1].split("\n")[0] == "<b>notes.txt"
    assert cards[1].endswith(f"a text file, not a picture; accepted: {ACCEPTED}")
    assert cards[2].split("\n")[0] == "large.png" and cards[2].endswith("body: at most 20000 bytes are accepted")
    assert browser.run("document.documentElement.scrollWidth <= 400")
    assert browser.run(LIGHTNESS) < 64
    browser.open(url + "docs", width=400)
    assert browser.run("document.documentElement.scrollWidth <= 400")
    assert browser.run(LIGHTNESS) > 192
    assert browser.run("document.querySelectorAll('section').length") == 5


def test_an_image_that_is_dropped_is_answered(place, browser):
    toys, url = place
    browser.open(url)
    data = base64.b64encode((toys.images / "4.png").read_bytes()).decode()
    browser.run(f"""
        const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
        const given = new DataTransfer();
        given.items.add(new File([bytes], "dropped.png", {{type: "image/png"}}));
        document.querySelector("#drop").dispatchEvent(
            new DragEvent("drop", {{dataTransfer: given, bubbles: true, cancelable: true}}));
        undefined""")
    rows = browser.until(f"({ROWS}).length === 5 && {ROWS}")
    assert rows[0].split("\n")[1] == f"{100 * toys.expected[4].max():.1f} %"


def test_the_page_is_usable_by_keyboard_and_by_a_screen_reader(place, browser):
    _, url = place
    browser.open(url)
    browser.press("Tab")
    assert browser.run("document.activeElement.id") == "files"
    assert browser.run("getComputedStyle(document.querySelector('#drop')).outlineStyle") == "solid"
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}
    assert any(role == "button" and name.startswith("Choose images") for role, name in roles), roles
    assert {"heading", "status"} <= {role for role, _ in roles}
