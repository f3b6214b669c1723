"""Ten rows and what the five reweightings make of them: the worked example of docs/method.md, by the real functions.

python -m tools.method_example           # the table
python -m tools.method_example --draw    # docs/assets/method_*.svg as well
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.reweight.class_size import class_size
from urnet.reweight.cluster import cluster
from urnet.reweight.evidence.ranks import class_ranks
from urnet.reweight.label import label
from urnet.reweight.sampling_weight import sampling_weight

CLASSES = ("circle", "square")
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
SHOWN = np.array([0, 0, 0, 0, 1, 2, 1, 1, 1, 0])  # what the pictures show; 2: neither. No function is told
GIVEN = np.array([0.9, 0.8, 0.9, 0.7, 0.2, 0.3, 0.9, 0.7, 0.8, 0.1])  # p_i(y_i) of an out-of-fold head
FEATURES = np.array(
    [[1, 5], [2, 6], [1, 6], [2, 5], [7, 2], [8, 6], [7, 1], [8, 2], [8, 1], [2, 4]], np.float32
)  # two numbers per picture  # fmt: skip
BAGS = ((0, 1, 4, 5), (6, 7, 8, 9))  # four rows of one class each
ROWS_A_CLUSTER = 1.5  # so that classes this small have two clusters; 50 otherwise


def columns() -> dict[str, np.ndarray]:
    """Every column of the example by its name in the table, (10,); ``target`` (10,) is t_i(circle)."""
    found = {
        "given": GIVEN,
        **class_size(LABELS, 2),
        **cluster(FEATURES, LABELS, GIVEN, 2, rows_per_cluster=ROWS_A_CLUSTER, max_clusters=2),
        "rank": class_ranks(GIVEN, LABELS),
    }
    found["instance_weight"] = sampling_weight(LABELS, 2, relevance=found["rank"], power=1.0)["instance_weight"]
    found["bag_attention"] = attention()
    index = np.tile(np.arange(2, dtype=np.int32), (10, 1))
    belief = np.where(index == LABELS[:, None], GIVEN[:, None], 1 - GIVEN[:, None])
    soft = label(LABELS, 2, index=index, prob=belief, given=GIVEN, k=2)
    found["target"] = (soft["topk_prob"] * (soft["topk_index"] == 0)).sum(axis=1).astype(np.float32)
    return found


def attention() -> np.ndarray:
    """(10,) each row's attention in its bag, all weights and the temperature 1: a_j ∝ p_j(y); nan in no bag."""
    out = np.full(10, np.nan)
    for bag in map(list, BAGS):
        out[bag] = GIVEN[bag] / GIVEN[bag].sum()
    return out


def table() -> str:
    """The table of docs/method.md, in Markdown."""
    found = columns()
    head = ["row", "label", "$p_i(y_i)$", "class_weight", "cluster", "cluster_weight", "rank", "instance_weight"]
    head += ["attention", "$t_i$(circle)"]
    names = ["class_weight", "cluster", "cluster_weight", "rank", "instance_weight", "bag_attention", "target"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in range(10):
        cells = [str(row), CLASSES[LABELS[row]], f"{GIVEN[row]:.1f}"]
        cells += [_cell(name, found[name][row]) for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(name: str, value: np.generic) -> str:
    if name == "cluster":
        return str(value)
    return f"{value:.2f}" if np.isfinite(value) else "—"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; with ``--draw`` write the pictures."""
    parser = cli.Parser(prog="tools.method_example", description="The worked example of docs/method.md.")
    parser.add_argument("--draw", action="store_true", help="write docs/assets/method_*.svg as well")
    args = parser.parse_args(argv)
    if args.draw:
        from tools.method_pictures import pictures

        assets = Path(__file__).parents[1] / "docs/assets"
        for name, text in pictures(columns()).items():
            with atomic_file(assets / name, replace=True) as part:
                part.write_text(text, encoding="utf-8")
    print(table(), end="")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.run(main))
