"""Probabilities and features of batches of images, whatever computes them: the live network or Paddle's engine."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import paddle

from urnet.config.choices import ENGINES, PRECISIONS
from urnet.core.answers import Answers
from urnet.core.checks import InputError, check_choice
from urnet.core.top_k import topk
from urnet.inference.program import Engine, cpu_has_bf16, live_outputs, write_program
from urnet.inference.program_cache import ProgramSource, cache_folder, find_program, keep_program
from urnet.runtime.device_to_host import Downloads
from urnet.runtime.late_top_k import LateScores
from urnet.runtime.threads import compute_threads

Network: TypeAlias = paddle.nn.Layer | Callable[[], paddle.nn.Layer]
BF16_NEEDED = "a CPU with bfloat16 instructions (avx512_bf16 or amx_bf16)"


class BatchRunner:
    """Computes uint8 RGB images (b, image_size, image_size, 3), b from 1 to ``batch_size``.

    ``run`` computes batches of ``batch_size``; smaller ones are filled up, as every other size costs an engine
    memory. ``engine`` names what computes: "inference" or "dygraph".
    """

    def __init__(self, run: Callable[[np.ndarray], Any], image_size: int, *, batch_size: int, engine: str) -> None:
        self._run, self.image_size, self.batch_size, self.engine = run, image_size, batch_size, engine

    def _compute(self, images: np.ndarray) -> Any:
        n, found = len(images), self._run(self._full(images))
        return found.first(n) if isinstance(found, Answers) else found[:n]

    def _full(self, images: np.ndarray) -> np.ndarray:
        """``batch_size`` images: these and black ones."""
        n = len(images)
        if images.dtype != np.uint8 or images.shape[1:] != (self.image_size, self.image_size, 3):
            accepted = f"uint8 (b, {self.image_size}, {self.image_size}, 3)"
            raise InputError(f"images: found {images.dtype} {images.shape}; accepted: {accepted}")
        if not 1 <= n <= self.batch_size:
            raise InputError(f"images: found {n} in a batch; 1..{self.batch_size} are accepted")
        if n < self.batch_size:
            padding = np.zeros((self.batch_size - n, *images.shape[1:]), np.uint8)
            images = np.concatenate([images, padding])
        return images


class BatchPredictor(BatchRunner):
    """Probabilities of a batch of images, see ``BatchRunner``."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """uint8 (b, S, S, 3), 1 <= b <= batch_size -> float32 (b, C); rows sum to 1."""
        return self.answers(images).probabilities

    def answers(self, images: np.ndarray) -> Answers:
        """The same, and float32 (b,) of how well each image fits the classes where the network knows that."""
        return Answers.of(self._compute(images))

    def topk(self, images: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k most probable classes: indices (b, k) int64 and probabilities (b, k), best first."""
        return topk(self.probabilities(images), k)


class _OfNetwork(BatchRunner):
    """What computes a ``normalise.Normalise`` network.

    ``engine``: "inference" is Paddle's inference engine, on the CPU with oneDNN, "dygraph" the live network,
    "auto" the first on the CPU and the second on a GPU, where the engine was never measured. ``precision``: "bf16" is
    several times as fast on CPUs with AMX (inference) and on GPUs; on CPUs with AVX512-BF16 alone it gains nothing.
    Scores keep about two digits; "fp16", for GPUs only, about three. ``device``: "cpu" or "gpu". Raises InputError
    for a combination nothing can compute.

    ``normalised`` may also be a function that returns the network: it is called once, and not at all where
    the engine's program is in the cache. That is so only with ``source``, which says what the network is
    made from (program_cache.py); without it nothing is kept.
    """

    output: ClassVar[str]  # of program.OUTPUTS
    _begin: Callable[[np.ndarray], tuple[paddle.Tensor, ...]] | None = None  # a batch on a GPU: its outputs there

    def __init__(
        self,
        normalised: Network,
        image_size: int,
        *,
        engine: str = "auto",
        precision: str = "fp32",
        batch_size: int = 16,
        threads: int | None = None,
        device: str = "cpu",
        source: ProgramSource | None = None,
    ) -> None:
        check_choice("--engine", engine, ENGINES)
        check_choice("--precision", precision, PRECISIONS)
        check_batch_size(batch_size)
        engine = check_precision(engine, precision, device)
        run: Callable[[np.ndarray], Any]
        begin: Callable[[np.ndarray], tuple[paddle.Tensor, ...]]
        features = self.output != "probabilities"
        if engine == "inference":
            with _program(normalised, image_size, self.output, source) as folder:
                opened = Engine(folder, threads=threads or compute_threads(), precision=precision, device=device)
                run, begin = opened if features else opened.answers, opened.launch
        else:
            begin = functools.partial(live_outputs, _built(normalised), output=self.output, precision=precision)
            run = functools.partial(_read, begin, features)
        if device == "gpu":
            self._begin = begin
        super().__init__(run, image_size, batch_size=batch_size, engine=engine)


class Predictor(_OfNetwork, BatchPredictor):
    """The probabilities of a network."""

    output = "probabilities"

    def launcher(self) -> LateScores | None:
        """What begins a batch on a GPU, of one view per image (B, S, S, 3) or several (B, V, S, S, 3), and gives the
        best of their mean probabilities later; None where ``answers`` is all there is, as on the CPU."""
        return None if self._begin is None else LateScores(self._scores, Downloads())

    def _scores(self, images: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        assert self._begin is not None
        shape = images.shape[:-3]
        flat = images.reshape(-1, *images.shape[-3:])
        parts = [flat[first : first + self.batch_size] for first in range(0, len(flat), self.batch_size)]
        found = [[output[: len(part)] for output in self._begin(self._full(part))] for part in parts]

        def mean(values: Sequence[paddle.Tensor]) -> paddle.Tensor:
            whole = paddle.concat(list(values))
            return whole if len(shape) == 1 else whole.reshape([*shape, *whole.shape[1:]]).mean(axis=1)

        scores, *known = map(mean, zip(*found, strict=True))
        return scores, known[0] if known else None


class ActivationExtractor(_OfNetwork):
    """What a network makes of images at one place inside it."""

    @functools.cached_property
    def _downloads(self) -> Downloads:
        return Downloads()

    def features(self, images: np.ndarray) -> np.ndarray:
        """uint8 (b, S, S, 3), 1 <= b <= batch_size -> float32 (b, d), or (b, channels, height, width)."""
        found: np.ndarray = self._compute(images)
        return found

    def launch(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """``features``, begun on a GPU: what is returned waits for it. On the CPU they are computed here."""
        if self._begin is None:
            found = self.features(images)
            return lambda: found
        return self._downloads(self._begin(self._full(images))[0][: len(images)]).value


class FeatureExtractor(ActivationExtractor):
    """The features of a network that has them (``urnet.nn.network.Network``): what its classifier is given."""

    output = "features"


class FrontExtractor(ActivationExtractor):
    """The maps of a network that has a ``front`` (``urnet.nn.network.Network``)."""

    output = "front"


def check_batch_size(batch_size: int) -> None:
    """Raises InputError for a batch without an image."""
    if batch_size < 1:
        raise InputError(f"--batch_size: found {batch_size}; 1 or more is accepted")


def check_precision(engine: str, precision: str, device: str) -> str:
    """The engine, "auto" resolved; raises InputError, before any work, for what it cannot compute there."""
    if engine == "auto":
        engine = "dygraph" if device == "gpu" else "inference"
    if precision == "fp32":
        return engine
    if precision == "fp16":
        if device == "cpu":
            raise InputError(
                f"--precision fp16: works only on GPUs; accepted on the CPU: fp32, or bf16 on {BF16_NEEDED}"
            )
        return engine
    if device == "cpu" and engine == "dygraph":
        raise InputError("--precision bf16: on the CPU --engine inference is needed; dygraph computes in fp32")
    if device == "cpu" and not cpu_has_bf16():
        raise InputError(f"--precision bf16: this CPU does not have it; accepted: fp32, or {BF16_NEEDED}")
    if device == "gpu" and not paddle.amp.is_bfloat16_supported():
        raise InputError("--precision bf16: this GPU does not have it; accepted: fp32, or a GPU with bfloat16")
    return engine


@contextlib.contextmanager
def _program(network: Network, image_size: int, output: str, source: ProgramSource | None) -> Iterator[Path]:
    """The folder of the network's program, from the cache, new in the cache, or gone after the block."""
    place, entry = cache_folder(), None
    if source is not None and place is not None:
        source = dataclasses.replace(source, output=output)
        key = source.key()
        entry = find_program(place, key)
        if entry is None:
            network = live = _built(network)
            entry = keep_program(place, key, source, lambda to: write_program(live, image_size, to, output=output))
    if entry is not None:
        yield entry
        return
    with tempfile.TemporaryDirectory(prefix="urnet-") as folder:
        write_program(_built(network), image_size, Path(folder), output=output)
        yield Path(folder)


def _read(
    begin: Callable[[np.ndarray], tuple[paddle.Tensor, ...]], features: bool, images: np.ndarray
) -> np.ndarray | Answers:
    """What ``begin`` has begun, on the host: the only output, or those of a network that gives probabilities."""
    found = [output.numpy() for output in begin(images)]
    return found[0] if features else Answers(*found)


def _built(network: Network) -> paddle.nn.Layer:
    return network if isinstance(network, paddle.nn.Layer) else network()
