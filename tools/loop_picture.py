"""Draws the picture of docs/photos.md: from a folder of photographs to a served classifier, and round again.

    python -m tools.loop_picture > docs/assets/loop.svg

Plain shapes stand for photographs: a circle among squares is a wrong label, a star fits no class. One file for light
and dark pages, legible from 360 pixels on.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator

WIDTH, HEIGHT = 620, 470
BOX, TALL = 180, 190  # a box's sides
LEFT, MIDDLE, RIGHT, TOP, LOW = 14, 220, 426, 46, 266  # where boxes begin
NOTE = """\
No file of yours
is moved, renamed
or changed: what
you decide is one
CSV file next to it."""

STYLE = """
.page{fill:#fbfbf9}.box{fill:#fff;stroke:#cfd4d9;stroke-width:1.5}.line{stroke:#7d8790;stroke-width:2.5;fill:none}
.head{fill:#7d8790}.ink{fill:#1d2329}.soft{fill:#5b656f}.card{fill:#eef0f2}.ring{fill:none;stroke:#c62f3b;stroke-width:3}
.a{fill:#2f6fbf}.b{fill:#c9822b}.c{fill:#2f8f5b}.d{fill:#8d6cc4}.good{fill:#2f8f5b}.bad{fill:#c62f3b}
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
.t{font-size:20px;font-weight:600}.s{font-size:15.5px}.k{font-size:15px;font-weight:600}.m{text-anchor:middle}
@media(prefers-color-scheme:dark){
.page{fill:#14171a}.box{fill:#1c2024;stroke:#3a4148}.line{stroke:#8f99a3}.head{fill:#8f99a3}
.ink{fill:#e8e9e6}.soft{fill:#a9b2bb}.card{fill:#2a3036}.ring{stroke:#ff7b81}
.a{fill:#6ea8ec}.b{fill:#e3a95c}.c{fill:#63c08c}.d{fill:#b79df0}.good{fill:#63c08c}.bad{fill:#ff7b81}}
"""


def picture() -> str:
    """The file's text."""
    about = "A folder of photographs becomes a list of suspects, a person decides, a classifier is trained and served"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">',
        f"<title>{about}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="12"/>',
        *_box(LEFT, TOP, "Your folder", "one sub-folder per class", _folder),
        *_box(MIDDLE, TOP, "Suspects", "what looks wrong", _suspects),
        *_box(RIGHT, TOP, "Decisions", "one key per picture", _decisions),
        *_box(RIGHT, LOW, "Training", "minutes, on a laptop", _training),
        *_box(MIDDLE, LOW, "Service", "or “fits no class”", _service),
        *_arrow((LEFT + BOX + 3, TOP + 95), (MIDDLE - 4, TOP + 95)),
        *_arrow((MIDDLE + BOX + 3, TOP + 95), (RIGHT - 4, TOP + 95)),
        *_arrow((RIGHT + 90, TOP + TALL + 3), (RIGHT + 90, LOW - 4)),
        *_arrow((RIGHT - 3, LOW + 95), (MIDDLE + BOX + 4, LOW + 95)),
        *_back(),
        *_words(LEFT + 4, LOW + 62, NOTE),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _box(x: int, y: int, title: str, line: str, inside: Callable[[int, int], Iterator[str]]) -> Iterator[str]:
    """A titled box and what is drawn in it."""
    yield f'<rect class="box" x="{x}" y="{y}" width="{BOX}" height="{TALL}" rx="10"/>'
    yield f'<text class="t ink m" x="{x + BOX // 2}" y="{y + 28}">{title}</text>'
    yield f'<text class="s soft m" x="{x + BOX // 2}" y="{y + 49}">{line}</text>'
    yield from inside(x, y + 60)


def _words(x: int, y: int, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines()):
        yield f'<text class="s soft" x="{x}" y="{y + 22 * number}">{line}</text>'


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> Iterator[str]:
    """A straight arrow."""
    (x, y), (to_x, to_y) = start, end
    length = math.hypot(to_x - x, to_y - y)
    ux, uy = (to_x - x) / length, (to_y - y) / length
    back = (to_x - 9 * ux, to_y - 9 * uy)
    yield f'<path class="line" d="M{x} {y}L{back[0]:g} {back[1]:g}"/>'
    corners = ((back[0] - 6 * uy, back[1] + 6 * ux), (back[0] + 6 * uy, back[1] - 6 * ux))
    yield f'<path class="head" d="M{to_x} {to_y}' + "".join(f"L{a:g} {b:g}" for a, b in corners) + 'Z"/>'


def _back() -> Iterator[str]:
    """From the decisions back to the list: the rest is judged with their help."""
    x, to_x = RIGHT + 60, MIDDLE + 120
    yield f'<path class="line" stroke-dasharray="6 5" d="M{x} {TOP - 3}C{x} 14 {to_x} 14 {to_x} {TOP - 12}"/>'
    yield f'<path class="head" d="M{to_x} {TOP - 3}l-6 -9h12Z"/>'
    yield f'<text class="s soft m" x="{MIDDLE - 8}" y="26">the rest is judged again</text>'


def _photo(x: float, y: float, shape: str, side: float = 34) -> str:
    """A photograph of ``side`` pixels: a card with a shape."""
    r, cx, cy = 0.29 * side, x + side / 2, y + side / 2
    card = f'<rect class="card" x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" rx="4"/>'
    if shape == "a":
        return card + f'<circle class="a" cx="{cx:g}" cy="{cy:g}" r="{r:g}"/>'
    if shape == "b":
        return card + f'<rect class="b" x="{cx - r:g}" y="{cy - r:g}" width="{2 * r:g}" height="{2 * r:g}" rx="1.5"/>'
    lengths = {"c": [1.15] * 3, "d": [1.3, 0.55] * 5}[shape]  # a triangle, a star
    if shape == "c":
        cy += 0.12 * r
    turns = [2 * math.pi * i / len(lengths) for i in range(len(lengths))]
    corners = zip(turns, lengths, strict=True)
    points = " ".join(f"{cx + r * far * math.sin(t):.1f},{cy - r * far * math.cos(t):.1f}" for t, far in corners)
    return card + f'<polygon class="{shape}" points="{points}"/>'


def _folder(x: int, y: int) -> Iterator[str]:
    """Three rows of photographs, three of which are in the wrong one or in none."""
    for row, shapes in enumerate(("aaba", "bbbd", "cacc")):
        for column, shape in enumerate(shapes):
            yield _photo(x + 13 + 40 * column, y + 4 + 41 * row, shape)


def _suspects(x: int, y: int) -> Iterator[str]:
    """Those three in a list, with what is wrong."""
    for row, (shape, given, better) in enumerate((("b", "a", "b"), ("a", "c", "a"), ("d", "b", ""))):
        top = y + 4 + 41 * row
        yield _photo(x + 14, top, shape)
        yield f'<rect class="ring" x="{x + 14}" y="{top}" width="34" height="34" rx="4"/>'
        yield _photo(x + 72, top + 4, given, 26)
        yield f'<path class="ring" d="M{x + 72} {top + 30}l26 -26"/>'
        if better:
            yield from _arrow((x + 106, top + 17), (x + 126, top + 17))
            yield _photo(x + 134, top + 4, better, 26)
        else:
            yield f'<text class="t soft m" x="{x + 130}" y="{top + 24}">?</text>'


def _decisions(x: int, y: int) -> Iterator[str]:
    """Keys, and what they do."""
    keys = (("T", "take it", "good"), ("K", "keep", "soft"), ("N", "no class", "bad"))
    for row, (key, word, colour) in enumerate(keys):
        top = y + 4 + 41 * row
        yield f'<rect class="card" x="{x + 16}" y="{top}" width="34" height="34" rx="6"/>'
        yield f'<text class="k ink m" x="{x + 33}" y="{top + 22}">{key}</text>'
        yield f'<text class="k {colour}" x="{x + 62}" y="{top + 22}">{word}</text>'


def _training(x: int, y: int) -> Iterator[str]:
    """How much each photograph counts: bars."""
    heights, shapes = (74, 70, 20, 78, 66, 6, 72, 14), "abcbadca"
    for column, (height, shape) in enumerate(zip(heights, shapes, strict=True)):
        left, top = x + 17 + 19 * column, y + 88 - height
        yield f'<rect class="{shape}" x="{left}" y="{top}" width="13" height="{height}" rx="2"/>'
    yield f'<path class="line" d="M{x + 13} {y + 90}h154"/>'
    yield f'<text class="s soft m" x="{x + 90}" y="{y + 114}">each counts its part</text>'


def _service(x: int, y: int) -> Iterator[str]:
    """A new photograph of a class, and one of none."""
    for row, (shape, word, colour) in enumerate((("c", "triangle", "good"), ("d", "fits no class", "bad"))):
        top = y + 12 + 56 * row
        yield _photo(x + 14, top, shape, 40)
        yield f'<text class="k {colour}" x="{x + 62}" y="{top + 26}">{word}</text>'


if __name__ == "__main__":
    sys.stdout.write(picture())
