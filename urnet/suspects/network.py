"""The network whose features photographs are judged by, and all that these features depend on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from urnet.checkpoints.checkpoint import describe, load_into, read_weights
from urnet.checkpoints.imagenet import transform_of, whole_word
from urnet.checkpoints.published import best_here
from urnet.checkpoints.weight_files import weights_hash
from urnet.config.choices import PRECISIONS
from urnet.config.recipe import Transform
from urnet.core.checks import InputError, check_choice
from urnet.data.images.decode import EXIF_CHOICES, MAX_PIXELS
from urnet.runtime.threads import import_paddle
from urnet.suspects.pictures import VIEW_VERSION

if TYPE_CHECKING:
    from urnet.inference.predictor import FeatureExtractor

Build = Callable[[str, int], Any]
CLASSES = 1000  # of a file of weights that does not tell; the classifier is not asked for anything


@dataclass(frozen=True)
class FeatureNetwork:
    """A network with its weights (any that ``checkpoint.read_weights`` takes), and how its pictures are prepared.

    ``feature_network`` makes one. The classifier may be missing in the weights, or be of any number of classes.
    """

    build: Build
    name: str
    weights: str | Path
    n_classes: int
    transform: Transform
    exif: str = "honour"
    max_pixels: int = MAX_PIXELS
    precision: str = "fp32"

    def describe(self) -> str:
        """Network and weights in words."""
        return f"{self.name} ({self.weights})"

    def identity(self) -> dict[str, Any]:
        """What tells these features from others: JSON values, by name."""
        t = self.transform
        return {
            "network": self.name,
            "weights": weights_hash(self.weights),
            "size": t.size,
            "resize": [t.eval, t.resize_short if t.eval == "short" else 0],
            "mean": list(t.mean),
            "std": list(t.std),
            "exif": self.exif,
            "precision": self.precision,
            "engine": _paddle_version(),
            "view": VIEW_VERSION,
        }

    def extractor(self, batch_size: int, threads: int | None = None) -> FeatureExtractor:
        """What computes the features, its program kept for the next run; the first call imports Paddle."""
        import_paddle()
        from urnet.inference.predictor import FeatureExtractor, check_precision
        from urnet.inference.program_cache import ProgramSource
        from urnet.runtime.precision import choose_device

        t = self.transform
        device = choose_device("auto")
        check_precision("auto", self.precision, device)
        code = Path(inspect.getfile(self.build)).parent
        return FeatureExtractor(
            self._normalised,
            t.size,
            precision=self.precision,
            batch_size=batch_size,
            threads=threads,
            device=device,
            source=ProgramSource(self.weights, self.name, self.n_classes, t.size, t.mean, t.std, code),
        )

    def _normalised(self) -> Any:
        from urnet.nn.normalise import Normalise

        network = self.build(self.name, self.n_classes)
        if not hasattr(network, "features"):
            raise InputError(f"{self.name}: has no method `features`; the networks of `models` have it")
        load_into(network, read_weights(self.weights, network), strict=False, source=str(self.weights))
        normalised = Normalise(network, self.transform.mean, self.transform.std)
        normalised.eval()
        return normalised


def feature_network(
    weights: str | Path | None,
    *,
    build: Build,
    model: str | None = None,
    exif: str | None = None,
    precision: str = "fp32",
) -> FeatureNetwork:
    """The network of ``weights``; None: the best published ones (``published.best_here``) of ``model``, or at all.

    A file of weights without a recipe needs ``model``; its pictures are prepared as those of the network's published
    weights are (``imagenet.transform_of``). ``exif``: the recipe's, else "honour".
    Raises InputError for weights that are not there, another model than theirs, or unknown words.
    """
    check_choice("--precision", precision, PRECISIONS)
    if exif is not None:
        check_choice("--exif", exif, EXIF_CHOICES)
    weights = best_here(model).word if weights is None else whole_word(weights, model)
    info = describe(weights)
    recipe = info.recipe
    name = recipe.model.name if recipe else model
    if name is None:
        raise InputError(
            f"--weights {weights}: is a file of weights, which does not tell its network; --model NAME does"
        )
    if model is not None and name != model:
        raise InputError(f"--model is {model}, but {weights} was trained with {name} ({info.told_by})")
    return FeatureNetwork(
        build,
        name,
        weights,
        (recipe.data.n_classes if recipe else None) or CLASSES,
        recipe.transform if recipe else transform_of(name),
        exif or (recipe.data.exif if recipe else "honour"),
        recipe.data.max_pixels if recipe else MAX_PIXELS,
        precision,
    )


def fingerprint(identity: dict[str, Any]) -> str:
    """SHA-256 of an identity, in hexadecimal."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _paddle_version() -> str:
    """The engine's version, without importing it."""
    for package in ("paddlepaddle", "paddlepaddle-gpu"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    import_paddle()
    import paddle

    return str(paddle.__version__)
