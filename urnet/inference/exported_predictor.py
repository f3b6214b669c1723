"""An exported folder's model, opened: probabilities without the recipe or the network's code."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from urnet.core.checks import InputError
from urnet.inference.predictor import Predictor, check_precision
from urnet.inference.program import Engine
from urnet.inference.signature import PADDLE, SIGNATURE, Signature, read_signature
from urnet.runtime.threads import compute_threads


class Exported(Predictor):
    """The predictor of a folder that ``tools/export.py`` or ``infer.py --save_inference`` wrote.

    ``signature`` says what the folder holds; ``signature.prepare(data)`` makes an image file's bytes what
    ``probabilities`` and ``topk`` (``predictor.Predictor``'s own) take. On the CPU, with oneDNN; batches are
    padded to ``batch_size``. Raises InputError for a folder that cannot be used, and for what the CPU lacks;
    with the first answer also where the model has another number of classes than the signature says.
    """

    def __init__(
        self,
        folder: str | Path | Signature,
        *,
        batch_size: int = 16,
        threads: int | None = None,
        precision: str = "fp32",
    ) -> None:  # not Predictor's, which begins with a network
        start = time.perf_counter()
        if batch_size < 1:
            raise InputError(f"--batch_size: found {batch_size}; 1 or more is accepted")
        self.signature = folder if isinstance(folder, Signature) else read_signature(folder)
        self.signature.needs(PADDLE)
        self.image_size, self.batch_size = self.signature.size, batch_size
        self.engine = check_precision("inference", precision, "cpu")
        engine = Engine(self.signature.folder, threads=threads or compute_threads(), precision=precision)
        told = self.signature
        self._run = lambda images: _checked(engine(images), told)
        self.start_seconds = time.perf_counter() - start


def _checked(scores: np.ndarray, told: Signature) -> np.ndarray:
    """The scores (b, C), if C is what the signature says."""
    if scores.shape[1:] != (told.n_classes,):
        where = told.folder / SIGNATURE
        raise InputError(f"{where}: output.shape: says {told.n_classes} classes, the model's answer is {scores.shape}")
    return scores
