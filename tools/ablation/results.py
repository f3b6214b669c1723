"""All finished pairs of method and seed, and the files that tell of them, each written whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.ablation import report as report
from tools.ablation.methods import Run
from tools.ablation.runs import Cost, Record, tell
from tools.ablation.scores import entry, judge_scores
from tools.ablation.truth import Lists, Truth
from urnet.core.atomic_files import atomic_file


class Results:
    """Results as they come in, from several threads; ``add`` writes result.json and result.md anew."""

    def __init__(
        self,
        out: Path,
        methods: Sequence[str],
        lists: Lists,
        truth: Truth | None,
        *,
        title: str,
        command: str,
        threads: int,
        jobs: int,
    ) -> None:
        self.out, self.methods, self.lists, self.truth = out, tuple(methods), lists, truth
        self._title, self._made = title, report.conditions(command, threads, jobs)
        self._entries: dict[tuple[str, int], dict[str, Any]] = {}
        self._judges: dict[int, dict[str, float | None]] = {}
        self._lock = threading.Lock()

    def collect(self, runs: Sequence[Run]) -> None:
        """Take in what earlier calls finished and would be made the same way now."""
        for run in runs:
            record = Record(run, self.lists, self.truth)
            kept = [stage for stage in run.methods if (cost := record.cost(stage)) and self._take(run, stage, cost)]
            if kept:
                tell(f"{run.name}: finished already, kept: {', '.join(run.methods[stage] for stage in kept)}")

    def add(self, run: Run, stage: str, cost: Cost) -> None:
        """Take in a stage that is finished now, and write."""
        self._take(run, stage, cost)
        found = self._entries[run.methods[stage], run.seed]
        seconds = "" if cost.seconds is None else f" ({cost.seconds:.0f} s)"
        tell(f"{run.methods[stage]}, seed {run.seed}: top-1 {found['top1_last']:.2f} %{seconds}")
        self.write()

    def _take(self, run: Run, stage: str, cost: Cost) -> bool:
        found, judges = entry(run, stage, cost, self.truth), judge_scores(run, stage, self.truth)
        with self._lock:
            self._entries[run.methods[stage], run.seed] = found
            if judges:
                self._judges[run.seed] = judges
        return True

    @property
    def entries(self) -> list[dict[str, Any]]:
        """By method, in the order in which they are shown, then by seed."""
        return sorted(self._entries.values(), key=lambda e: (self.methods.index(e["method"]), e["seed"]))

    def write(self) -> None:
        """Write result.json and result.md."""
        with self._lock:
            entries = self.entries
            with atomic_file(self.out / "result.json", replace=True) as part:
                part.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
            with atomic_file(self.out / "result.md", replace=True) as part:
                part.write_text(self._page(entries), encoding="utf-8")

    def _page(self, entries: Sequence[dict[str, Any]]) -> str:
        n, classes = len(self.lists), len(set(self.lists.labels.tolist()))
        about = f"{n:,} training rows in {classes} classes"
        wrong = None if self.truth is None else 100 * float(1 - self.truth.right.mean())
        about += "." if wrong is None else f", {wrong:.1f} % of them with a wrong label."
        return report.page(
            entries, self._judges, self.methods, title=self._title, about=about, wrong_share=wrong, made=self._made
        )

    def summary(self) -> str:
        """What is printed at the end: the table of accuracies, and where the rest is."""
        return f"{report.accuracy_table(self.entries, self.methods)}\nresults {self.out / 'result.md'}"

    def draw(self) -> None:
        """Write ladder.png."""
        from tools.ablation.plot import draw

        with atomic_file(self.out / "ladder.png", replace=True) as part:
            draw(self.entries, self.methods, self._title, part)
