"""The page in headless Chromium: real clicks and keys; what they decide is in the file. Skipped without Chromium."""

from __future__ import annotations

import csv
import json

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.helpers.browser import CHROMIUM
from tests.helpers.review import NAMES, Served, make_list, review_of
from urnet.review.state import Now

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
ROW = "document.querySelector('#single').dataset.ready"
TROUBLE = "document.querySelector('#trouble').innerText"
WIDE = "document.documentElement.scrollWidth <= innerWidth"
SEEN = "[...document.querySelectorAll('main')].filter(part => !part.hidden).map(part => part.id)"


@pytest.fixture
def file(tmp_path):
    return make_list(tmp_path)


@pytest.fixture
def served(file):
    served = Served(review_of(file))
    yield served
    served.close()


def written(file):
    try:
        with file.with_name("decisions.csv").open(newline="", encoding="utf-8") as stream:
            return {int(row["path"][-7:-4]): (row["decision"], row["label"]) for row in csv.DictReader(stream)}
    except FileNotFoundError:
        return {}


def until(browser, script):
    browser.until(script, seconds=120)  # so long only that a page that never gets there does not hold up the tests


def at(browser, row):
    until(browser, f"{ROW} === '{row}'")


def text(browser, selector):
    return browser.run(f"document.querySelector({json.dumps(selector)}).innerText")


def choose(browser, selector, value):
    browser.run(f"const chosen = document.querySelector({json.dumps(selector)}); chosen.value = {json.dumps(value)};"
                "chosen.dispatchEvent(new Event('change')); 1")  # fmt: skip


def test_keys_and_clicks_decide_and_undo(served, browser, file):
    browser.events.clear()
    browser.open(served.address, width=1300)
    at(browser, 0)
    said = " ".join(text(browser, "#facts").split())
    assert said == "wrong label given: ant 0.01 suggested: bee <b>& 0.75 very likely wrong (label quality 0.010)"
    assert text(browser, "#actions [data-do=take] span") == "Take bee <b>&"  # as text: no element came of it
    browser.press("t")
    at(browser, 1)
    assert written(file) == {0: ("relabel", NAMES[1])}
    browser.press("ArrowLeft")
    at(browser, 2)
    browser.click("#actions [data-do=none]")
    at(browser, 3)
    browser.press("s")
    at(browser, 4)
    assert written(file) == {0: ("relabel", NAMES[1]), 1: ("keep", NAMES[1]), 2: ("none", ""), 3: ("skip", "")}
    browser.press("u")
    at(browser, 3)
    browser.press("u")
    at(browser, 2)
    assert list(written(file)) == [0, 1]
    assert text(browser, "#progress").startswith("2 of 10 done, 8 left")
    assert text(browser, "#estimate").startswith("About ") and "among the 22 pictures not decided yet" in text(
        browser, "#estimate"
    )
    assert browser.run("document.querySelector('#track').ariaValueNow") == "2"
    problems = browser.seen("Log.entryAdded") + browser.seen("Runtime.exceptionThrown")
    assert problems == []  # no violation of the page's policy either
    asked = [sent["request"]["url"] for sent in browser.seen("Network.requestWillBeSent")]
    assert all(url.startswith((served.address, "data:")) for url in asked)
    pictures = [url for url in asked if "/picture/" in url]
    assert len(pictures) == len(set(pictures))  # each is asked for once, also those that are shown again


def test_another_class_is_typed(served, browser, file):
    browser.open(served.address)
    at(browser, 0)
    browser.press("c")
    until(browser, "document.activeElement.id === 'find-words'")
    browser.type("CA")
    assert text(browser, "#find-list") == "cat"
    browser.press("Enter")
    at(browser, 1)
    assert written(file) == {0: ("relabel", "cat")}
    browser.press("/")
    until(browser, "document.querySelector('#find').open")
    assert browser.run("document.querySelector('[role=option]').innerText") == "cat"  # chosen last
    browser.type("xyz")
    assert text(browser, "#find-count") == "no class has that in its name"
    browser.press("Enter", "Escape")
    until(browser, "!document.querySelector('#find').open")
    browser.press("k")  # the key is the page's again
    at(browser, 2)
    browser.press("c")
    until(browser, "document.querySelector('#find').open")
    browser.press("ArrowDown", "ArrowDown")
    browser.click("[role=option][aria-selected=true]")
    at(browser, 3)
    assert written(file)[2][1] in NAMES


def test_duplicates_are_decided_along_or_not(served, browser, file):
    browser.open(served.address)
    at(browser, 0)
    choose(browser, "#show", "v4")
    at(browser, 6)
    assert text(browser, "#actions [data-do=take] span") == "Take bee <b>& (+1)"
    browser.press("d")
    assert text(browser, "#actions [data-do=keep] span") == "Keep ant"
    browser.press("d", "k")
    until(browser, "!document.querySelector('#nothing').hidden")
    assert text(browser, "#nothing h2") == "All 2 pictures of this choice are decided."
    assert written(file) == {6: ("keep", "ant"), 7: ("relabel", "ant")}
    browser.press("u")
    at(browser, 6)
    assert written(file) == {}
    browser.click("#same input")
    browser.press("k")
    at(browser, 7)
    assert written(file) == {6: ("keep", "ant")}
    browser.press("n")
    until(browser, "!document.querySelector('#nothing').hidden")
    browser.click("#nothing button")  # all of the list
    at(browser, 0)
    assert browser.run("document.querySelector('#show').value") == "all"


HELD = """
window.held = [];
const fetched = window.fetch;
window.fetch = async (url, ...others) => {
  const answer = await fetched(url, ...others);
  if (String(url).includes("items?") && held.length < 2) await new Promise((go) => held.push(go));
  return answer;
};
"""


def test_what_was_asked_for_before_a_decision_does_not_count_after_it(served, browser, file):
    browser.open(served.address)
    at(browser, 0)
    choose(browser, "#show", "v4")
    at(browser, 6)
    browser.press("k")
    until(browser, "!document.querySelector('#nothing').hidden")
    browser.run(f"void (() => {{ {HELD} }})()")
    browser.press("u")  # asks for more pictures in the background: 7, whose duplicate 6 is not decided
    at(browser, 6)
    until(browser, "held.length === 1")
    browser.click("#same input")
    browser.press("k")
    until(browser, "held.length === 2")
    browser.run("void held.forEach((go) => go())")
    at(browser, 7)
    assert browser.run("[...document.querySelectorAll('#same input')].map((tick) => tick.checked)") == [False]
    browser.press("n")
    until(browser, "!document.querySelector('#nothing').hidden")
    assert written(file) == {6: ("keep", "ant"), 7: ("none", "")}


def test_a_batch_is_taken_without_what_is_unticked(served, browser, file):
    browser.open(served.address, width=400)
    at(browser, 0)
    browser.click("#to-batch")
    until(browser, "document.querySelectorAll('#grid button').length === 3")
    assert text(browser, "#question").startswith("Given ant. Is each of these bee <b>&?")
    assert text(browser, "#batch-actions [data-do=take] span") == "All 3 are bee <b>&"
    assert browser.run(WIDE)
    browser.click("#grid li:nth-child(2) button")
    assert text(browser, "#batch-actions [data-do=take] span") == "The 2 ticked are bee <b>&"
    browser.press("ArrowRight")
    until(browser, "document.activeElement === document.querySelector('#grid li:nth-child(3) button')")
    browser.press("t")
    until(browser, "document.querySelector('#batch').dataset.key !== 'p0-1'")
    assert written(file) == {0: ("relabel", NAMES[1]), 6: ("relabel", NAMES[1])}
    browser.press("u")
    until(browser, "document.querySelector('#batch').dataset.key === 'p0-1'")
    assert written(file) == {}
    choose(browser, "#pair", "v2")
    until(browser, "document.querySelector('#batch').dataset.key === 'v2'")
    browser.press("a", "a", "t")
    until(browser, "document.querySelector('#batch').dataset.key !== 'v2'")
    assert written(file) == {8: ("none", ""), 9: ("none", "")}
    browser.press("b")
    until(browser, f"{SEEN}[0] === 'single'")
    at(browser, 0)


def test_a_reload_goes_on_and_two_pages_lose_nothing(served, browser, file):
    browser.open(served.address)
    at(browser, 0)
    served.review.decide([0], 2, [Now("", -1)])  # another page
    browser.press("t")
    until(browser, f"{TROUBLE}.includes('was decided on another page meanwhile (relabel cat)')")
    at(browser, 1)  # what the other decided is gone from here
    assert written(file) == {0: ("relabel", "cat")}
    browser.press("k")
    at(browser, 2)
    assert browser.run("document.querySelector('#trouble').hidden")
    served.review.decide([5], 0, [Now("", -1)])
    browser.press("u")
    until(browser, f"{TROUBLE}.includes('another page has decided meanwhile')")
    assert list(written(file)) == [0, 1, 5]
    browser.open(served.address)
    at(browser, 2)
    choose(browser, "#show", "decided")
    at(browser, 5)  # the newest first
    assert "decided: " in text(browser, "#facts")
    browser.press("s")  # left as it is
    at(browser, 1)
    browser.press("n")
    at(browser, 0)
    assert written(file) == {0: ("relabel", "cat"), 1: ("none", ""), 5: ("keep", "cat")} or written(file)[1] == (
        "none",
        "",
    )


def test_a_server_that_is_gone_is_said_and_nothing_is_kept(file, browser):
    served = Served(review_of(file))
    browser.open(served.address)
    at(browser, 0)
    served.close()
    browser.press("t")
    until(browser, f"{TROUBLE}.includes('does not respond')")
    assert "is not kept" in browser.run(TROUBLE) and browser.run(ROW) == "0"
    assert browser.run("document.querySelector('#trouble').role") == "alert"
    assert written(file) == {}


def test_what_cannot_be_shown_is_said_in_its_place_and_can_be_passed(file, browser):
    (file.parent / "photos/ant/000.png").write_text("<html>")
    (file.parent / "photos/bee <b>&/001.png").unlink()
    served = Served(review_of(file))
    browser.open(served.address)
    at(browser, 0)
    assert "not a picture" in text(browser, "#large .none")
    browser.press("n")
    at(browser, 1)
    assert "cannot be read" in text(browser, "#large .none")
    browser.press("k")
    at(browser, 2)
    assert "no decision about it is written" in browser.run(TROUBLE)
    assert written(file) == {0: ("none", "")}
    served.close()


def test_the_page_is_usable_by_keyboard_and_by_a_screen_reader(served, browser):
    browser.open(served.address, width=1300)
    at(browser, 0)
    order = []
    for _ in range(9):
        browser.press("Tab")
        order.append(browser.run("document.activeElement.id || document.activeElement.dataset.do"))
    assert order == ["show", "to-batch", "to-help", "keep", "take", "find", "none", "skip", "undo"]
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    found = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}
    roles = {role for role, _ in found}
    assert {"main", "heading", "progressbar", "status", "combobox"} <= roles
    assert any(role == "button" and name.startswith("Keep ant") for role, name in found), found
    assert ("image", "given ant") in found
    browser.press("?")
    until(browser, "document.querySelector('#help').open")
    browser.press("t")  # no key of the page while the help is open
    browser.press("Escape")
    until(browser, "!document.querySelector('#help').open")
    assert browser.run(ROW) == "0"
    browser.run("document.querySelector('#keys-on').checked = false; 1")
    browser.press("t")
    assert browser.run(ROW) == "0"
    browser.press("ArrowRight")
    at(browser, 1)
    until(browser, "document.querySelector('#said').innerText === 'bee <b>&'")


@pytest.mark.parametrize(("width", "dark"), [(1300, False), (400, True)])
def test_it_fits_the_screen_and_its_colours(served, browser, width, dark):
    browser.open(served.address, width=width, dark=dark)
    at(browser, 0)
    assert browser.run(WIDE)
    light = browser.run("Number(/[0-9]+/.exec(getComputedStyle(document.body).backgroundColor)[0])")
    assert light < 64 if dark else light > 192
    for what in ("keep", "take", "undo"):  # the buttons are seen without scrolling
        bottom = browser.run(f"document.querySelector('#actions [data-do={what}]').getBoundingClientRect().bottom")
        assert bottom <= 900
