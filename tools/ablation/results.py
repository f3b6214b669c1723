"""All finished pairs of method and seed, and the files that hold them, each written whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from tools.ablation import report
from tools.ablation.cost import unequal
from tools.ablation.methods import Run
from tools.ablation.rows import Rows
from tools.ablation.runs import Cost, Record, say
from tools.ablation.scores import cleanlab_scores, entry
from urnet.core.atomic_files import atomic_file


class Results:
    """Results as they come in, from several threads; ``add`` writes result.json and result.md anew.

    ``methods``: in the order in which they are shown; ``made``: how they were made.
    """

    def __init__(self, out: Path, methods: Sequence[str], rows: Rows, *, title: str, made: str):
        self.out, self.methods, self.rows = out, methods, rows
        self.settings = ""  # a list of what was set, in Markdown
        self._title, self._made, self._lock = title, made, threading.Lock()
        self._entries: dict[tuple[int, int], dict[str, Any]] = {}  # by place of the method and seed
        self._cleanlab: dict[tuple[str, int], report.Judged] = {}  # by kind of run and seed

    def collect(self, records: Iterable[Record]) -> None:
        """Take in what earlier calls finished and would be made the same way now."""
        for record in records:
            kept = []
            for stage, method in record.run.methods.items():
                if (cost := record.cost(stage)) is not None:
                    self._take(record.run, stage, cost)
                    kept.append(method)
            if kept:
                say(f"{record.run.name}: finished already, kept: {', '.join(kept)}")

    def add(self, run: Run, stage: str, cost: Cost) -> None:
        """Take in a stage that is finished now, and write."""
        with self._lock:
            top1 = self._take(run, stage, cost)["top1_last"]
            seconds = "" if cost.seconds is None else f" ({cost.seconds:.0f} s)"
            say(f"{run.methods[stage]}, seed {run.seed}: top-1 {top1:.2f} %{seconds}")
            self.write()

    def _take(self, run: Run, stage: str, cost: Cost) -> dict[str, Any]:
        found = entry(run, stage, cost, self.rows)
        self._entries[self.methods.index(run.methods[stage]), run.seed] = found
        if scores := cleanlab_scores(run, stage, self.rows):
            self._cleanlab[run.kind, run.seed] = scores
        return found

    @property
    def entries(self) -> list[dict[str, Any]]:
        """By method, in the order in which they are shown, then by seed."""
        return [self._entries[key] for key in sorted(self._entries)]

    def write(self) -> None:
        """Write result.json and result.md."""
        for name, text in (("result.json", json.dumps(self.entries, indent=1) + "\n"), ("result.md", self.page())):
            with atomic_file(self.out / name, replace=True) as part:
                part.write_text(text, encoding="utf-8")

    def page(self) -> str:
        """result.md: accuracies, how well wrong labels are found, the cost."""
        entries, quality = self.entries, ""
        about = f"{len(self.rows):,} training rows in {len(set(self.rows.labels.tolist()))} classes"
        if self.rows.right is not None:
            wrong = 100 * float(1 - self.rows.right.mean())
            about += f", {wrong:.1f} % of them with a wrong label"
            quality = report.quality_table(entries, self.methods, wrong, self._cleanlab)
        parts = [f"# Benchmark: {self._title}\n\n{about}.\n", report.ACCURACY, self.table()]
        if quality:
            parts += ["## Finding wrong labels\n", report.QUALITY, quality]
        if self.settings:
            parts += ["## Settings\n", report.SETTINGS, self.settings]
        parts += ["## Cost\n", report.COST, self.costs(), "## Made with\n", self._made]
        return "\n".join(parts)

    def table(self) -> str:
        """The table of accuracies."""
        return report.accuracy_table(self.entries, self.methods)

    def costs(self) -> str:
        """The table of costs."""
        return report.cost_table(self.entries, self.methods)

    def unequal(self, methods: Container[str]) -> str:
        """What is wrong with comparing those of ``methods`` that have results, in one line: their counted costs."""
        found = (
            (name, report.mean_of(self.entries, name, "cost")) for name in report.present(self.entries, self.methods)
        )
        return unequal({name: cost for name, cost in found if name in methods and cost is not None})

    def draw(self) -> None:
        """Write ladder.png."""
        from tools.ablation.plot import draw

        with atomic_file(self.out / "ladder.png", replace=True) as part:
            draw(self.entries, self.methods, self._title, part)
