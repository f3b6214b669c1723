"""All finished pairs of method and seed, and the files that hold them, each written whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.ablation import report
from tools.ablation.methods import Run
from tools.ablation.runs import Cost, Record, say
from tools.ablation.scores import entry, instance_scores
from tools.ablation.truth import Lists, Truth
from urnet.core.atomic_files import atomic_file


class Results:
    """Results as they come in; ``add`` writes result.json and result.md anew. ``made``: how they were made."""

    def __init__(
        self,
        out: Path,
        methods: Sequence[str],
        lists: Lists,
        truth: Truth | None,
        title: str,
        made: Sequence[tuple[str, str]],
    ) -> None:
        self.out, self.methods, self.lists, self.truth = out, tuple(methods), lists, truth
        self._title, self._made = title, made
        self._entries: dict[tuple[str, int], dict[str, Any]] = {}
        self._cleanlab: dict[int, dict[str, float | None]] = {}

    def collect(self, records: Sequence[Record]) -> None:
        """Take in what earlier calls finished and would be made the same way now."""
        for record in records:
            run, kept = record.run, []
            for stage, method in run.methods.items():
                cost = record.cost(stage)
                if cost is not None:
                    self._take(run, stage, cost)
                    kept.append(method)
            if kept:
                say(f"{run.name}: finished already, kept: {', '.join(kept)}")

    def add(self, run: Run, stage: str, cost: Cost) -> None:
        """Take in a stage that is finished now, and write."""
        top1 = self._take(run, stage, cost)["top1_last"]
        seconds = "" if cost.seconds is None else f" ({cost.seconds:.0f} s)"
        say(f"{run.methods[stage]}, seed {run.seed}: top-1 {top1:.2f} %{seconds}")
        self.write()

    def _take(self, run: Run, stage: str, cost: Cost) -> dict[str, Any]:
        found = entry(run, stage, cost, self.truth)
        self._entries[run.methods[stage], run.seed] = found
        if scores := instance_scores(run, stage, self.truth):
            self._cleanlab[run.seed] = scores
        return found

    @property
    def entries(self) -> list[dict[str, Any]]:
        """By method, in the order in which they are shown, then by seed."""
        return sorted(self._entries.values(), key=lambda e: (self.methods.index(e["method"]), e["seed"]))

    def write(self) -> None:
        """Write result.json and result.md."""
        entries = self.entries
        n, classes = len(self.lists), len(set(self.lists.labels.tolist()))
        about = f"{n:,} training rows in {classes} classes"
        wrong = None if self.truth is None else 100 * float(1 - self.truth.right.mean())
        about += "." if wrong is None else f", {wrong:.1f} % of them with a wrong label."
        page = report.page(
            entries, self._cleanlab, self.methods, title=self._title, about=about, wrong_share=wrong, made=self._made
        )
        for name, text in (("result.json", json.dumps(entries, indent=1) + "\n"), ("result.md", page)):
            with atomic_file(self.out / name, replace=True) as part:
                part.write_text(text, encoding="utf-8")

    def summary(self) -> str:
        """What is printed at the end: the table of accuracies, and where the rest is."""
        return f"{report.accuracy_table(self.entries, self.methods)}\nresults {self.out / 'result.md'}"

    def draw(self) -> None:
        """Write ladder.png."""
        from tools.ablation.plot import draw

        with atomic_file(self.out / "ladder.png", replace=True) as part:
            draw(self.entries, self.methods, self._title, part)
