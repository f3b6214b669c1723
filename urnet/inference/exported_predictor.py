"""An exported folder's model, opened: probabilities without the recipe or the network's code."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from urnet.core.answers import Answers
from urnet.core.checks import InputError
from urnet.inference.predictor import BatchPredictor, check_batch_size, check_precision
from urnet.inference.program import Engine
from urnet.inference.signature import PADDLE, SIGNATURE, Signature, read_signature
from urnet.runtime.threads import compute_threads


class Exported(BatchPredictor):
    """The predictor of a folder that ``tools/export.py`` or ``infer.py --save_inference`` wrote.

    ``signature`` says what the folder holds; ``signature.prepare(data)`` makes an image file's bytes what
    ``probabilities`` and ``topk`` take. On the CPU, with oneDNN. Raises InputError for a folder that cannot be
    used, and for what the CPU lacks; with the first batch also where the model has another number of classes
    than the signature says.
    """

    def __init__(
        self,
        folder: str | Path | Signature,
        *,
        batch_size: int = 16,
        threads: int | None = None,
        precision: str = "fp32",
    ) -> None:
        check_batch_size(batch_size)
        self.signature = folder if isinstance(folder, Signature) else read_signature(folder)
        self.signature.needs(PADDLE)
        engine = check_precision("inference", precision, "cpu")
        self._engine = Engine(self.signature.folder, threads=threads or compute_threads(), precision=precision)
        super().__init__(self._checked, self.signature.size, batch_size=batch_size, engine=engine)

    def _checked(self, images: np.ndarray) -> Answers:
        """The engine's answers, if their C is what the signature says."""
        answers, n_classes = self._engine.answers(images), self.signature.n_classes
        scores = answers.probabilities
        if scores.shape[1:] != (n_classes,):
            where = self.signature.folder / SIGNATURE
            raise InputError(
                f"{where}: output.shape: says {n_classes} classes, but the model's output is {scores.shape}"
            )
        if (answers.in_classes is not None) != self.signature.in_classes:
            said, has = (("one", "none"), ("no in_classes", "one"))[not self.signature.in_classes]
            raise InputError(f"{self.signature.folder / SIGNATURE}: in_classes: says {said}, but the model has {has}")
        return answers
