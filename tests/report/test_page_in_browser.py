"""The page in headless Chromium: pictures open large, keys go on, filters count; skipped without Chromium."""

import cv2
import numpy as np
import pytest

from tests.helpers.browser import CHROMIUM
from tests.helpers.report import mark, photos_of
from urnet.report.build import Settings, build_folder_report
from urnet.report.suspects import Evidence
from urnet.report.thumbnails import thumbnailer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
OPEN = "document.querySelector('dialog').open"
PLACE = "document.querySelector('#large-place').textContent"
TITLE = "document.querySelector('#large-title').innerText"
SEEN = "[...document.querySelectorAll('.card.suspect')].filter(card => !card.hidden).length"
WIDE = "document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder with page.html and pictures of 300 x 400: five wrong labels, a pair, and hostile names."""
    folder = tmp_path_factory.mktemp("page")
    photos, known = photos_of(folder / "pictures #1 %41")
    for row in range(4):
        mark(known, row, "wrong label", 0.01 * row, suggested=2)
    mark(known, 7, "wrong label", 0.3, suggested=0)
    mark(known, 13, "duplicate under another label", 0.4, same_as="c1/9.jpg", group=1)
    settings = Settings(page=folder / "page.html")
    report = build_folder_report("a <b>folder</b>", photos, Evidence(**known), thumbnailer(), settings)
    (folder / "page.html").write_text(report.html, encoding="utf-8")
    return folder


def test_a_picture_opens_large_and_keys_go_on(page, browser):
    browser.open(f"file://{page}/page.html", width=1300)
    assert browser.run("document.querySelector('h1').innerText") == "a <b>folder</b>"
    browser.run("document.querySelector('.open').focus()")
    browser.press("Enter")
    browser.until(OPEN)
    assert browser.run(PLACE) == "1 of 6"
    assert browser.run(TITLE).split("\n")[0].startswith("given: zero")
    assert browser.run("[...document.querySelectorAll('.compare h4')].map(title => title.innerText)") == [
        "Typical zero",
        "Typical </title><script>alert(4)</script>",
    ]
    assert browser.run("document.querySelectorAll('.compare img').length") == 2 + 3  # of zero two are fine
    browser.until("document.querySelector('.seen img').naturalWidth === 400")  # the file, not what the page holds
    browser.press("ArrowLeft")  # there is none before the first
    assert browser.run(PLACE) == "1 of 6"
    browser.press("ArrowRight", "ArrowRight")
    assert browser.run(PLACE) == "3 of 6"
    browser.press("ArrowLeft")
    assert browser.run(PLACE) == "2 of 6"
    browser.press("Escape")
    browser.until(f"!{OPEN}")
    browser.until("document.activeElement === document.querySelectorAll('.open')[1]")
    browser.click(".card:nth-child(6) .open")
    browser.until(OPEN)
    assert browser.run("document.querySelectorAll('.seen img').length") == 2
    browser.click("[data-go='0']")
    browser.until(f"!{OPEN}")
    problems = browser.seen("Log.entryAdded") + browser.seen("Runtime.exceptionThrown")
    assert problems == []  # no violation of the page's policy either
    addresses = {sent["request"]["url"].split(":")[0] for sent in browser.seen("Network.requestWillBeSent")}
    assert addresses <= {"file", "data"}


def test_filters_show_what_they_count(page, browser):
    browser.open(f"file://{page}/page.html", width=400, dark=True)
    assert browser.run(WIDE)
    browser.click("[data-verdict='1']")
    assert browser.run(SEEN) == 5
    browser.run("const chosen = document.querySelector('#of-class'); chosen.value = '0>2';"
                "chosen.dispatchEvent(new Event('change')); 1")  # fmt: skip
    counts = "[...document.querySelectorAll('.verdicts b')].map(count => count.innerText)"
    assert (browser.run(SEEN), browser.run(counts)) == (4, ["4", "4", "0"])
    browser.click(".card:not([hidden]) .open")
    browser.until(OPEN)
    assert browser.run(PLACE) == "1 of 4"
    assert browser.run("document.querySelector('dialog').getBoundingClientRect().right <= innerWidth")
    browser.press("Escape")
    browser.until(f"!{OPEN}")
    browser.click("button[data-pair]")
    assert browser.run("document.querySelector('#of-class').value") == "0>2"
    browser.run("const words = document.querySelector('#of-words'); words.value = 'C0/3';"
                "words.dispatchEvent(new Event('input')); 1")  # fmt: skip
    assert browser.run(SEEN) == 1
    assert browser.run("document.querySelector('#shown-now').innerText") == "1 of 6 shown"


def test_a_page_that_was_moved_shows_what_it_holds(page, browser, tmp_path):
    moved = tmp_path / "elsewhere/page.html"
    moved.parent.mkdir()
    moved.write_bytes((page / "page.html").read_bytes())
    browser.open(f"file://{moved}")
    browser.click(".open")
    browser.until(OPEN)
    browser.until("document.querySelector('.seen img').naturalWidth === 256")
    assert np.asarray(cv2.imread(str(page / "pictures #1 %41/c0/0.jpg"))).shape[:2] == (300, 400)
