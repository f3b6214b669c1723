"""The figure of docs/benchmark.md: gains against the number of training rows and the share of wrong labels.

    python -m tools.growth_picture

Writes docs/assets/growth.png from the runs kept in docs/results/. Needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence

from tools.ablation.growth_plot import draw
from tools.ablation.report import BASE
from tools.result_tables import GROWN_METHODS
from tools.results import ROOT, grown, kept_runs
from urnet.core import cli
from urnet.core.atomic_files import atomic_file


def main(argv: Sequence[str]) -> None:
    """Write the picture."""
    cli.Parser("tools/growth_picture.py", description=__doc__).parse_args(argv)
    with atomic_file(ROOT / "docs" / "assets" / "growth.png", replace=True) as part:
        draw(grown(kept_runs()), GROWN_METHODS, part, (BASE,))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
