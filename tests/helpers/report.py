"""A small table with images and every stage's columns, the folder of its run, and a page's reader."""

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import yaml

from urnet.data.table.table import BaseWriter, Table
from urnet.report.build import Settings, build_report
from urnet.report.gallery import NoPicture
from urnet.report.photos import Photos
from urnet.report.run_state import read_run
from urnet.report.suspects import VERDICTS

# The last class has no name.
NAMES = ["zero", 'one "1" & <b>one</b> onmouseover=\'alert(5)', "</title><script>alert(4)</script>", ""]
PATHS = {  # of these rows; the others are called by their number
    3: "<script>alert(2)<.jpg",
    4: "a\" onerror=alert(3) x='.jpg",
    5: "new\nline & .jpg",
    6: "&lt;img src=x&gt;.jpg",
}
EVIL = "</script><script>alert(1)</script>\u202e\x00 & \"quoted\" 'title' <img src=http://a.b/c.png onerror=x>"
VOID = {"meta", "img", "input", "br"}
SHAPES = {"line", "polygon", "polyline", "rect"}
SIZES = (12, 9, 6, 3)


def make_table(folder: Path, *, sizes=SIZES, names=None, images: bool = True) -> Table:
    """Rows class by class; row 0 has a hostile title, row 1 and those of PATHS none, and row 2's image is missing."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    paths = [f"img/{PATHS.get(row, f'{row:03d}.jpg')}" for row in range(len(labels))]
    titles = [EVIL, ""] + ["" if row in PATHS else f"title {row}" for row in range(2, len(labels))]
    if images:
        (folder / "img").mkdir(parents=True)
        for row in range(len(labels)):
            if row != 2:
                image = np.full((30, 40, 3), 5 * row % 256, np.uint8)
                cv2.imwrite(str(folder / "x.jpg"), image)
                (folder / "x.jpg").rename(folder / paths[row])
    with BaseWriter(folder / "table", root=folder, format="list", class_names=names or NAMES) as writer:
        writer.add(paths, labels, text=titles)
    return Table.open(folder / "table")


def write(table: Table, file: str, stage: str = "", **columns) -> None:
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    table.write(file, arrays, stage=stage or file, recipe_hash="0" * 16, checkpoint="here")


def write_columns(table: Table) -> None:
    """class, cluster and instance columns; every third row is suggested to be of the next class."""
    labels, n = table.column("label"), table.n_rows
    rng = np.random.default_rng(0)
    wrong = np.arange(n) % 3 == 0
    suggested = np.where(wrong, (labels + 1) % len(table.class_names), labels).astype(np.int32)
    write(table, "class", class_weight=(1 + labels).astype(np.float32))
    write(
        table,
        "cluster",
        cluster=(np.arange(n) % 2).astype(np.int16),
        cluster_weight=np.where(np.arange(n) % 2, 1.5, 0.5).astype(np.float32),
    )
    write(
        table,
        "instance",
        relevance=rng.random(n, np.float32),
        instance_weight=np.ones(n, np.float32),
        confidence=np.where(wrong, 0.1, 0.9).astype(np.float32),
        suggested=suggested,
        suggested_prob=np.full(n, 0.8, np.float32),
    )


def write_run(folder: Path, base_hash: str, stages=("class", "cluster"), unfinished: str = "") -> Path:
    """OUTPUT/NAME with states of the stages in a recipe's order; ``unfinished`` has a best one only."""
    recipe = {"name": "toy", "seed": 3, "model": {"name": "TinyNet"}, "data": {"exif": "ignore"}}
    recipe["stages"] = [{"name": name} for name in (*stages, "later")]
    for place, name in enumerate(stages):
        best = {"top1": 0.6 + 0.05 * place, "top5": 0.9, "step": 8}
        state = {"stage": name, "step": 9, "total_steps": 10, "base_hash": base_hash, "best": best}
        state["last"] = {**best, "top1": best["top1"] - 0.02}
        for kind in ("best",) if name == unfinished else ("best", "final"):
            (folder / name / kind).mkdir(parents=True)
            (folder / name / kind / "state.json").write_text(json.dumps(state))
            (folder / name / kind / "recipe.yaml").write_text(yaml.safe_dump(recipe))
            os.utime(folder / name / kind / "state.json", (1.7e9 + place,) * 2)
    return folder


def no_images(files, size=0):
    """Thumbnails where no image can be read."""
    return [NoPicture("none of these tests")] * len(files)


def report_of(table, folder, thumbnails=no_images, methods=None, **settings):
    """The report of a run's folder."""
    return build_report(read_run(folder), table, thumbnails, Settings(**settings), methods)


class Page(HTMLParser):
    """Reads a page: every tag must be closed in its order; keeps tags, addresses, ids and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.addresses, self.links, self.ids = [], [], [], [], []
        self.texts, self.handlers = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "src":
                self.addresses.append(value)
            elif name == "href":
                self.links.append(value)
            elif name == "id":
                self.ids.append(value)
            elif name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag, attrs):
        assert tag in SHAPES
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def photos_of(folder: Path, n_classes: int = 3, each: int = 6, size=(300, 400)):
    """A folder of pictures class by class, each of one grey, and what is known of them: all are fine."""
    names = (NAMES * n_classes)[:n_classes]
    labels, paths = np.repeat(np.arange(n_classes), each), []
    for row, label in enumerate(labels.tolist()):
        paths.append(f"c{label}/{row}.jpg")
        (folder / f"c{label}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / paths[-1]), np.full((*size, 3), 10 * row % 256, np.uint8))
    n = len(labels)
    known = {
        "suggested": labels.astype(np.int32),
        "label_quality": np.linspace(0.6, 0.99, n, dtype=np.float32),
        "verdict": np.zeros(n, np.int8),
        "suggested_prob": np.full(n, 0.9, np.float32),
        "group": np.full(n, -1, np.int32),
        "in_classes": np.full(n, 0.9, np.float32),
        "same_as": [""] * n,
    }
    return Photos(paths, labels, names, folder), known


def mark(known: dict, row: int, verdict: str, quality: float, **more) -> None:
    """Set what is known of one row."""
    values = {"verdict": VERDICTS.index(verdict), "label_quality": quality, **more}
    for name, value in values.items():
        known[name][row] = value
