"""A network as a folder that predicts without its recipe: models, what must be known to use them, a README.

The folder appears when every model in it has given the live network's probabilities, or not at all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from urnet.core.answers import Answers
from urnet.core.atomic_files import atomic_folder, file_hash
from urnet.core.checks import InputError
from urnet.core.counted import verb
from urnet.data.images.decode import UnreadableImage, read_bytes, read_image
from urnet.data.images.transforms import eval_transform
from urnet.inference.cli_job import PredictionJob
from urnet.inference.export_readme import readme
from urnet.inference.exported_predictor import Exported
from urnet.inference.onnx_model import convert, onnx_predictor
from urnet.inference.program import FILES, check_in_classes, export_inference, live_answers
from urnet.inference.signature import CLASSES, ONNX, SIGNATURE, Signature, read_signature
from urnet.runtime.threads import compute_threads

BATCH = 8  # images compared at once


@dataclass
class Difference:
    """How far a model's probabilities are from the live network's, over the images compared so far."""

    predict: Callable[[np.ndarray], Answers] | None  # None: nothing is installed that runs this format
    largest: float = 0.0
    same_best: int = 0

    def add(self, images: np.ndarray, live: Answers, out: Path) -> None:
        """Compare on ``images``, of which the network says ``live``. RuntimeError, of ``out``, for other in_classes."""
        if self.predict is None:
            return
        answers = self.predict(images)
        check_in_classes(out, answers.in_classes, live.in_classes)
        found, expected = answers.probabilities, live.probabilities
        # a score that is not finite must not slip through a maximum
        difference = float(np.nan_to_num(np.abs(found - expected), nan=np.inf).max())
        self.largest = max(self.largest, difference)
        self.same_best += int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())


@dataclass(frozen=True)
class Export:
    """What is exported: ``formats`` are of "paddle" and "onnx"; ``files`` are compared (none: random images).

    ``tolerance``: the most a probability may differ, as a share of the largest one. ``replace``: an ``out`` that is
    there is replaced, when all is well.
    """

    job: PredictionJob
    out: Path
    formats: Sequence[str]
    files: Sequence[str]
    tolerance: float
    replace: bool = False

    def write(self, results: TextIO) -> None:
        """Write ``out`` whole, or raise: RuntimeError where a model's probabilities are too far off."""
        with atomic_folder(self.out, replace=self.replace) as folder:
            self._write_paddle(folder)
            tree = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))
            if "onnx" in self.formats:
                program, parameters = (folder / name for name in FILES)
                convert(program, parameters, folder / ONNX)
            tree["largest_difference_from_live"] = self._compare(folder, results)
            if "paddle" not in self.formats:
                for name in FILES:
                    (folder / name).unlink()
            if self.job.class_names:
                names = "".join(f"{name}\n" for name in self.job.class_names)
                (folder / CLASSES).write_text(names, encoding="utf-8")
            written = sorted(file for file in folder.iterdir() if file.name != SIGNATURE)
            tree["files"] = {file.name: file_hash(file) for file in written}
            text = json.dumps(tree, indent=1, ensure_ascii=False) + "\n"
            (folder / SIGNATURE).write_text(text, encoding="utf-8")
            (folder / "README.txt").write_text(readme(read_signature(folder), self.formats), encoding="utf-8")

    def _write_paddle(self, folder: Path) -> None:
        """``export_inference`` into an existing folder."""
        size = self.job.transform.size
        part, threads = folder / "part", compute_threads()
        export_inference(self.job.normalised, (3, size, size), part, notes=self.job.notes(), threads=threads)
        for file in part.iterdir():
            file.rename(folder / file.name)
        part.rmdir()

    def _compare(self, folder: Path, results: TextIO) -> dict[str, float | None]:
        """Largest difference from the live network's probabilities, a format; None where nothing could run it.

        The images of the models come from the files' bytes by the folder's own signature, those of the live
        network by the recipe's transform: both must be the same. Raises RuntimeError over the tolerance.
        """
        model = Exported(folder, batch_size=BATCH)
        found = {"paddle": Difference(model.answers)}
        if "onnx" in self.formats:
            found["onnx"] = Difference(onnx_predictor(folder / ONNX, compute_threads()))
            if found["onnx"].predict is None:
                print("note: model.onnx is not compared, as onnxruntime is not installed", file=sys.stderr)
        found = {name: found[name] for name in self.formats}
        largest, n_images = 0.0, 0
        for images in self._batches(model.signature):
            live = live_answers(self.job.normalised, images)
            largest, n_images = max(largest, float(live.probabilities.max())), n_images + len(images)
            for difference in found.values():
                difference.add(images, live, self.out)
        what, limit = "images" if self.files else "random images", self.tolerance * largest
        for name, d in found.items():
            if d.predict is None:
                continue
            line = f"{name}: largest difference from the live network {d.largest:.3g}, {n_images} {what}"
            if not d.largest <= limit:
                raise RuntimeError(f"{self.out}: not written; {line}, accepted: {limit:.3g}")
            print(f"{line}, the same best class for {d.same_best}", file=results)
        return {name: None if d.predict is None else d.largest for name, d in found.items()}

    def _batches(self, signature: Signature) -> Iterator[np.ndarray]:
        """uint8 (b, S, S, 3), b <= BATCH: the readable files, or four random images where none are given."""
        if not self.files:
            shape = (4, signature.size, signature.size, 3)
            yield np.random.default_rng(0).integers(0, 256, shape, np.uint8)
            return
        bad: list[UnreadableImage] = []
        waiting: list[np.ndarray] = []
        for file in self.files:
            try:
                waiting.append(self._image(file, signature))
            except UnreadableImage as error:
                bad.append(error)
            if len(waiting) == BATCH:
                yield np.stack(waiting)
                waiting = []
        if waiting:
            yield np.stack(waiting)
        if bad:
            if len(bad) == len(self.files):
                raise InputError(f"--images: none of {len(self.files)} is readable; {bad[0]}")
            said = f"{len(bad)} of {len(self.files)} images {verb(len(bad))} unreadable"
            print(f"note: {said}: {bad[0]}{' …' if len(bad) > 1 else ''}", file=sys.stderr)

    def _image(self, file: str, signature: Signature) -> np.ndarray:
        """The file's image (S, S, 3), made twice. Raises UnreadableImage, RuntimeError where the two differ."""
        job = self.job
        ours = eval_transform(read_image(file, exif=job.exif, max_pixels=job.max_pixels), job.transform)
        theirs = signature.prepare(read_bytes(file, job.max_pixels), max_pixels=job.max_pixels)
        if not np.array_equal(ours, theirs):
            raise RuntimeError(f"{file}: signature.json gives another image than the recipe")
        return theirs
