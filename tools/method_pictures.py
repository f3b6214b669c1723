"""Draws a picture of each reweighting for docs/method.md, and one of all five for README, of its ten example rows.

    python -m tools.method_example --draw

A card is a picture: what it shows is the shape in it, the label it was given is the card's colour. One file serves
light and dark pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tools.method_example import BAGS, FEATURES, LABELS, SHOWN

WIDTH, STEP, CARD, LEFT = 480, 46, 36, 15
TOP, BASE, TALL = 40, 166, 74  # where cards begin, where bars end, the highest bar
STYLE = """
.page{fill:#fbfbf9}.ink{fill:#1d2329}.line{stroke:#7d8790;fill:none}.even{stroke:#7d8790;stroke-dasharray:3 3}
.c0{fill:#dbe8f7;stroke:#2f6fbf}.c1{fill:#f7e7d0;stroke:#c9822b}.b0{fill:#2f6fbf}.b1{fill:#c9822b}.shape{fill:#1d2329}
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;font-size:13px}
.t{font-size:15px;font-weight:600}.m{text-anchor:middle}
@media(prefers-color-scheme:dark){
.page{fill:#14171a}.ink{fill:#e8e9e6}.line,.even{stroke:#8f99a3}
.c0{fill:#20364f;stroke:#6ea8ec}.c1{fill:#4a361c;stroke:#e3a95c}.b0{fill:#6ea8ec}.b1{fill:#e3a95c}.shape{fill:#e8e9e6}}
"""


def pictures(columns: Mapping[str, np.ndarray]) -> dict[str, str]:
    """File name -> text, of the columns that ``tools.method_example`` computes."""
    found = columns
    return {
        "method_class_size.svg": _bars("The smaller class weighs more", found["class_weight"], even=True),
        "method_cluster.svg": _clusters(found["cluster"], found["cluster_weight"]),
        "method_instance.svg": _bars("The likelier a label, the more often drawn", found["instance_weight"], even=True),
        "method_bag.svg": _bars("Two bags: rows that fit their label lead", found["bag_attention"], bags=True),
        "method_label.svg": _targets(found["target"]),
        "five_reweightings.svg": _five(found),
    }


def _file(title: str, height: int, parts: Iterator[str], *, width: int = WIDTH) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
        f"<title>{title}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}" rx="10"/>',
        f'<text class="t ink" x="{LEFT}" y="26">{title}</text>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _shape(what: int, x: float, y: float, r: float) -> str:
    """A circle, a square or, of no class, a triangle."""
    if what == 0:
        return f'<circle class="shape" cx="{x:g}" cy="{y:g}" r="{r:g}"/>'
    if what == 1:
        return f'<rect class="shape" x="{x - r:g}" y="{y - r:g}" width="{2 * r:g}" height="{2 * r:g}"/>'
    return f'<path class="shape" d="M{x:g} {y - r:g}l{r:g} {2 * r:g}h{-2 * r:g}z"/>'


def _card(row: int, x: float, y: float, side: float = CARD) -> str:
    card = f'<rect class="c{LABELS[row]}" x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" rx="4"/>'
    return card + _shape(int(SHOWN[row]), x + side / 2, y + side / 2, round(side / 4.5, 1))


def _bars(title: str, values: np.ndarray, *, even: bool = False, bags: bool = False) -> str:
    """A bar under each card, a value under each bar; nan: none. ``even``: a line at 1; ``bags``: a line under each."""

    def parts() -> Iterator[str]:
        scale = TALL / float(np.nanmax(values))
        for row, value in enumerate(values):
            x = LEFT + STEP * row
            yield _card(row, x, TOP)
            if np.isfinite(value):
                high = round(scale * float(value), 1)
                at = f'x="{x + 6}" y="{BASE - high:g}" width="{CARD - 12}" height="{high:g}"'
                yield f'<rect class="b{LABELS[row]}" {at}/>'
                yield f'<text class="ink m" x="{x + CARD // 2}" y="{BASE + 17}">{value:.2f}</text>'
        if even:
            yield f'<path class="even" d="M{LEFT} {BASE - scale:.1f}H{WIDTH - LEFT}"/>'
        for bag in BAGS if bags else []:
            yield from _brackets(bag)

    return _file(title, BASE + 32, parts())


def _brackets(bag: Sequence[int]) -> Iterator[str]:
    """A line under each run of neighbours of a bag."""
    for row in bag:
        end = LEFT + STEP * row + (STEP if row + 1 in bag else CARD)
        yield f'<path class="line" stroke-width="3" d="M{LEFT + STEP * row} {BASE + 25}H{end}"/>'


def _targets(circle: np.ndarray) -> str:
    """Each row's target: the share of each class."""

    def parts() -> Iterator[str]:
        for row, share in enumerate(circle):
            x, high = LEFT + STEP * row + 6, round(TALL * float(share), 1)
            yield _card(row, x - 6, TOP)
            yield f'<rect class="b1" x="{x}" y="{BASE - TALL}" width="{CARD - 12}" height="{TALL - high:g}"/>'
            yield f'<rect class="b0" x="{x}" y="{BASE - high:g}" width="{CARD - 12}" height="{high:g}"/>'
            yield f'<text class="ink m" x="{x - 6 + CARD // 2}" y="{BASE + 17}">{share:.2f}</text>'

    return _file("What each row is trained towards", BASE + 32, parts())


def _clusters(cluster: np.ndarray, weight: np.ndarray) -> str:
    """Both classes' rows in the space of the features, and the weight of each cluster."""
    unit = 23

    def parts() -> Iterator[str]:
        for c, number in ((0, 0), (0, 1), (1, 0), (1, 1)):
            rows = np.flatnonzero((c == LABELS) & (cluster == number))
            x, y = LEFT + c * (WIDTH // 2) + unit * FEATURES[rows, 0], 58 + unit * FEATURES[rows, 1]
            at, wide, tall = (x.mean(), y.mean()), 22 + np.ptp(x) / 2, 22 + np.ptp(y) / 2
            yield f'<ellipse class="line" cx="{at[0]:.1f}" cy="{at[1]:.1f}" rx="{wide:.1f}" ry="{tall:.1f}"/>'
            said = f"weight {weight[rows[0]]:.2f}"
            yield f'<text class="ink m" x="{at[0]:.1f}" y="{at[1] - tall - 5:.1f}">{said}</text>'
            for row, px, py in zip(rows, x, y, strict=True):
                yield _card(int(row), float(px) - 9, float(py) - 9, 18)

    return _file("Clusters of well recognised rows weigh more", 242, parts())


FIVE = (  # column, name, what it does, in two lines of at most 22 letters
    ("class_weight", "1 Class size", "small classes count", "more"),
    ("cluster_weight", "2 Cluster", "so do clusters whose", "labels look right"),
    ("instance_weight", "3 Confidence", "so do rows whose", "label looks right"),
    ("bag_attention", "4 Bag", "of the drawn rows, the", "sure ones lead the bag"),
    ("target", "5 Label", "doubtful labels", "become soft"),
)
KEY = ("colour: the label it came with", "shape: what the picture shows (a triangle fits neither class)")


def _five(found: Mapping[str, np.ndarray]) -> str:
    """One band a reweighting under the same ten cards."""
    left, band, tall = 172, 62, 40

    def parts() -> Iterator[str]:
        for row in range(len(LABELS)):
            yield _card(row, left + STEP * row, TOP)
        for number, (column, name, *lines) in enumerate(FIVE):
            base = TOP + CARD + 14 + band * (number + 1)
            yield f'<text class="t ink" x="{LEFT}" y="{base - 34}">{name}</text>'
            for line, y in zip(lines, (base - 17, base - 1), strict=True):
                yield f'<text class="ink" x="{LEFT}" y="{y}">{line}</text>'
            values, scale = found[column], tall / float(np.nanmax(found[column]))
            for row, value in enumerate(values):
                x, high = left + STEP * row + 6, round(scale * float(value), 1)
                share = column == "target"
                if share:
                    yield f'<rect class="b1" x="{x}" y="{base - tall}" width="{CARD - 12}" height="{tall - high:g}"/>'
                kind = 0 if share else LABELS[row]
                yield f'<rect class="b{kind}" x="{x}" y="{base - high:g}" width="{CARD - 12}" height="{high:g}"/>'
            yield f'<path class="line" d="M{left} {base + 0.5}H{left + STEP * 9 + CARD}"/>'
        for number, line in enumerate(KEY):
            yield f'<text class="ink" x="{LEFT}" y="{TOP + CARD + 5 * band + 42 + 18 * number}">{line}</text>'

    height = TOP + CARD + 5 * band + 74
    return _file(
        "Ten pictures of two classes, and how much each one counts", height, parts(), width=left + STEP * 10 + 6
    )
