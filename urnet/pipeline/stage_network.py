"""The networks of a stage: with the weights it starts from or measures with, tried before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from urnet.checkpoints import checkpoint
from urnet.checkpoints.load import classifiers_text
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.data.lists.class_names import check_order
from urnet.nn.network import Network
from urnet.pipeline.fingerprints import Fingerprints, own_stage
from urnet.pipeline.plan import Step
from urnet.pipeline.registry import measures
from urnet.training.trainer import seed_network

BuildNetwork = Callable[[], Network]


def start_network(
    recipe: Recipe,
    stage: Stage,
    source: str,
    home: Path,
    build_network: BuildNetwork,
    *,
    trains: bool = False,
    say: bool = False,
) -> Network:
    """A network with the weights a stage starts from (``trains``), or measures with.

    With ``stage.finetune`` the one that trains may have another classifier than the weights: it then keeps
    its first random one; with ``say`` a line on stderr tells. ``previous`` means the last weights of the
    stage before, not its best ones: those were chosen on the validation images, which must not steer
    training.
    """
    seed_network(recipe.seed, stage.name, 0)
    network = build_network()
    names = [s.name for s in active_stages(recipe)]
    if source == "previous":
        before = names.index(stage.name) - 1
        source = str(home / names[before] / "final") if before >= 0 else "scratch"
    if source != "scratch":
        inside = checkpoint.taken_inside(source) if say else ""
        if inside:
            print(f"stage {stage.name}: from {inside}", file=sys.stderr)
        weights = checkpoint.read_weights(source, network)
        finetune = trains and stage.finetune
        hint = f"; a new one is trained with --finetune (stages.{stage.name}.finetune)" if trains else ""
        kept = checkpoint.load_into(network, weights, strict=not finetune, source=source, hint=hint)
        if finetune and say:
            print(f"stage {stage.name}: from {source}: {classifiers_text(kept, weights, network)}", file=sys.stderr)
    return network


def check_weights(steps: Sequence[Step], inputs: Fingerprints, build_network: BuildNetwork) -> None:
    """Raise InputError for weights, other than those of this run's own stages, that do not fit the network."""
    for step in steps:
        stage = step.stage
        if step.action == "keep":
            continue
        starts = {stage.start: True} if step.action != "resume" else {}
        measuring = measures(stage) and not inputs.columns_fit(stage)
        if measuring:
            starts = {stage.measure.network: False, **starts}
        for source, trains in starts.items():
            if source not in ("previous", "scratch") and own_stage(Path(source), inputs.home, tuple(inputs.of)) is None:
                _check_classes(inputs, stage, source, not (measuring and source == stage.measure.network))
                start_network(inputs.recipe, stage, source, inputs.home, build_network, trains=trains)


def _check_classes(inputs: Fingerprints, stage: Stage, source: str, trains: bool) -> None:
    """Raise InputError for a network to measure with whose classes have another order; one that trains learns it."""
    table, names = inputs.table, checkpoint.describe(source).class_names
    if table is None or not names or len(names) != len(table.class_names):
        return
    where = [str(inputs.recipe.data.root)] * len(names)
    use = "starts from" if trains else "measures with"
    try:
        check_order(table.class_names, names, where, f"{source}, which stage {stage.name} {use}")
    except InputError as error:
        if not trains:
            raise
        if is_main():
            print(f"note: {error}; its classifier learns them anew", file=sys.stderr)
