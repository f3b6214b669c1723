"""The ladder with less to read than images, titles and ranks, and training on its targets without its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from urnet.config.duration import Duration
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.pipeline.registry import method_of

READ = {  # what is read in addition to the images: titles, search ranks
    "all": (True, True),
    "images": (False, False),
    "titles": (True, False),
    "ranks": (False, True),
}
RESTRICTED = {f"{word}_only": read for word, read in READ.items() if word != "all"}
TARGETS = {f"targets_{word}": read for word, read in READ.items()}
PLAIN, SOFT = "plain", "label"  # the stages of a kind of TARGETS
SAME = "the recipe and the data have nothing for it to leave out, so it is the same as"


def restricted(stages: Sequence[Stage], read: tuple[bool, bool]) -> tuple[Stage, ...]:
    """The stages with reweightings that do without titles and ranks, where ``read`` (titles, ranks) says so.

    The images stay. A model of image and text, which learns from highly ranked rows, needs both.
    """
    return tuple(replace(stage, reweight=_restricted(stage, *read)) for stage in stages)


def _restricted(stage: Stage, titles: bool, ranks: bool) -> Any:
    method, settings = method_of(stage), cast(Any, stage.reweight)
    evidence = None if method is None else method.evidence_of(settings)
    if evidence is None:
        return settings
    off = {} if titles else {"text_term": 0.0}
    off |= {} if ranks else {"rank_term": 0.0}
    off |= {} if titles and ranks else {"model_term": 0.0}
    if getattr(settings, "relevance", "posterior") == "posterior":
        off = {}  # nothing reads the terms
    evidence = evidence if titles else replace(evidence, text=0.0, word_vectors=None)
    return replace(settings, evidence=evidence if ranks else replace(evidence, rank_bins=0), **off)


def targets_stages(plain: Stage, stages: Sequence[Stage], rest: Duration, read: tuple[bool, bool]) -> tuple[Stage, ...]:
    """What soft targets bring alone: ``plain`` training, then the label stage's targets for the ``rest``.

    ``plain``: the first stage without its reweighting. Both draw classes evenly and weigh no row. Raises InputError
    for a ladder in which no stage after the first finds soft targets.
    """
    (label,) = restricted([label_stage(stages)], read)
    targets = f"label{getattr(label.reweight, 'suffix', '')}"
    soft = replace(label, name=SOFT, start="previous", duration=rest, balance=1.0, targets=targets)
    soft = replace(soft, sampling_weight=(), loss_weight=(), subsets=None)
    return replace(plain, name=PLAIN, balance=1.0), soft


def label_stage(stages: Sequence[Stage]) -> Stage:
    """The last stage with ``reweight.method: label``; InputError where none follows the first stage."""
    found = [s for s in stages[1:] if s.reweight is not None and s.reweight.method == "label"]
    if not found:
        raise InputError("it needs a stage after the first with reweight.method label, which the recipe does not have")
    return found[-1]


def left_out(
    kinds: Sequence[str], stages_of: Callable[[str], tuple[Stage, ...]], has_metadata: bool
) -> Mapping[str, str]:
    """Kind -> why it is not run: it would be the same as an earlier one of ``kinds``, or cannot be made.

    Where the data has no metadata, titles and ranks are read by nobody.
    """
    made: dict[tuple[Stage, ...], str] = {}
    why = {}
    for kind in kinds:
        try:
            stages = stages_of(kind)
        except InputError as error:
            why[kind] = str(error)
            continue
        read = stages if has_metadata else restricted(stages, READ["images"])
        if read in made:
            why[kind] = f"{SAME} {made[read]}"
        else:
            made[read] = kind
    return why
