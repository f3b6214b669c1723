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
        "the network that measures: the stage before (its `final`), a checkpoint, or (features only) published weights",
        words="previous, imagenet or a path",
    )
    batch_size: int = key(256, "images computed at once", low=1)
    top_k: int = key(
        20, "number of classes kept of each row's probabilities, also of the head's and the joined evidence's", low=1
    )
    keep: bool = key(False, "keep the measurement on the disk after the reweighting", free=True)
    views: int = key(
        1,
        "a row's features are the mean over this many views: the evaluation's, its mirror image where `transform.flip` "
        "allows it, then slightly shifted ones (without `flip` 5 at most); each is a pass over the images",
        low=1,
        high=10,
        added=True,
    )
    front: bool = key(
        False,
        "true: features also include the maps before the network's last part, averaged over 2 x 2 cells, which have "
        "fitted the labels less. Available for networks that `train: top` can cut",
        added=True,
    )


@dataclass(frozen=True)
class Evidence:
    """What is known of each row's class, and how it is joined to one distribution (docs/method.md)."""

    folds: int = key(
        5, "parts of the rows; the head that gives a part's probabilities is trained on the others", low=2, high=100
    )
    rounds: int = key(
        3, "the head learns from the labels, then this many times from the distribution found with it", low=0, high=100
    )
    shrinkage: float | Literal["auto"] = key(
        0.1,
        "shrinkage of the head's covariance towards its diagonal; auto: the value under which held-out labels are "
        "likeliest, for wide features of few rows",
        accepts=lambda value: value == "auto" or 0 <= value <= 1,
        words="0 to 1, or auto",
    )
    noise: float = key(1.0, "exponent of P(given label, true class); 0: not used", low=0)
    text: float = key(1.0, "exponent of P(class the text names, true class); 0: texts are not read", low=0)
    rank_bins: int = key(
        5,
        "a row is as reliable as others of its source and rank, in this many bins of ranks; 0: not used",
        low=0,
        high=100,
    )
    word_vectors: str | None = key(
        None, "word2vec or GloVe as text; null: TF-IDF of the given texts", words="a file, not with `text: 0`"
    )
    least_cosine: float = key(
        0.0,
        "a text names the class with the nearest text, if their cosine is above this; 0 suits TF-IDF, where it means "
        '"shares a word". Word vectors need more, about 0.3, as there all texts are somewhat similar',
        low=0,
        high=0.999,
    )
    votes: bool = key(
        False,
        "true: a second head and the votes of each row's nearest rows join the head, as in `tools/suspects.py`, which "
        "also gives how likely a row shows any class; then `rounds` is not used, nor `noise` if there is neither text "
        "nor rank",
        added=True,
    )
    vote_power: float | None = key(
        None,
        "exponent of the nearest rows' votes, compared with the two heads; null: 0.75 for the order and 0.5 for the "
        "classes, for features that have not seen the labels; for a network trained on them take about 0.25",
        low=0,
        high=2,
        words="0 to 2, or null; only with `votes: true`",
        added=True,
    )


@dataclass(frozen=True)
class Bags:
    """A batch of bags, each of ``size`` rows of one class, and the bag loss (``urnet.nn.losses.bag_loss``)."""

    size: int = key(4, "number of rows in a bag; a divisor of batch_size / accumulate", low=2)
    temperature: float = key(
        1.0, "temperature of the attention; small: only the best row counts, large: all count the same", above=0
    )
    bag_term: float = key(1.0, "weight of the bag's loss", low=0)
    instance_term: float = key(1.0, "weight of its rows' losses; not both 0", low=0)


@dataclass(frozen=True)
class Optimizer:
    """``momentum`` is SGD with momentum; weight decay is L2 on every parameter but batch norm and biases."""

    name: Literal["momentum", "adamw"] = key("momentum", "SGD with momentum, or AdamW")
    momentum: float = key(0.9, "momentum, or AdamW's beta1", low=0, below=1)
    nesterov: bool = key(False, "use Nesterov's form; momentum only")
    weight_decay: float = key(1e-4, "momentum: L2 in the gradient; AdamW: decoupled", low=0)
    clip_norm: float | None = key(
        None, "largest norm of the gradient of all parameters; null: no limit", above=0, infinite=True
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
        "lr rises linearly from 0 during this time, which counts towards the duration",
        words="a length up to the duration",
    )
    every: Duration = key(
        Duration(30, "epochs"), "step: multiply by gamma each time after this long, at least one step", above=0
    )
    gamma: float = key(0.1, "step and piecewise: the factor", above=0, high=1)
    milestones: tuple[Duration, ...] = key(
        (), "piecewise only: multiply by gamma at each of these", words="one or more lengths"
    )
    final_lr: float = key(0.0, "cosine: the rate reached at the end", words="0 to lr")


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
    bn_batches: int = key(20, "number of training micro-batches that give the batch-norm statistics", low=1)


COLUMNS = "names of columns"
FOLDERS = ("table", "curves", "measure", "replaced")  # of a run, besides those of its stages


@dataclass(frozen=True)
class Stage:
    """What is measured, which columns weigh what, and how the network is trained."""

    name: str = key(REQUIRED, "the stage's name", words="a folder name without a dot, and not " + ", ".join(FOLDERS))
    duration: Duration = key(REQUIRED, "length of training", above=0)
    batch_size: int = key(256, "rows of one step, all micro-batches together", low=1)
    accumulate: int = key(1, "micro-batches a step is cut into, to save memory; a divisor of batch_size", low=1)
    start: str = key(
        "previous",
        "first weights: those of the stage before (its `final`, as `best` was chosen on validation images), random "
        "ones, a checkpoint's, or the network's published ones ([Weights by one word](weights.md)); for the first "
        "stage previous means scratch",
        words="previous, scratch, imagenet or a path",
    )
    finetune: bool = key(
        False,
        "the classifier in `start`'s checkpoint may be missing or have another number of classes: then a new one with "
        "random weights is trained, at its own rate with `optimizer.classifier_lr`; everything else must fit. A "
        "classifier that fits is kept. Only with a checkpoint's path as `start`; `imagenet` implies it",
        added=True,
    )
    train: Literal["all", "top", "classifier"] = key(
        "all",
        "what is trained: the whole network; its last part and the classifier (`top`); or only the classifier. The "
        "frozen part is computed once, by the inference engine, and kept ([Frozen parts](method.md#frozen-parts))",
        added=True,
    )
    views: int = key(
        1,
        "`top` and `classifier` only: the number of kept views of each training image, of which a step shows one: the "
        "evaluation's, its mirror image where `transform.flip` allows it, then random ones, drawn once",
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
        "columns of the table whose product is each row's loss weight. For class weights: `[class_weight]`, with "
        "`reweight: {method: class_size}` in this stage or an earlier one; for your own weights: "
        "[a column of your own](data.md#the-table)",
        words=COLUMNS,
    )
    sampling_weight: tuple[str, ...] = key(
        (),
        "columns whose product is each row's chance of being drawn within its class: a weighted sampler",
        words=COLUMNS,
    )
    balance: float = key(
        0.0,
        "class-balanced sampling: 0: classes are drawn as often as they have rows; 1: all equally often; values "
        "between mix the two",
        low=0,
        high=1,
    )
    targets: str = key(
        "given",
        "the targets of rows: given, their labels; `label`, the soft targets of a label reweighting; `relabel`, the "
        "labels of a relabelling (each with its suffix)",
        words="given, or a file of the table",
    )
    bags: Bags | None = key(
        None,
        "batches of bags and their loss; not with `mixup`, soft targets, `subsets`, `gate`, `elr` or another `loss`",
    )
    subsets: Subsets | None = key(
        None, "batches composed of a curriculum's subsets; not with `bags`, `sampling_weight` or `balance`", added=True
    )
    gate: Gate | None = key(
        None, "rows that the network is unsure of pass no gradient; not with `mixup`, `bags` or `elr`", added=True
    )
    loss: Loss = key(Loss(), "the loss of a row; with `bags` only cross entropy", added=True)
    elr: Elr | None = key(
        None,
        "early-learning regularisation; not with `bags`, nor with `mixup` unless its `teacher` is `average`",
        added=True,
    )
    sop: Sop | None = key(
        None,
        "sparse over-parameterisation; only with given labels, and not with `mixup`, `label_smoothing`, `bags`, "
        "`gate`, `elr` or another `loss`",
        added=True,
    )
    co_teaching: CoTeaching | None = key(
        None, "two networks that choose rows for each other; only with `train: all` and given labels", added=True
    )
    dividemix: DivideMix | None = key(
        None, "two networks that divide the rows for each other; as `co_teaching`, and not together with it", added=True
    )
    optimizer: Optimizer = key(Optimizer(), "how weights are updated")
    schedule: Schedule = key(Schedule(), "learning rate")
    label_smoothing: float = key(0.0, "e: the target is (1 - e) onehot + e / n_classes", low=0, below=1)
    mixup: float = key(
        0.0, "alpha of the Beta distribution; images, targets and weights of two rows are mixed; 0: off", low=0
    )
    ema: Ema | None = key(None, "moving average of the weights")
    amp: Literal["off", "fp16", "bf16", "auto"] = key(
        "off", "number format on a GPU; auto: bf16 if the GPU has it, or fp16, or off. On a CPU only off"
    )
    eval_every: Duration = key(
        Duration(1, "epochs"), "how often to validate; the last step is always evaluated", above=0
    )
    checkpoint_every: Duration = key(
        Duration(1, "epochs"), "how often to write a checkpoint for `--resume`", above=0, free=True
    )
    log_every: int = key(20, "steps between two lines of log.txt and points of the curves", low=1, free=True)
    keep: int = key(2, "number of newest checkpoints to keep for `--resume`", low=1, free=True)

    @property
    def pair(self) -> str:
        """The key under which the stage trains two networks, "" where it trains one."""
        return next((name for name in ("co_teaching", "dividemix") if getattr(self, name) is not None), "")
