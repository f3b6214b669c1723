"""One stage of a recipe: what is measured, which columns weigh what, how the network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from urnet.config.duration import Duration
from urnet.config.fields import REQUIRED, key
from urnet.config.remedies import CoTeaching, DivideMix, Elr, Gate, Loss, Sop, Subsets


class Reweighting(Protocol):
    """The settings of a reweighting; each has its own dataclass (``urnet.pipeline.methods``)."""

    @property
    def method(self) -> str: ...

    @property
    def suffix(self) -> str: ...


@dataclass(frozen=True)
class Measure:
    """How the training images are measured before a reweighting that needs it."""

    network: str = key(
        "previous",
        "what measures: the stage before (its `final`), a checkpoint, or (features only) the published weights",
        words="previous, imagenet or a path",
    )
    batch_size: int = key(256, "images at once", low=1)
    top_k: int = key(
        20, "classes kept of each row's probabilities, those of the head and of the joined evidence too", low=1
    )
    keep: bool = key(False, "whether the measurement stays on the disk after the reweighting", free=True)
    views: int = key(
        1,
        "a row's features are the mean over so many views: the evaluation's, its mirror image where `transform.flip` "
        "allows it, then slightly shifted ones (without `flip` 5 at most); each is a pass over the images",
        low=1,
        high=10,
        added=True,
    )
    front: bool = key(
        False,
        "true: features also hold the maps in front of the network's last part, averaged over 2 x 2 cells: they have "
        "fitted the labels less. Networks that `train: top` can cut have them",
        added=True,
    )


@dataclass(frozen=True)
class Evidence:
    """What is known of each row's class, and how it is joined to one distribution (docs/method.md)."""

    folds: int = key(
        5, "parts of the rows; the head that gives a part's probabilities is trained on the others", low=2, high=100
    )
    rounds: int = key(
        3, "the head learns from the labels, then so often from the distribution found with it", low=0, high=100
    )
    shrinkage: float | Literal["auto"] = key(
        0.1,
        "of the head's covariance toward its diagonal; auto: that under which held-out labels are likeliest, for wide "
        "features of few rows",
        accepts=lambda value: value == "auto" or 0 <= value <= 1,
        words="0 to 1, or auto",
    )
    noise: float = key(1.0, "exponent of P(given label, true class); 0: not used", low=0)
    text: float = key(1.0, "exponent of P(class the text names, true class); 0: texts are not read", low=0)
    rank_bins: int = key(
        5, "rows are as reliable as others of their source and rank, in so many bins; 0: not used", low=0, high=100
    )
    word_vectors: str | None = key(
        None, "word2vec or GloVe as text; null: TF-IDF of the texts at hand", words="a file, not with `text: 0`"
    )
    least_cosine: float = key(
        0.0,
        "a text names the class whose text is nearest, if its cosine is above this; 0 suits TF-IDF, where it means "
        '"shares a word". Word vectors need more, about 0.3: there all texts are somewhat alike',
        low=0,
        high=0.999,
    )
    votes: bool = key(
        False,
        "true: a second head and the votes of each row's nearest rows join the head, as in `tools/suspects.py`, and "
        "how likely a row shows any class is said as well; then without `rounds`, and where there is neither text nor "
        "rank without `noise`",
        added=True,
    )
    vote_power: float | None = key(
        None,
        "exponent of the nearest rows' votes beside the two heads; null: 0.75 for the order and 0.5 for the classes, "
        "for features that have not seen the labels; a network trained on them wants about 0.25",
        low=0,
        high=2,
        words="0 to 2, or null; only with `votes: true`",
        added=True,
    )


@dataclass(frozen=True)
class Bags:
    """A batch of bags, each of ``size`` rows of one class, and the bag loss (``urnet.nn.losses.bag_loss``)."""

    size: int = key(4, "rows of a bag; a divisor of batch_size / accumulate", low=2)
    temperature: float = key(1.0, "of the attention; small: the best row alone, large: all alike", above=0)
    bag_term: float = key(1.0, "weight of the bag's loss", low=0)
    instance_term: float = key(1.0, "weight of its rows' losses; not both 0", low=0)


@dataclass(frozen=True)
class Optimizer:
    """``momentum`` is SGD with momentum; weight decay is L2 on every parameter but batch norm and biases."""

    name: Literal["momentum", "adamw"] = key("momentum", "SGD with momentum, or AdamW")
    momentum: float = key(0.9, "momentum; AdamW's beta1", low=0, below=1)
    nesterov: bool = key(False, "Nesterov's form; momentum only")
    weight_decay: float = key(1e-4, "momentum: L2 in the gradient; AdamW: decoupled", low=0)
    clip_norm: float | None = key(
        None, "longest gradient, all parameters as one vector; null: no limit", above=0, infinite=True
    )
    classifier_lr: float = key(
        1.0, "the classifier's learning rate (and that of an auxiliary head's), as a multiple of the others'", low=0
    )


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the stage; ``warmup`` rises linearly from 0 and counts towards the duration."""

    lr: float = key(0.1, "highest learning rate", above=0, high=100)
    name: Literal["constant", "step", "piecewise", "cosine"] = key("cosine", "how it continues after the warm-up")
    warmup: Duration = key(
        Duration(0, "epochs"),
        "rises in a line from 0 to lr; counts towards the duration",
        words="a length up to the duration",
    )
    every: Duration = key(
        Duration(30, "epochs"), "step: times gamma after every such stretch, of at least one step", above=0
    )
    gamma: float = key(0.1, "step and piecewise", above=0, high=1)
    milestones: tuple[Duration, ...] = key(
        (), "piecewise, and only there: times gamma at each", words="one or more lengths"
    )
    final_lr: float = key(0.0, "cosine: reached at the end", words="0 to lr")


@dataclass(frozen=True)
class Ema:
    """Exponential moving average of the weights; its batch-norm statistics are recomputed from batches."""

    decay: float = key(
        0.999,
        "the average reaches back about 1 / (1 - decay) steps; shorter during the first ones: "
        "min(decay, (1 + t) / (10 + t))",
        above=0,
        below=1,
    )
    bn_batches: int = key(20, "training micro-batches that give the batch-norm statistics", low=1)


COLUMNS = "names of columns"
FOLDERS = ("table", "curves", "measure", "replaced")  # of a run, beside those of its stages


@dataclass(frozen=True)
class Stage:
    """What is measured, which columns weigh what, and how the network is trained."""

    name: str = key(REQUIRED, "the stage's name", words="a folder name without a dot, but not " + ", ".join(FOLDERS))
    duration: Duration = key(REQUIRED, "length of training", above=0)
    batch_size: int = key(256, "rows of one step, all micro-batches together", low=1)
    accumulate: int = key(1, "micro-batches a step is cut into, to save memory; a divisor of batch_size", low=1)
    start: str = key(
        "previous",
        "first weights: the stage before (its `final`, as `best` was chosen on validation images), random, a "
        "checkpoint, or the network's published ones ([Weights by one word](weights.md)); the first stage's previous "
        "is scratch",
        words="previous, scratch, imagenet or a path",
    )
    finetune: bool = key(
        False,
        "the classifier in `start`'s checkpoint may be missing or of another number of classes: a new one with random "
        "weights is trained, at its own rate with `optimizer.classifier_lr`; everything else must fit. One that fits "
        "is kept. Only with a checkpoint's path as `start`; `imagenet` implies it",
        added=True,
    )
    train: Literal["all", "top", "classifier"] = key(
        "all",
        "what learns: the whole network; its last part and the classifier (`top`); or the classifier alone. What is "
        "frozen is computed once, by the inference engine, and kept ([Frozen parts](method.md#frozen-parts))",
        added=True,
    )
    views: int = key(
        1,
        "of `top` and `classifier`, and only there: so many kept views of each training image, of which a step shows "
        "one: the evaluation's, its mirror image where `transform.flip` allows it, then random ones, drawn once",
        low=1,
        high=64,
        added=True,
    )
    enabled: bool = key(True, "false: the stage is left out, as if the recipe did not have it", free=True)
    measure: Measure = key(Measure(), "how the training images are measured for `reweight`")
    reweight: Reweighting | None = key(
        None, "a reweighting computed before the training", words="see below", by_method=True
    )
    loss_weight: tuple[str, ...] = key(
        (),
        "columns of the table multiplied into each row's loss weight. Class weights: `[class_weight]`, with `reweight: "
        "{method: class_size}` in this stage or an earlier one; weights of one's own a row: "
        "[a column of one's own](data.md#the-table)",
        words=COLUMNS,
    )
    sampling_weight: tuple[str, ...] = key(
        (), "columns multiplied into each row's chance to be drawn, within its class: a weighted sampler", words=COLUMNS
    )
    balance: float = key(
        0.0,
        "a class-balanced sampler: 0: classes are drawn as often as they have rows; 1: all equally often; between: "
        "mixed",
        low=0,
        high=1,
    )
    targets: str = key(
        "given",
        "what rows are trained towards: their labels; `label`, the soft targets of a label reweighting; `relabel`, the "
        "labels of a relabelling (each with its suffix)",
        words="given, or a file of the table",
    )
    bags: Bags | None = key(
        None,
        "batches of bags and their loss; then without `mixup`, soft targets, `subsets`, `gate`, `elr` and another "
        "`loss`",
    )
    subsets: Subsets | None = key(
        None,
        "batches composed of a curriculum's subsets; then without `bags`, `sampling_weight` and `balance`",
        added=True,
    )
    gate: Gate | None = key(
        None, "rows the network is not sure of pass no gradient; then without `mixup`, `bags` and `elr`", added=True
    )
    loss: Loss = key(Loss(), "the loss of a row; with `bags` only the cross entropy", added=True)
    elr: Elr | None = key(
        None,
        "early-learning regularisation; then without `bags`, and without `mixup` unless its `teacher` is `average`",
        added=True,
    )
    sop: Sop | None = key(
        None,
        "sparse over-parameterisation; then with given labels, and without `mixup`, `label_smoothing`, `bags`, `gate`, "
        "`elr` and another `loss`",
        added=True,
    )
    co_teaching: CoTeaching | None = key(
        None, "two networks that choose rows for one another; then with `train: all` and given labels alone", added=True
    )
    dividemix: DivideMix | None = key(
        None, "two networks that divide the rows for one another; as `co_teaching`, and without it", added=True
    )
    optimizer: Optimizer = key(Optimizer(), "how weights move")
    schedule: Schedule = key(Schedule(), "learning rate")
    label_smoothing: float = key(0.0, "e: the target is (1 - e) onehot + e / n_classes", low=0, below=1)
    mixup: float = key(
        0.0, "alpha of the Beta distribution; images, targets and weights of two rows are mixed; 0: off", low=0
    )
    ema: Ema | None = key(None, "moving average of the weights")
    amp: Literal["off", "fp16", "bf16", "auto"] = key(
        "off", "number format on a GPU; auto: bf16, else fp16, else off. The CPU has neither"
    )
    eval_every: Duration = key(Duration(1, "epochs"), "validation; the last step is always evaluated", above=0)
    checkpoint_every: Duration = key(Duration(1, "epochs"), "checkpoints for `--resume`", above=0, free=True)
    log_every: int = key(20, "steps between two lines of log.txt and points of the curves", low=1, free=True)
    keep: int = key(2, "newest checkpoints for `--resume` that are kept", low=1, free=True)

    @property
    def pair(self) -> str:
        """The key under which the stage trains two networks, "" where it trains one."""
        return next((name for name in ("co_teaching", "dividemix") if getattr(self, name) is not None), "")
