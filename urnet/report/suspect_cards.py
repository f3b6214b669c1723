"""The page's first section: the suspects as cards, with filters, and what a card opens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from urnet.core.counted import count, plural
from urnet.report.gallery import LARGE, Gallery
from urnet.report.photos import Rows
from urnet.report.suspects import VERDICTS, Evidence, in_order, suspect_rows, wrong_pairs
from urnet.report.text import TITLE, escape, plain_name
from urnet.report.typical import typical_pictures

LONGEST = 300  # characters of a path
EACH = 60  # of every verdict as many are shown, also where the first by label quality have none of it
LEAK = "leak from validation"
PAIRS = ("near duplicate", "duplicate under another label", LEAK)  # shown next to what they equal
NO_SUGGESTION = ("off topic", "near duplicate", LEAK, "unreadable")  # what they say holds whatever the class
WORDS = ((0.05, "very likely wrong"), (0.25, "probably wrong"), (0.5, "doubtful"), (0.75, "probably right"))
EXPLAINED = {
    "wrong label": "another class fits the picture better",
    "off topic": "it shows none of the classes",
    "near duplicate": "another picture of the class shows the same",
    "duplicate under another label": "the same picture is in two classes: one of the labels is wrong",
    "leak from validation": "the picture is one of the validation pictures, which then measure nothing",
    "unreadable": "the file is not a complete picture",
}
NO_EVIDENCE = "No evidence about labels yet (suggested and relevance, or topk and keep)."


def quality_words(quality: float) -> str:
    """A label quality in plain words: below 0.05 very likely wrong … from 0.75 on right."""
    return next((words for below, words in WORDS if quality < below), "looks right")


def shown_rows(evidence: Evidence, top: int) -> np.ndarray:
    """The first ``top`` suspects, and ``EACH`` (at most ``top``) of every verdict, in the list's order."""
    parts = [suspect_rows(evidence, top)]
    for verdict in VERDICTS[1:]:
        parts.append(in_order(evidence, np.flatnonzero(evidence.is_of(verdict)), min(top, EACH)))
    return in_order(evidence, np.unique(np.concatenate(parts)))


def suspect_section(source: Rows, evidence: Evidence | None, top: int, gallery: Gallery) -> str:
    """How many there are, the filters, a card for each shown one, and the typical pictures of their classes."""
    if evidence is None:
        return f'<p class="note">{NO_EVIDENCE}</p>'
    counts, n_rows = evidence.counts(), len(evidence.verdict)
    total = n_rows - counts["fine"]
    words = f"{count(total)} of {plural(n_rows, 'picture')} to look at"
    if total:
        words += ", the most likely wrong ones first. Open one to compare it with typical pictures"
    words = f"<p class='lead'>{words}.</p>"
    rows = shown_rows(evidence, top)
    if total > len(rows):
        words += (
            f'<p class="note">{count(len(rows))} of {count(total)} are shown; '
            f"--top {-(-total // 100) * 100} shows all, and the list has all of them.</p>"
        )
    if not len(rows):
        return words + _explained(evidence, counts)
    suggested, twins = _shown_suggestions(evidence, rows), _twin_labels(source, evidence, rows)
    classes = sorted({*source.labels[rows].tolist(), *suggested, *twins} - {-1})
    names = {c: plain_name(source.class_names, c) for c in classes}
    shown = _Shown(rows, suggested, twins, names)
    cards = "".join(_cards(source, evidence, shown, gallery))
    filters = _verdicts(Counter(evidence.verdict[rows].tolist()), counts) + _choices(source, evidence, shown)
    return (
        f'{words}<div class="filters">{filters}</div><ul class="cards" id="suspects-list">{cards}</ul>'
        f"{_explained(evidence, counts)}{DIALOG}{typical_pictures(source, evidence, classes, gallery)}"
    )


def _explained(evidence: Evidence, counts: dict[str, int]) -> str:
    """What the words mean, folded."""
    steps = ", ".join(f"below {below:g} {words}" for below, words in WORDS)
    met = "".join(f"<dt>{word}</dt><dd>{EXPLAINED[word]}</dd>" for word in VERDICTS[1:] if counts[word])
    source = f": here, {escape(evidence.source)}" if evidence.source else ""
    return (
        "<details><summary>What the words mean</summary><p>Label quality is a number from 0 to 1 that says how much "
        f"speaks for the given label{source}. In words: {steps}, else it looks right. "
        "A low one is no proof: look first.</p>"
        f'<dl class="words-list">{met}</dl></details>'
    )


# --- filters


def _verdicts(verdicts: Counter[int], counts: Mapping[str, int]) -> str:
    """A button a verdict; ``verdicts`` are of the shown rows, ``counts`` of all."""
    buttons = [_button("", "all", verdicts.total(), sum(counts.values()) - counts["fine"])]
    buttons += [_button(str(v), word, verdicts[v], counts[word]) for v, word in enumerate(VERDICTS) if verdicts[v]]
    return f'<div class="verdicts" role="group" aria-label="Verdict">{"".join(buttons)}</div>'


def _choices(source: Rows, evidence: Evidence, shown: _Shown) -> str:
    """A choice by class or by pair of a wrong label and the suggested one, and a field for words."""
    said = {c: f"\u2068{name}\u2069" for c, name in shown.names.items()}  # a name's direction of writing ends with it
    both = zip(source.labels[shown.rows].tolist(), shown.like(source), strict=True)
    touched = Counter(c for pair in both for c in {*pair} - {-1})
    classes = [(str(c), said[c], count(n)) for c, n in touched.most_common()]
    pairs, here = wrong_pairs(source, evidence, shown.rows)
    known, sizes = wrong_pairs(source, evidence)
    known, sizes = known[np.isin(known, pairs)], sizes[np.isin(known, pairs)]
    total = dict(zip(known.tolist(), sizes.tolist(), strict=True))
    wrong = []
    for pair, n in zip(pairs.tolist(), here.tolist(), strict=True):
        given, to = divmod(pair, len(source.class_names))
        of = f" of {count(total[pair])}" if total[pair] > n else ""
        wrong.append((f"{given}&gt;{to}", f"{said[given]} → {said[to]}", count(n) + of))
    return (
        '<select id="of-class" aria-label="Class"><option value="">all classes</option>'
        f"{_options(classes, 'Classes: pictures shown')}{_options(wrong, 'Wrong labels: given → suggested')}</select>"
        '<input type="search" id="of-words" aria-label="Words" placeholder="word in name or text">'
        '<span id="shown-now" role="status"></span>'
    )


def _button(value: str, word: str, n: int, total: int) -> str:
    of = f" <small>of {count(total)}</small>" if total > n else ""
    pressed = "false" if value else "true"
    return (
        f'<button type="button" data-verdict="{value}" aria-pressed="{pressed}">{word} <b>{count(n)}</b>{of}</button>'
    )


def _options(values: Sequence[tuple[str, str, str]], group: str) -> str:
    """<option>s of (value, words, how many)."""
    options = "".join(f'<option value="{value}">{words} ({n})</option>' for value, words, n in values)
    return f'<optgroup label="{group}">{options}</optgroup>' if options else ""


# --- cards


def _shown_suggestions(evidence: Evidence, rows: np.ndarray) -> list[int]:
    """The suggested class of each row where its verdict leaves it a meaning, else -1."""
    silent = np.isin(evidence.verdict[rows], [VERDICTS.index(word) for word in NO_SUGGESTION])
    return np.where(silent, -1, evidence.suggested[rows]).tolist()


def _twin_labels(source: Rows, evidence: Evidence, rows: np.ndarray) -> list[int]:
    """The given class of the row that each row equals, -1 where it equals none."""
    found = [-1] * len(rows)
    if evidence.same_as is not None:
        for place, row in enumerate(rows.tolist()):
            path, verdict = evidence.same_as[row], VERDICTS[evidence.verdict[row]]
            other = source.row(path) if path and verdict in PAIRS and verdict != LEAK else -1
            found[place] = int(source.labels[other]) if other >= 0 else -1
    return found


@dataclass(frozen=True)
class _Shown:
    """The shown rows, the class suggested for each and the class of what it equals (-1: none), and classes' names."""

    rows: np.ndarray
    suggested: list[int]
    twins: list[int]
    names: dict[int, str]

    def like(self, source: Rows) -> list[int]:
        """The class that each is held against: the suggested one, else that of what it equals, -1 for none."""
        given = source.labels[self.rows].tolist()
        both = zip(given, self.suggested, self.twins, strict=True)
        return [twin if to in (-1, label) else to for label, to, twin in both]


def _cards(source: Rows, evidence: Evidence, shown: _Shown, gallery: Gallery) -> Iterator[str]:
    rows, twins, names, like = shown.rows, shown.twins, shown.names, shown.like(source)
    pictures, titles, paths = gallery.pictures(rows, size=LARGE), gallery.titles(rows), source.paths_of(rows)
    for place, row in enumerate(rows.tolist()):
        given, to, verdict = int(source.labels[row]), shown.suggested[place], VERDICTS[evidence.verdict[row]]
        labels = f'<span class="given"><i>given:</i> <bdi>{names[given]}</bdi></span>'
        if to not in (-1, given):
            labels += f'<span class="to"><i>suggested:</i> <bdi>{names[to]}</bdi></span>'
        picture, path = pictures[place], f'<bdi class="path">{escape(paths[place], LONGEST)}</bdi>'
        equal = "" if evidence.same_as is None or verdict not in PAIRS else evidence.same_as[row]
        if equal:
            (twin,) = gallery.of_files(
                [source.file(equal, of_validation=verdict == LEAK)], [escape(equal[-TITLE:])], size=LARGE
            )
            other = "validation" if verdict == LEAK else names.get(twins[place], "another folder")
            picture, path = picture + twin, f'{path} = <bdi class="path">{escape(equal, LONGEST)}</bdi>'
            labels += f'<span class="given"><i>same as in:</i> <bdi>{other}</bdi></span>'
        title = "" if titles[place] == escape(paths[place][-TITLE:]) else f"<bdi>{titles[place]}</bdi> "
        yield (
            f'<li class="card suspect{" both" if equal else ""}" data-verdict="{evidence.verdict[row]}" '
            f'data-given="{given}" data-to="{to}" data-like="{like[place]}">'
            f'<button type="button" class="open" aria-label="Open: {titles[place]}">{picture}</button>'
            f'<span class="verdict v{evidence.verdict[row]}">{verdict}</span>'
            f'<p class="labels">{labels}</p>{_facts(evidence, row, verdict)}<p class="caption">{title}{path}</p></li>'
        )


def _facts(evidence: Evidence, row: int, verdict: str) -> str:
    """The label quality in words and as a number, and how well the picture fits the classes."""
    if verdict == "unreadable":
        return ""
    quality = float(evidence.label_quality[row])
    said = "label quality" if verdict in NO_SUGGESTION else f"<b>{quality_words(quality)}</b>"
    fits = ""
    if verdict == "off topic" and evidence.in_classes is not None and np.isfinite(evidence.in_classes[row]):
        fits = f"<span>, fits the classes <small>{evidence.in_classes[row]:.2f}</small></span>"
    return f'<p class="quality">{said} <small title="label quality, 0 to 1">{quality:.3f}</small>{fits}</p>'


DIALOG = (
    '<dialog id="large" aria-labelledby="large-title"><div class="bar"><span id="large-place"></span>'
    '<button type="button" data-go="-1" aria-label="Previous">←</button>'
    '<button type="button" data-go="1" autofocus aria-label="Next">→</button>'
    '<button type="button" data-go="0" aria-label="Close">✕</button></div>'
    '<div class="seen"></div><h3 id="large-title"></h3><div class="said"></div>'
    '<div class="compare"></div></dialog>'
)
