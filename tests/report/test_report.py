"""The report as a whole: a sound page, nothing from outside, hostile texts, missing stages, the tool."""

import base64
import re

import cv2
import numpy as np
import pytest

from tests.helpers.report import NAMES, Page, make_table, report_of, write, write_columns, write_run
from urnet.core.blocks import class_sizes
from urnet.core.checks import InputError
from urnet.report.class_sections import choose_classes
from urnet.report.columns import Columns
from urnet.report.gallery import NoPicture
from urnet.report.run_evidence import label_evidence
from urnet.report.run_state import Method
from urnet.report.thumbnails import thumbnail, thumbnailer

WORDS_OF_BARE = [
    "No stage has written columns yet",
    "No stage has been evaluated yet",
    "No class_weight column yet",
    "No class_weight, cluster_weight, instance_weight column yet",
    "No evidence about labels yet",
    "No cluster columns yet",
    "No relevance or confidence column yet",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A full table, its run and the report of both, with real pictures."""
    folder = tmp_path_factory.mktemp("toy")
    table = make_table(folder)
    write_columns(table)
    run = write_run(folder / "toy", table.base_hash, unfinished="cluster")
    methods = [
        Method("plain <b>", 3, {"top1_last": (0.6, 0.01, 3)}),
        Method("once", 2, {"top1_last": (0.7, float("nan"), 1)}),
    ]
    return table, run, report_of(table, run, thumbnailer(), methods)


def test_the_page_is_sound_and_needs_nothing_from_outside(made):
    html = made[2].html
    page = Page(html)
    assert page.tags.count("script") == page.tags.count("style") == page.tags.count("title") == 1
    assert page.tags.count("img") == made[2].pictures > 0
    assert page.handlers == []
    assert "link" not in page.tags
    assert len(page.addresses) > 30
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert not re.search(r"url\(|@import|fetch\(|https?:(?!//a\.b/c\.png)", html)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(page.ids) == len(set(page.ids))


def test_hostile_titles_and_names_are_shown_as_text(made):
    html, page = made[2].html, Page(made[2].html)
    assert "</script><script>alert(1)" in page.text  # as words, not as tags
    assert "</title><script>alert(4)" in page.text and "onmouseover='alert(5)" in page.text
    assert "<b>one" not in html
    assert 'one "1" & <b>one</b>' in page.text
    assert "onerror=alert(3)" in page.text  # a name of a file
    assert "plain <b>" in page.text
    assert "\u202e" not in html
    assert "\x00" not in html


def test_the_page_says_what_is_known(made):
    text = Page(made[2].html).text
    for words in (
        "TinyNet",
        "1 finished of 2",
        "2023-11-14",
        "Stage cluster is unfinished: step 9 of 10.",
        "60.0 % last 58.0 %",
        "60.0 ± 1.0 % 3 seeds",
        "70.0 % 1 of 2 seeds",
        "3 to 12 pictures per class, 4.0 : 1",
        "4 of 30 pictures to look at, the most likely wrong ones first.",
        "quality 1.50",
        "Highest label quality",
        "1 image is missing or unreadable",
    ):
        assert words in text, words


def test_a_missing_image_is_counted_and_has_a_place(made):
    report = made[2]
    assert (report.missing, report.left_out) == (1, 0)
    places = report.html.count(">image missing or unreadable<")
    assert places >= 1
    assert report.pictures + places == len(re.findall('<img|class="none"', report.html))


def test_the_same_inputs_give_the_same_bytes(made):
    table, run, _ = made
    first, second = (report_of(table, run, thumbnailer(threads=n)).html for n in (1, 4))
    assert first == second


def test_clusters_and_images_come_by_quality(made):
    table, run, _ = made
    text = Page(report_of(table, run, show=("0",), per_class=2).html).text
    text = text[text.index("Open all") :]
    assert text.index("Cluster 1") < text.index("Cluster 0")
    relevance = table.column("relevance")[:12]
    shown = re.findall(r"(\d\.\d\d) (?:title|</script|img/)", text[text.index("Highest label quality") :])
    order = np.sort(relevance)[::-1]
    assert shown == [f"{v:.2f}" for v in (*order[:2], *order[::-1][:2])]


def test_without_stages_every_section_says_so(tmp_path):
    table = make_table(tmp_path, images=False)
    page = Page(report_of(table, tmp_path).html)
    for words in WORDS_OF_BARE:
        assert words in page.text, words


def test_each_stage_alone_is_enough(tmp_path):
    n = 30
    columns = {
        "class": {"class_weight": np.ones(n, np.float32)},
        "cluster": {"cluster": np.full(n, -1, np.int16)},
        "instance": {"confidence": np.full(n, np.nan, np.float32)},
        "bag": {"bag_attention": np.zeros(n, np.float32)},
        "label": {
            "topk_index": np.zeros((n, 2), np.int32),
            "topk_prob": np.ones((n, 2), np.float16),
            "keep": np.ones(n, np.float32),
        },
        "gate_2": {"gate": np.zeros(n, np.float64)},
    }
    for file, arrays in columns.items():
        table = make_table(tmp_path / file, images=False)
        write(table, file, **arrays)
        page = Page(report_of(table, tmp_path / file).html)
        assert f"{file}.arrow" in page.text


def test_the_worst_classes_come_first(made):
    table = made[0]
    columns = Columns(table)
    sizes, evidence = class_sizes(table.column("label"), 4), label_evidence(columns)
    means = [evidence.label_quality[table.column("label") == c].sum() for c in range(4)]
    shrunk = [(m + 10 * sum(means) / 30) / (n + 10) for m, n in zip(means, sizes, strict=True)]
    choice = choose_classes(columns, evidence, sizes, 3)
    assert list(choice.classes) == sorted(range(4), key=lambda c: shrunk[c])[:3]


def test_without_evidence_the_largest_or_the_least_confident_classes_come_first(tmp_path):
    table = make_table(tmp_path, images=False, sizes=(2, 9, 0, 4))
    sizes = class_sizes(table.column("label"), 4)
    assert choose_classes(Columns(table), None, sizes, 9).classes == (1, 3, 0)  # none without a row
    write(table, "instance", confidence=np.where(table.column("label") == 3, 0.1, 0.9))
    assert choose_classes(Columns(table), None, sizes, 1).classes == (3,)


def test_a_full_page_leaves_pictures_out_and_says_so(made):
    table, run, whole = made
    budget = 40_000
    report = report_of(table, run, thumbnailer(), max_bytes=budget)
    assert report.left_out > 0
    assert 0 < report.pictures < whole.pictures
    pictures = re.findall(r'"(data:[^"]*)"', report.html)
    assert sum(map(len, pictures)) <= budget
    assert "left out, as the page was full (--max_mb)" in Page(report.html).text


def test_five_thousand_classes_make_a_small_page(tmp_path):
    sizes = np.geomspace(60, 1, 5000).astype(int)
    names = [f"class {'x' * 300} {c}" for c in range(5000)]
    table = make_table(tmp_path, images=False, sizes=sizes, names=names)
    write_columns(table)
    html = report_of(table, tmp_path).html
    assert len(html) < 2_000_000
    assert len(Page(html).tags) < 15_000
    assert "1 to 60 pictures per class" in html


# --- pictures


def test_thumbnails_keep_the_aspect_and_are_never_enlarged(tmp_path):
    made = {"wide": (100, 400), "thin": (300, 1), "small": (8, 6)}
    expected = {"wide": (28, 112), "thin": (112, 1), "small": (8, 6)}
    for name, (height, width) in made.items():
        image = np.zeros((height, width, 3), np.uint8)
        image[:, :, 2] = 200  # red in OpenCV's order
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), image)
        address = thumbnail(str(path), size=112, exif="honour", max_pixels=10**6)
        data = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
        small = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert small.shape[:2] == expected[name]
        assert np.abs(small.reshape(-1, 3).mean(axis=0) - [0, 0, 200]).max() < 6
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8nonsense")
    paths = [str(tmp_path / name) for name in ("broken.jpg", "small.png", "nowhere.jpg")]
    assert [isinstance(address, NoPicture) for address in thumbnailer()(paths)] == [True, False, True]


# --- what is asked for


def test_a_table_of_another_run_is_refused(tmp_path):
    table = make_table(tmp_path, images=False)
    run = write_run(tmp_path / "toy", "f" * 64)
    with pytest.raises(
        InputError, match=f"toy/class: was trained on table ffffffffffffffff, .* is {table.base_hash[:16]}"
    ):
        report_of(table, run)


def test_classes_can_be_asked_for_by_number_and_name(made):
    table, run, _ = made
    ids = Page(report_of(table, run, show=("2", NAMES[0], "2")).html).ids
    assert [i for i in ids if i.startswith("class-")] == ["class-2", "class-0"]
