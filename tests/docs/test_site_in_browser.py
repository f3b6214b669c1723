"""Every page of the site in headless Chromium, wide and narrow; skipped without Chromium."""

import pytest

from tests.helpers.browser import CHROMIUM

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
DRAWN = "window.MathJax && MathJax.startup.promise ? MathJax.startup.promise.then(() => true) : false"
COUNTS = """[
    document.querySelectorAll('.arithmatex').length,
    document.querySelectorAll('mjx-container').length,
    document.querySelectorAll('[data-mml-node=merror]').length,
]"""
TOO_WIDE = "document.documentElement.scrollWidth"  # not against innerWidth: a narrow window zooms out to what is wide
MISSING = "[...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"


@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("names", ["index method", pytest.param("*", marks=pytest.mark.slow)], ids=["two", "all"])
def test_pages_fit_and_draw_their_formulas_and_pictures(site, browser, width, names):
    wrong, pages = [], sorted(page for name in names.split() for page in site.rglob(f"{name}.html"))
    assert len(pages) >= 2
    for page in pages:
        browser.open(f"file://{page}", width=width, dark=width == 400)
        if browser.run("document.querySelector('.arithmatex') !== null"):
            browser.until(DRAWN)
        marked, drawn, faults = browser.run(COUNTS)
        found = (marked - drawn, faults, max(browser.run(TOO_WIDE) - width, 0), browser.run(MISSING))
        if any(found):
            wrong.append((page.name, *found))
    assert wrong == []
    asked = [event["request"]["url"] for event in browser.seen("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
