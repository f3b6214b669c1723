"""The networks of a stage: with the weights it starts from or measures with, tried before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from urnet.checkpoints import checkpoint
from urnet.checkpoints.imagenet import is_word
from urnet.checkpoints.load import classifiers_text
from urnet.checkpoints.published import published
from urnet.checkpoints.second import second_file
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.data.lists.class_names import check_order
from urnet.nn.network import Network
from urnet.pipeline.fingerprints import Fingerprints, own_stage
from urnet.pipeline.plan import Step
from urnet.pipeline.registry import measures, reads_classes
from urnet.training.trainer import seed_network

BuildNetwork = Callable[[], Network]


def named_source(recipe: Recipe, stage: Stage, source: str, home: Path) -> str:
    """What ``previous`` means for a stage: a path, or scratch; anything else as it is."""
    if source != "previous":
        return source
    names = [s.name for s in active_stages(recipe)]
    before = names.index(stage.name) - 1
    return str(home / names[before] / "final") if before >= 0 else "scratch"


UNCHANGED = {"features": ("classifier",), "front": ("classifier", "top")}  # by which stages, in what is computed there


def frozen_source(recipe: Recipe, stage: Stage, source: str, home: Path, output: str) -> str:
    """The weights (a word or a path) that decide ``output`` of a stage's ``source``.

    A stage that trained only what lies behind it left it as it found it, so the weights are those of before.
    """
    stages = {s.name: s for s in active_stages(recipe)}
    source = named_source(recipe, stage, source, home)
    while not is_word(source):
        own = own_stage(Path(source), home, tuple(stages))
        if own is None or stages[own].train not in UNCHANGED[output]:
            break
        source = named_source(recipe, stages[own], stages[own].start, home)
    return source


def start_network(
    recipe: Recipe,
    stage: Stage,
    source: str,
    home: Path,
    build_network: BuildNetwork,
    *,
    trains: bool = False,
    say: bool = False,
    number: int = 0,
) -> Network:
    """A network with the weights a stage starts from (``trains``), or measures with.

    ``number``: 1 for the second of two networks, whose random weights are others.

    With ``stage.finetune`` the one that trains may have another classifier than the weights: it then keeps
    its first random one; with ``say`` a line on stderr tells. So may published weights
    of which the features alone are measured. ``previous`` means the last weights of the
    stage before, not its best ones: those were chosen on the validation images, which must not steer
    training.
    """
    seed_network(recipe.seed, stage.name, 0, number)
    network = build_network()
    source = named_source(recipe, stage, source, home)
    if source != "scratch":
        inside = checkpoint.taken_inside(source) if say else ""
        if inside:
            print(f"stage {stage.name}: from {inside}", file=sys.stderr)
        if say and second_file(source) is not None:
            print(f"stage {stage.name}: {source} holds two networks; it starts from the first", file=sys.stderr)
        weights = checkpoint.read_weights(source, network)
        # published weights measure with their features, unless the reweighting uses the network's classes as well
        finetune = stage.finetune if trains else is_word(source) and not reads_classes(stage)
        hint = f"; a new one is trained with --finetune (stages.{stage.name}.finetune)" if trains else ""
        if not trains and is_word(source):
            hint = f", and the reweighting of stage {stage.name} uses the classes of the network that measures"
        kept = checkpoint.load_into(network, weights, strict=not finetune, source=source, hint=hint)
        if trains and finetune and say:
            print(f"stage {stage.name}: from {source}: {classifiers_text(kept, weights, network)}", file=sys.stderr)
    return network


def start_pair(recipe: Recipe, stage: Stage, home: Path, build_network: BuildNetwork, *, say: bool = False) -> Network:
    """Two networks with the weights a stage starts from; what is random is another in each.

    Raises InputError where nothing is: they would stay the same network, and tell each other nothing.
    """
    from urnet.nn.pair import Pair

    both = []
    for number in (0, 1):
        tell = say and number == 0
        both.append(
            start_network(recipe, stage, stage.start, home, build_network, trains=True, say=tell, number=number)
        )
    first, second = ({name: p.numpy() for name, p in network.named_parameters()} for network in both)
    if all(np.array_equal(first[name], second[name]) for name in first):
        raise InputError(
            f"stages.{stage.name}.start: found {stage.start}, whose classifier fits, so the two networks of "
            f"{stage.pair} would start identical; accepted: scratch, or weights of other classes"
        )
    try:
        return Pair(*both)
    except InputError as error:
        raise InputError(f"stages.{stage.name}.{stage.pair}: {recipe.model.name}: {error}") from None


def check_weights(
    steps: Sequence[Step], inputs: Fingerprints, build_network: BuildNetwork, *, fetch: bool = True
) -> None:
    """Raise InputError for weights, other than those of this run's own stages, that do not fit the network.

    ``fetch``: published weights that are not on this machine are downloaded; else they pass. Without it a line on
    stderr says where they are, or would be.
    """
    for step in steps:
        stage = step.stage
        if step.action == "keep":
            continue
        starts = {stage.start: True} if step.action != "resume" else {}
        if stage.pair and named_source(inputs.recipe, stage, stage.start, inputs.home) == "scratch":
            start_pair(inputs.recipe, stage, inputs.home, build_network)
        measuring = measures(stage) and not inputs.columns_fit(stage)
        if measuring:
            starts = {stage.measure.network: False, **starts}
        for source, trains in starts.items():
            if source not in ("previous", "scratch") and own_stage(Path(source), inputs.home, tuple(inputs.of)) is None:
                _check_classes(inputs, stage, source, not (measuring and source == stage.measure.network))
                if not fetch and is_word(source) and not _is_here(stage, source):
                    continue
                if trains and stage.pair:
                    start_pair(inputs.recipe, stage, inputs.home, build_network)
                else:
                    start_network(inputs.recipe, stage, source, inputs.home, build_network, trains=trains)


def _is_here(stage: Stage, word: str) -> bool:
    """Whether the file of published weights is on this machine, said on stderr. InputError if it cannot come here."""
    weights = published(word)
    path = weights.find()
    if path is None and not weights.url:
        raise InputError(f"{word}: {weights.missing()}")
    print(f"stage {stage.name}: {word} {weights.missing() if path is None else f'is here: {path}'}", file=sys.stderr)
    return path is not None


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
            print(f"note: {error}; its classifier learns them again", file=sys.stderr)
