"""The page's suspects: which are shown, beside what, with which words; and a folder's page without any run."""

import re
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from tests.helpers.report import Page, mark, no_images, photos_of
from urnet.core.checks import InputError
from urnet.report.build import Settings, build_folder_report
from urnet.report.photos import Photos
from urnet.report.suspect_cards import EACH, quality_words, shown_rows
from urnet.report.suspects import VERDICTS, Evidence, in_order
from urnet.report.thumbnails import thumbnailer
from urnet.report.typical import typical_rows


def page_of(photos, known, thumbnails=no_images, **settings):
    return build_folder_report("a folder", photos, Evidence(**known), thumbnails, Settings(**settings)).html


def cards(html):
    """The cards of suspects, as HTML, in their order."""
    return re.findall(r'<li class="card suspect.*?</li>', html)


@pytest.fixture
def marked(tmp_path):
    """18 pictures of 3 classes; one of each verdict, the validation picture beside them."""
    (tmp_path / "val").mkdir()
    photos, known = photos_of(tmp_path / "train")
    cv2.imwrite(str(tmp_path / "val/v.jpg"), np.zeros((8, 8, 3), np.uint8))
    photos = Photos(photos.paths, photos.labels, photos.class_names, photos.root, tmp_path / "val")
    mark(known, 0, "wrong label", 0.01, suggested=2)
    mark(known, 1, "off topic", 0.02, suggested=2, in_classes=0.125)
    mark(known, 7, "near duplicate", 0.95, same_as="c1/8.jpg", group=0)
    mark(known, 13, "duplicate under another label", 0.3, same_as="c1/9.jpg", group=1)
    mark(known, 14, "leak from validation", 0.7, same_as="v.jpg")
    mark(known, 15, "unreadable", 0.5, suggested=-1)
    (tmp_path / "train/c2/15.jpg").write_bytes(b"no picture")
    return photos, known


def test_every_verdict_has_its_card_in_the_lists_order(marked, tmp_path):
    html = page_of(*marked, thumbnailer(), page=tmp_path / "pages/p.html")
    Page(html)
    found = cards(html)
    assert [int(re.search(r'data-verdict="(\d)"', card)[1]) for card in found] == [1, 2, 4, 5, 3, 6]
    said = [Page(card).text for card in found]
    zero, _, title = ("zero", "one", "</title><script>alert(4)</script>")
    assert said[0] == f"wrong labelgiven: {zero}suggested: {title}very likely wrong 0.010c0/0.jpg"
    assert said[1] == f"off topicgiven: {zero}label quality 0.020, fits the classes 0.12c0/1.jpg"
    assert said[2].startswith(f"duplicate under another labelgiven: {title}same as in: one")
    assert said[2].endswith("c2/13.jpg = c1/9.jpg")
    assert "same as in: validation" in said[3]
    assert said[3].endswith("c2/14.jpg = v.jpg")
    assert said[5].startswith("image missing or unreadable: a text file, not a picture; accepted: JPEG, ")
    assert said[5].endswith(f"unreadablegiven: {title}c2/15.jpg")
    assert [card.count("<img") for card in found] == [1, 1, 2, 2, 2, 0]
    links = [unquote(link) for card in found for link in re.findall(r'data-file="([^"]*)"', card)]
    assert links[:2] == ["./../train/c0/0.jpg", "./../train/c0/1.jpg"]
    assert links[2:6] == ["./../train/c2/13.jpg", "./../train/c1/9.jpg", "./../train/c2/14.jpg", "./../val/v.jpg"]


def test_the_first_suspects_and_some_of_every_verdict_are_shown():
    rng = np.random.default_rng(0)
    verdict = rng.choice(len(VERDICTS), 2000, p=[0.3, 0.5, 0.05, 0.1, 0.01, 0.02, 0.02]).astype(np.int8)
    evidence = Evidence(np.zeros(2000, np.int32), rng.random(2000, np.float32), verdict)
    order = in_order(evidence)
    for top in (0, 3, 100, 5000):
        shown = shown_rows(evidence, top)
        assert shown.tolist() == [row for row in order if row in set(shown.tolist())]
        wanted = set([row for row in order.tolist() if verdict[row]][:top])
        for place in range(1, len(VERDICTS)):
            wanted |= set([row for row in order.tolist() if verdict[row] == place][: min(top, EACH)])
        assert set(shown.tolist()) == wanted


def test_typical_pictures_are_sure_fine_and_different():
    quality = np.linspace(0, 1, 100, dtype=np.float32)
    verdict, group = np.zeros(100, np.int8), np.full(100, -1, np.int32)
    verdict[99] = 3
    group[95:99] = 7
    known = Evidence(np.zeros(100, np.int32), quality, verdict, group=group)
    assert typical_rows(np.arange(100), known).tolist() == [95, 86, 77]  # of 96: the surest fifth are 95 and 94..77
    assert typical_rows(np.arange(2), known).tolist() == [1, 0]
    assert typical_rows(np.array([99]), known).tolist() == []


def test_words_for_label_quality():
    words = ["very likely wrong", "probably wrong", "doubtful", "probably right", "looks right"]
    assert [quality_words(q) for q in (0, 0.05, 0.49, 0.5, 1)] == words


def test_filters_count_what_is_shown_of_all(marked):
    html = page_of(*marked)
    found = dict(
        re.findall(r'<button type="button" data-verdict="(\d?)" aria-pressed="[a-z]+">[a-z ]+<b>(\d+)</b>', html)
    )
    assert found == {"": "6", **dict.fromkeys("123456", "1")}
    options = re.findall(r'<option value="([^"]+)">.*?\((\d)\)</option>', html)
    assert options == [("2", "4"), ("0", "2"), ("1", "2"), ("0&gt;2", "1")]  # a pair of wrong labels alone
    text = Page(page_of(*marked, top=0)).text
    assert "6 of 18 pictures to look at" in text
    assert "0 of 6 are shown; --top 100 shows all" in text
    photos, known = marked
    known["verdict"][:] = 1
    known["suggested"][:] = (np.asarray(photos.labels) + 1) % 3
    text = Page(page_of(photos, known, top=5)).text
    assert "all 5 of 18wrong label 5 of 18" in text
    assert "5 of 18 are shown; --top 100 shows all, and the list has all of them." in text
    assert "(2 of 6)" in text and "(5)" in text


@pytest.mark.parametrize("names", [["only"], ["", "", ""], ["twice", "twice", "עברית"], ["😀" * 99, "x" * 500, "<!--"]])
def test_pages_of_odd_classes_are_sound(tmp_path, names):
    photos, known = photos_of(tmp_path, len(names), 2, (5, 5))
    photos = Photos(photos.paths, photos.labels, names, photos.root)
    for row in range(len(photos.labels)):
        mark(known, row, "wrong label", 0.1, suggested=len(names) - 1)
    html = page_of(photos, known)
    page = Page(html)
    assert len(cards(html)) == len(photos.labels)
    assert all(not template.count("<img") for template in re.findall("<template.*?</template>", html))  # none is fine
    if names[0] == "twice":
        assert "given: twice (0)" in page.text
        assert "given: עברית" in page.text
    if not names[0]:
        assert "given: class 0" in page.text


def test_a_folder_with_nothing_wrong_and_one_with_nothing_at_all(tmp_path):
    photos, known = photos_of(tmp_path, 1, 1, (5, 5))
    html = page_of(photos, known, thumbnailer())
    assert "0 of 1 picture to look at." in Page(html).text
    assert "No label is called wrong." in Page(html).text
    assert cards(html) == []
    nothing = {name: values[:0] for name, values in known.items()}
    with pytest.raises(InputError, match="a folder: has no picture; at least one is needed"):
        page_of(Photos([], np.zeros(0, np.int32), ["a"]), nothing)
