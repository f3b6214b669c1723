"""A network whose features, or maps, are computed once and kept, and all that these depend on."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from urnet.checkpoints.checkpoint import load_into, read_weights
from urnet.checkpoints.weight_files import weights_hash
from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.data.images.decode import MAX_PIXELS
from urnet.data.kept.pictures import EVALUATION, VIEW_VERSION, View
from urnet.runtime.threads import import_paddle

if TYPE_CHECKING:
    from urnet.inference.predictor import ActivationExtractor

Build = Callable[[str, int], Any]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network with its weights (any that ``checkpoint.read_weights`` takes), and how its pictures are prepared.

    ``output``: what is computed, "features" or "front", the maps in front of the part that ``train: top`` trains
    (``urnet.nn.network.Network``); ``shown``: of which view of a picture. The classifier may be missing in the
    weights, or be of any number of classes. ``code``: the folder of the network's Python files; None: that of
    ``build``.
    """

    build: Build
    name: str
    weights: str | Path
    n_classes: int
    transform: Transform
    exif: str = "honour"
    max_pixels: int = MAX_PIXELS
    precision: str = "fp32"
    output: str = "features"
    shown: View = EVALUATION
    device: str = "auto"
    code: Path | None = None

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
            **({} if self.output == "features" else {"output": self.output}),
            **self.shown.identity(t),
        }

    def extractor(self, batch_size: int, threads: int | None = None) -> ActivationExtractor:
        """What computes the features, its program kept for the next run; the first call imports Paddle."""
        import_paddle()
        from urnet.inference.predictor import FeatureExtractor, FrontExtractor, check_precision
        from urnet.inference.program_cache import ProgramSource
        from urnet.runtime.precision import choose_device

        t = self.transform
        device = choose_device(self.device)
        check_precision("auto", self.precision, device)
        code = self.code or Path(inspect.getfile(self.build)).parent
        kind = FrontExtractor if self.output == "front" else FeatureExtractor
        return kind(
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
        if not hasattr(network, self.output):
            raise InputError(f"{self.name}: has no method `{self.output}`; the networks in `models` have it")
        load_into(network, read_weights(self.weights, network), strict=False, source=str(self.weights))
        normalised = Normalise(network, self.transform.mean, self.transform.std)
        normalised.eval()
        return normalised


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
