"""The HTML report of a run whose titles, class names, queries and file names are hostile: they stay text."""

from __future__ import annotations

import cv2
import numpy as np

from tests.helpers.report import EVIL, Page, report_of, write, write_run
from urnet.data.table.table import BaseWriter, Table
from urnet.report.thumbnails import thumbnailer

PATHS = ("<script>alert(2)<.jpg", "a\" onerror=alert(3) x='.jpg", "new\nline & .jpg", "&lt;img src=x&gt;.jpg")
NAMES = ("</title><script>alert(4)</script>", "\" onmouseover='alert(5)", "javascript:alert(6)")


def test_paths_names_and_titles_stay_text(tmp_path):
    for path in PATHS:
        assert cv2.imwrite(str(tmp_path / "x.jpg"), np.zeros((9, 9, 3), np.uint8))
        (tmp_path / "x.jpg").rename(tmp_path / path)
    missing = "<blink>gone.jpg"
    paths = [*PATHS, missing] * len(NAMES)
    labels = np.repeat(np.arange(len(NAMES)), len(PATHS) + 1)
    with BaseWriter(tmp_path / "table", root=tmp_path, format="list", class_names=NAMES) as writer:
        writer.add(paths, labels, text=[EVIL] * len(paths))
    table = Table.open(tmp_path / "table")
    n = len(paths)
    write(
        table,
        "instance",
        relevance=np.linspace(0, 1, n, dtype=np.float32),
        instance_weight=np.ones(n, np.float32),
        confidence=np.full(n, 0.1, np.float32),
        suggested=((labels + 1) % len(NAMES)).astype(np.int32),
        suggested_prob=np.full(n, 0.9, np.float32),
    )
    run = write_run(tmp_path / "toy", table.base_hash)
    report = report_of(table, run, thumbnailer())
    page = Page(report.html)
    assert page.tags.count("script") == page.tags.count("style") == page.tags.count("title") == 1
    assert page.handlers == []
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert all(link.startswith("#") for link in page.links)
    assert "</title><script>alert(4)" in page.text and "javascript:alert(6)" in page.text
    assert page.tags.count("img") == report.pictures > 0  # none of its own making
    assert report.missing == len(NAMES) and "blink" not in page.tags
