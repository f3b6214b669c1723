"""The findings about a data set as a table of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from urnet.core.counted import plural
from urnet.data.check.findings import crossing, imbalance

SHOWN = 50  # classes; of more, the largest and the smallest
ENDS = 20
EXAMPLES = 3
_BAR = 30


def report_lines(found: dict[str, Any]) -> Iterator[str]:
    """The lines of the report; the last says whether training would refuse."""
    parts = [(word, found[key]) for key, word in (("train", "training"), ("val", "validation")) if key in found]
    for word, part in parts:
        yield f"{word:<11}{plural(part['images'], 'image')} in {part['root']}"
    yield ""
    yield from _classes(found)
    for word, part in parts:
        yield from _part(word, part)
    yield from _duplicates(found)
    for line in found["refused"]:
        yield f"training would refuse: {line}"
    if not found["refused"]:
        yield "training would accept this"


def _classes(found: dict[str, Any]) -> Iterator[str]:
    sizes, names = found["train"]["class_sizes"], found["class_names"]
    if not names:
        yield from ("classes    none could be read", "")
        return
    val = found["val"]["class_sizes"] if "val" in found else None
    order = sorted(range(len(names)), key=lambda c: -sizes[c])
    shown = order if len(order) <= SHOWN else [*order[:ENDS], -1, *order[-ENDS:]]
    labels = {c: names[c] or str(c) for c in order}
    width = max(min(40, max(len(labels[c]) for c in shown if c >= 0)), 5)
    figures = len(f"{max(sizes):,}")
    yield f"{'class':<{width}}  {'training':>{max(figures, 8)}}{'' if val is None else '  validation'}"
    for c in shown:
        if c < 0:
            high, low = sizes[order[ENDS]], sizes[order[-ENDS - 1]]
            more = plural(len(order) - 2 * ENDS, "more class", "more classes")
            yield f"{'…':<{width}}  ({more} of {low:,} to {high:,} images)"
            continue
        bar = "█" * max(round(_BAR * sizes[c] / max(max(sizes), 1)), int(sizes[c] > 0))
        other = "" if val is None else f"  {val[c]:>10,}"
        name = labels[c] if len(labels[c]) <= width else labels[c][: width - 1] + "…"
        yield f"{name:<{width}}  {sizes[c]:>{max(figures, 8)},}{other}  {bar}".rstrip()
    n_classes = plural(len(names), "class", "classes")
    yield f"{n_classes}; the largest has {imbalance(sizes):.1f} times as many images as the smallest"
    for key, word in (("train", "training"), ("val", "validation")):
        missing = found["missing"].get(key)
        if missing:
            yield f"no {word} image: {plural(len(missing), 'class', 'classes')} ({_some(missing)})"
    yield ""


def _part(word: str, part: dict[str, Any]) -> Iterator[str]:
    yield f"{word} files"
    if part["sizes"]:
        yield "  sizes       " + ", ".join(
            f"{side} {low:,} to {high:,} (median {middle:,})" for side, (low, middle, high) in part["sizes"].items()
        )
    yield "  formats     " + (_counts(part["formats"]) or "none")
    if part["modes"]:
        yield "  modes       " + _counts(part["modes"])
    for what, names in part["wrong_suffix"].items():
        yield f"  suffix      {len(names):,} x {what} ({_some(names)}); read all the same"
    for reason, names in part["unreadable"].items():
        yield f"  unreadable  {len(names):,} x {reason} ({_some(names)})"
    yield ""


def _duplicates(found: dict[str, Any]) -> Iterator[str]:
    groups = found["duplicates"]
    counts = crossing(groups)
    for kind, word in (("equal", "equal files"), ("near", "near duplicates")):
        if counts[kind]:
            across = counts[kind, "across"]
            yield (
                f"{word}: {counts[kind, 'files']:,} in {counts[kind]:,} groups, {across:,} of them under several labels"
            )
            chosen = [g for g in groups if g["kind"] == kind]
            for group in sorted(chosen, key=lambda g: len(g["classes"]) < 2)[:EXAMPLES]:
                yield f"  {' = '.join(group['paths'][:4])}{' …' if len(group['paths']) > 4 else ''}"
            yield from _more(len(chosen))
    if not groups:
        yield "equal files, near duplicates: none"
    if "val" in found:
        leaks = found["leaks"]
        equal = sum(leak["kind"] == "equal" for leak in leaks)
        yield f"validation pictures among the training pictures: {len(leaks):,}" + (
            f" ({equal:,} of them equal files)" if leaks else ""
        )
        for leak in leaks[:EXAMPLES]:
            yield f"  {leak['path']} = {leak['val']}"
        yield from _more(len(leaks))
    yield ""


def _more(n: int) -> Iterator[str]:
    """How many of ``n`` are not among the examples, and where they are."""
    if n > EXAMPLES:
        yield f"  … and {n - EXAMPLES:,} more (--json FILE has all)"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items())


def _some(names: Sequence[str]) -> str:
    more = f" … and {len(names) - EXAMPLES:,} more" if len(names) > EXAMPLES else ""
    return ", ".join(names[:EXAMPLES]) + more
