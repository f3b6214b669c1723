"""Hours of what a run does, from a rate that is given, or from what was timed here."""

from __future__ import annotations

from tools.planning.counts import Counts
from tools.planning.rehearsal import Rehearsal
from urnet.config.recipe import Recipe

SPREAD = ("least", "most")  # of a forecast: by the fastest and by the slowest part of what was timed


def hours_of(
    counts: Counts, n_processes: int, rate: float, evaluation_rate: float, *, part: bool = False
) -> dict[str, float]:
    """Hours of what passes the network in one stage; rates: images a second that ONE process trains on, and evaluates.

    Evaluation and measuring last as long as the busiest process, which has whole batches or shards. Where a part of the
    network is trained (``part``) only what is kept takes its time: the rest is seconds an epoch.
    """
    kept = sum(counts.kept_images.values()) / n_processes
    hours = {
        "training": 0.0 if part else counts.images_drawn / (rate * n_processes) / 3600,
        "evaluation": 0.0 if part else counts.evaluations * counts.evaluated_by_busiest / evaluation_rate / 3600,
        "measuring": (counts.measured_by_busiest * counts.measured_views + kept) / evaluation_rate / 3600,
    }
    return {**hours, "total": sum(hours.values())}


def forecast(
    stage: str, counts: Counts, recipe: Recipe, timed: Rehearsal, n_processes: int, which: str = "seconds"
) -> dict[str, float]:
    """Hours of one stage as timed here, by the average pace or ``which`` of ``SPREAD``.

    A step takes what it took, an evaluation the sum of its two passes; best/ is written after each. At the end come
    the passes for in_classes: two, as best/ and final/ are taken to differ. Of what is kept nothing is there yet.
    """
    kind, busiest = timed.of(stage), counts.evaluated_by_busiest
    seen = busiest * counts.evaluation_images / max(counts.evaluation_images + counts.bn_images, 1)
    evaluation = kind.view.seconds(seen, which)
    if kind.bn is not None:
        evaluation += kind.bn.seconds(busiest - seen, which)
    evaluation *= counts.evaluations
    if recipe.model.in_classes:
        evaluation += 2 * kind.view.seconds(counts.reference_images / n_processes, which)
    passes = [timed.keeping[output].seconds(n / n_processes, which) for output, n in counts.kept_images.items()]
    if stage in timed.measuring:
        passes.append(timed.measuring[stage].seconds(counts.measured_by_busiest, which))
    seconds = {
        "training": kind.begin + counts.images_drawn / n_processes * float(getattr(kind.step, which)),
        "evaluation": evaluation,
        "measuring": sum(passes),
        "saving": counts.checkpoints_written * kind.save + (counts.evaluations + 1) * kind.save_for_use,
    }
    hours = {name: value / 3600 for name, value in seconds.items()}
    return {**hours, "total": sum(hours.values())}
