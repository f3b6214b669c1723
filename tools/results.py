"""The measured results behind the tables of README and docs: kept as they were measured, and written into the pages.

    python -m tools.results                             write the tables of the pages
    python -m tools.results compare OUT digits          compare what you measured in OUT with what is reported
    python -m tools.results keep OUT digits --commit HASH --command "python tools/benchmark.py …"

OUT is a folder that tools/benchmark.py wrote. docs/results/NAME.json has every kept run: its figures as in
OUT/result.json, command, commit, machine, and the SHA-256 of its weights. A test compares the pages with what this
command would write.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.ablation.growth import Measured, growth_table
from tools.ablation.methods import LADDER
from tools.ablation.report import BASE, Entries, by_seed, gains, mean_of, table, text_of
from tools.result_tables import GAINS, GROWN, GROWN_METHODS, LONG, SHORT
from urnet.core import cli
from urnet.core.atomic_files import atomic_file, file_hash
from urnet.core.checks import InputError, check_choice

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "benchmark.md")
MARKED = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
FIGURES = ("method", "seed", "top1_last", "top5_last", "auc", "auc_inside", "weight_on_wrong", "epochs", "cost")
Run = dict[str, Any]
Pairs = Sequence[tuple[str, str]]


def main(argv: Sequence[str]) -> None:
    """Write the pages, or what the first word says. Raises InputError."""
    parser = cli.Parser("tools/results.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="do", metavar="keep|compare")
    for name, about in (("keep", "keep the results of OUT"), ("compare", "compare those of OUT with the kept ones")):
        sub = commands.add_parser(name, help=about, description=about)
        sub.add_argument("out", type=Path, metavar="OUT", help="folder that tools/benchmark.py wrote")
        sub.add_argument("name", metavar="NAME", help="docs/results/NAME.json")
        if name == "keep":
            sub.add_argument("--commit", required=True, help="of the code that measured")
            sub.add_argument("--command", required=True, help="that measured, without paths of your machine")
    args = parser.parse_args(argv)
    if args.do is None:
        for page in PAGES:
            _write(page, render(page.read_text(encoding="utf-8")))
        return
    measured = read(args.out)
    path = KEPT / f"{args.name}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    if args.do == "compare":
        if not path.is_file():
            names = ", ".join(sorted(file.stem for file in KEPT.glob("*.json")))
            raise InputError(f"{args.name}: not among the kept results; there is {names}")
        print(compared(kept, measured))
        return
    kept = merged(kept, {"command": args.command, "commit": args.commit, **measured})
    _write(path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def read(out: Path) -> Run:
    """``entries``, ``weights`` (SHA-256 by run and stage) and ``machine`` of a folder of results. Raises InputError."""
    result, page = out / "result.json", out / "result.md"
    if not (result.is_file() and page.is_file()):
        raise InputError(f"{out}: no result.json and result.md; name the folder that tools/benchmark.py wrote (--out)")
    entries = [{key: entry.get(key) for key in FIGURES} for entry in json.loads(result.read_text(encoding="utf-8"))]
    folders = {_folder(out / "runs", entry["method"], entry["seed"]) for entry in entries}
    files = sorted(path for folder in folders for path in folder.glob("*/final/model.safetensors"))
    made = page.read_text(encoding="utf-8").rpartition("## Made with")[2]
    said = dict(line[2:].split(": ", 1) for line in made.splitlines() if line.startswith("- "))
    machine = {key: value for key, value in said.items() if key != "command"}
    return {"machine": machine, "entries": entries, "weights": {_place(path): file_hash(path) for path in files}}


def _folder(runs: Path, method: str, seed: int) -> Path:
    """The run that a method's figures are of: its own (of `pci/b1` that of `pci`), or the ladder's for a rung."""
    own = runs / _run_of(method, seed)
    return own if own.is_dir() else runs / f"{LADDER}-seed{seed}"


def _run_of(method: str, seed: int) -> str:
    """The name of a method's own run: `pci/b1` is a stage of that of `pci`."""
    return f"{method.partition('/')[0]}-seed{seed}"


def _place(path: Path) -> str:
    """RUN/STAGE of RUN/STAGE/final/model.safetensors."""
    return "/".join(path.parts[-4:-2])


def merged(runs: list[Run], new: Run) -> list[Run]:
    """The runs with ``new``, which takes the place of older results of its methods and seeds, and of their weights."""
    taken = {(entry["method"], entry["seed"]) for entry in new["entries"]}
    folders = {_run_of(method, seed) for method, seed in taken}
    folders |= {name.partition("/")[0] for name in new["weights"]}
    kept = []
    for run in runs:
        entries = [entry for entry in run["entries"] if (entry["method"], entry["seed"]) not in taken]
        weights = {name: value for name, value in run["weights"].items() if name.partition("/")[0] not in folders}
        if entries:
            kept.append({**run, "entries": entries, "weights": weights})
    return [*kept, new]


def compared(kept: list[Run], measured: Run) -> str:
    """A line for each result that both have, then how many weights are the same to the byte. Raises InputError."""
    reported = {(entry["method"], entry["seed"]): entry for run in kept for entry in run["entries"]}
    rows = [("method", "seed", "reported", "measured", "difference")]
    for entry in measured["entries"]:
        if (there := reported.get((entry["method"], entry["seed"]))) is not None:
            was, found = there["top1_last"], entry["top1_last"]
            cells = (f"`{entry['method']}`", str(entry["seed"]), f"{was:.2f}", f"{found:.2f}", f"{found - was:+.2f}")
            rows.append(cells)
    if len(rows) == 1:
        found, there = (", ".join(sorted({e["method"] for e in es})) for es in (measured["entries"], reported.values()))
        raise InputError(f"no method and seed is in both: measured {found or 'nothing'}; kept {there}")
    hashes = {name: value for run in kept for name, value in run["weights"].items()}
    both = [name for name in measured["weights"] if name in hashes]
    same = sum(measured["weights"][name] == hashes[name] for name in both)
    return f"{table(*rows)}\n{same} of {len(both)} weights are the same to the byte"


def render(page: str) -> str:
    """The page with new tables between its markers. Raises InputError for a marker that is not known."""
    kept = kept_runs()
    parts = {"runs": "\n".join(_conditions(kept)), "weights": _weights(kept)}
    entries = [
        {**e, "method": f"{name}:{e['method']}"} for name, runs in kept.items() for run in runs for e in run["entries"]
    ]
    parts.update((name, _short(entries, rows)) for name, rows in SHORT.items())
    parts.update((name, _long(entries, rows)) for name, rows in LONG.items())
    parts.update((name, _gains(entries, rows)) for name, rows in GAINS.items())
    parts["growth"] = growth_table(grown(kept), GROWN_METHODS, (BASE,))
    for name in (found[2] for found in MARKED.finditer(page)):
        check_choice("<!-- results: … -->", name, tuple(parts))
    return MARKED.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n{found[3]}", page)


def kept_runs() -> dict[str, list[Run]]:
    """The runs of each set of docs/results/."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("*.json"))}


def grown(kept: Mapping[str, list[Run]]) -> list[Measured]:
    """What was measured on training sets of several sizes and shares of wrong labels."""
    return [
        Measured(words, rows, wrong, [e for name in names for run in kept.get(name, []) for e in run["entries"]])
        for words, rows, wrong, names in GROWN
    ]


def _short(entries: Entries, rows: Pairs) -> str:
    return table(("", "top-1"), *((words, _top1(entries, method)) for method, words in rows))


def _long(entries: Entries, rows: Pairs) -> str:
    head = ("", "epochs", "top-1 by seed", "mean ± deviation", "AUC of its weight", "% of it on wrong rows")
    return table(head, *(_line(entries, method, words) for method, words in rows))


def _line(entries: Entries, method: str, words: str) -> tuple[str, ...]:
    tops = by_seed(entries, method)
    each = ", ".join(f"{tops[seed]:.2f}" for seed in sorted(tops))
    auc, wrong = (text_of(by_seed(entries, method, key).values(), n) for key, n in (("auc", 3), ("weight_on_wrong", 1)))
    epochs = mean_of(entries, method, "epochs")
    return words, "–" if epochs is None else f"{epochs:.3g}", each, _top1(entries, method), auc, wrong


def _gains(entries: Entries, rows: Pairs) -> str:
    names = [_named(*row) for row in rows]
    cells = [
        (f"{a} over {b}", text_of(found := gains(entries, *row), sign="+"), str(len(found)))
        for (a, b), row in zip(names, rows, strict=True)
    ]
    return table(("seed by seed", "points", "seeds"), *cells)


def _named(*methods: str) -> list[str]:
    """How methods are called next to each other: with their sets where these differ."""
    parts = [method.split(":") for method in methods]
    several = len({name for name, _ in parts}) > 1
    return [f"`{method}` of {name}" if several else f"`{method}`" for name, method in parts]


def _top1(entries: Entries, method: str) -> str:
    found = by_seed(entries, method).values()
    return text_of(found) + (" (1 seed)" if len(found) == 1 else "")


def _weights(kept: Mapping[str, list[Run]]) -> str:
    """The hash of each stage's last weights, of every run."""
    rows = [(name, *pair) for name, runs in kept.items() for run in runs for pair in sorted(run["weights"].items())]
    return table(
        ("set", "run and stage", "SHA-256 of final/model.safetensors"), *((n, f"`{k}`", f"`{v}`") for n, k, v in rows)
    )


def _conditions(kept: Mapping[str, list[Run]]) -> Iterator[str]:
    """What each group of runs was made with."""
    for name, runs in kept.items():
        for run in runs:
            methods = ", ".join(f"`{method}`" for method in sorted({e["method"] for e in run["entries"]}))
            seeds = ", ".join(map(str, sorted({e["seed"] for e in run["entries"]})))
            machine = ", ".join(f"{key} {value}" for key, value in run["machine"].items())
            yield f"**{name}**: {methods}, seeds {seeds}; commit {run['commit']}; {machine}\n"
            yield f"```sh\n{run['command']}\n```\n"


def _write(path: Path, text: str) -> None:
    with atomic_file(path, replace=True) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
