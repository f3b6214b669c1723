"""Paddle inference models: written from a live network, opened, and compared with it.

A model is a folder of three files: ``model.json`` (the program), ``model.pdiparams`` (its parameters) and
``signature.json`` (what goes in and comes out). The program takes uint8 RGB images and gives probabilities:
normalisation and softmax are inside, so that nobody has to repeat them. A program for our own use may give the
network's features instead, or the maps in front of its last part. Where the network comes with a reference
(``urnet.nn.in_classes``), the program has a second output next to the probabilities: in_classes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from urnet.core.answers import Answers
from urnet.core.atomic_files import atomic_folder, naming
from urnet.nn.fold_batch_norm import folded
from urnet.nn.layout import turned_first
from urnet.nn.modes import evaluating
from urnet.runtime.host_to_device import to_tensor

NAME = "model"
FILES = (f"{NAME}.json", f"{NAME}.pdiparams")  # of a program
GPU_MEMORY = 256  # MB that the engine takes at first; more as it needs it
TOLERANCE = 1e-3  # of the largest probability, between the saved model and the live network
IN_CLASSES_TOLERANCE = 0.01  # the same of in_classes, which is steep
IN_CLASSES = {"output": 1, "dtype": "float32", "shape": ["batch"], "meaning": "below 0.5: probably none of the classes"}


class Probabilities(paddle.nn.Layer):
    """``normalised(images)`` as probabilities: float32 (B, C), rows sum to 1; in_classes (B,) where it has them."""

    def __init__(self, normalised: paddle.nn.Layer) -> None:
        super().__init__()
        self.normalised = normalised

    def forward(self, images: paddle.Tensor) -> Any:
        """uint8 (B, S, S, 3) -> (B, C), or a pair."""
        if self.normalised.in_classes is None:
            return paddle.nn.functional.softmax(self.normalised(images).astype("float32"), axis=-1)
        features = self.normalised.features(images)
        logits = self.normalised.network.fc(features)
        with paddle.amp.auto_cast(enable=False):
            fits = self.normalised.in_classes(features)
        return paddle.nn.functional.softmax(logits.astype("float32"), axis=-1), fits


class Features(paddle.nn.Layer):
    """The penultimate vectors of ``normalised(images)``: float32 (B, d)."""

    def __init__(self, normalised: paddle.nn.Layer) -> None:
        super().__init__()
        self.normalised = normalised

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """uint8 (B, S, S, 3) -> (B, d)."""
        return self.normalised.features(images).astype("float32")


class Front(paddle.nn.Layer):
    """The maps of ``normalised(images)`` in front of the network's last part, float32."""

    def __init__(self, normalised: paddle.nn.Layer) -> None:
        super().__init__()
        self.normalised = normalised

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """uint8 (B, S, S, 3) -> (B, channels, height, width)."""
        return self.normalised.front(images).astype("float32")


OUTPUTS: dict[str, type[paddle.nn.Layer]] = {  # what a program may give
    "probabilities": Probabilities,
    "features": Features,
    "front": Front,
}


def write_program(normalised: paddle.nn.Layer, image_size: int, folder: Path, *, output: str = "probabilities") -> None:
    """Write the FILES of a ``Normalise`` network into an existing folder, batch norm folded (fold_batch_norm.py).

    ``output``: which of OUTPUTS the program gives. It computes with the channels first, whatever the network does.
    """
    noise = np.random.default_rng(0).integers(0, 256, (1, image_size, image_size, 3), np.uint8)
    # the engine's oneDNN operations take a channel's shift for the last axis of maps with the channels last
    with turned_first(normalised.network), evaluating(normalised), folded(normalised, paddle.to_tensor(noise)):
        layer = OUTPUTS[output](normalised)
        layer.eval()
        images = paddle.static.InputSpec([None, image_size, image_size, 3], "uint8", name="images")
        paddle.jit.save(paddle.jit.to_static(layer, input_spec=[images], full_graph=True), str(folder / NAME))
    with naming(folder):  # on a full disk Paddle writes less, and says nothing
        (folder / "space").write_bytes(bytes(1 << 16))
    (folder / "space").unlink()


class Engine:
    """A written program, run by ``paddle.inference``: with oneDNN on the CPU, or on a GPU.

    ``engine(images)``: uint8 (B, S, S, 3) -> float32 (B, C), or (B, d) where the program gives features;
    ``answers`` also in_classes where it gives them, ``launch`` only begins. Every new B costs memory and a second or
    more of preparation, so the callers keep to one. Not to be shared by threads. ``device``: "cpu", or "gpu", which is
    Paddle's current one; there the engine was never measured. TensorRT is not used (docs/cli.md says why).
    """

    def __init__(self, folder: Path, *, threads: int, precision: str = "fp32", device: str = "cpu") -> None:
        from paddle.inference import Config, create_predictor

        config = Config(*(str(folder / name) for name in FILES))
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(threads)
        if device == "gpu":
            _choose_gpu(config, precision)
        else:
            _choose_cpu(config, precision)
        self._predictor = create_predictor(config)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._outputs = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.answers(images).probabilities

    def answers(self, images: np.ndarray) -> Answers:
        """All outputs of a program of probabilities."""
        self._input.copy_from_cpu(np.ascontiguousarray(images))
        self._predictor.run()
        return Answers(*(output.copy_to_cpu().astype(np.float32, copy=False) for output in self._outputs))

    @paddle.no_grad()
    def launch(self, images: np.ndarray) -> tuple[paddle.Tensor, ...]:
        """All outputs on the device, float32; a GPU may still be at work on them.

        Nothing here waits for it: Paddle's executor takes the images from the device's memory and leaves the outputs
        there, and works in the stream of all of Paddle's operations. The next run may use the outputs' memory again,
        hence the copies, which the device makes before.
        """
        found = self._predictor.run([to_tensor(np.ascontiguousarray(images))])
        return tuple(output.clone().astype("float32") for output in found)


def _choose_cpu(config: Any, precision: str) -> None:
    config.disable_gpu()
    config.enable_onednn()
    config.set_onednn_cache_capacity(1)  # one batch size; more would only hold memory
    if precision == "bf16":
        config.enable_onednn_bfloat16()


def _choose_gpu(config: Any, precision: str) -> None:
    from paddle.inference import PrecisionType

    number = int(paddle.get_device().partition(":")[2] or 0)  # of those that CUDA_VISIBLE_DEVICES leaves
    kinds = {"fp32": PrecisionType.Float32, "bf16": PrecisionType.Bfloat16, "fp16": PrecisionType.Half}
    config.enable_use_gpu(GPU_MEMORY, number, kinds[precision])


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 faster than it emulates it."""
    return bool(paddle.base.core.supports_bfloat16_fast_performance())


def export_inference(
    normalised: paddle.nn.Layer,
    image_shape: Sequence[int],
    folder: Path,
    *,
    notes: dict[str, Any] | None = None,
    threads: int = 1,
    seed: int = 0,
) -> float:
    """Write an inference model, whole or not at all, that predicts like the live network.

    ``image_shape`` is (3, S, S); ``notes`` joins signature.json. Before the folder appears, the written model
    and the network predict the same four random images; returns the largest absolute difference of
    their probabilities. Raises RuntimeError where it is over TOLERANCE times the largest probability, and
    InputError for a folder that exists or cannot be written.
    """
    size = image_shape[-1]
    images = np.random.default_rng(seed).integers(0, 256, (4, size, size, 3), np.uint8)
    with atomic_folder(Path(folder)) as temporary:
        write_program(normalised, size, temporary)
        answers, expected = Engine(temporary, threads=threads).answers(images), live_answers(normalised, images)
        found = answers.probabilities
        difference = float(np.abs(found - expected.probabilities).max())
        limit = TOLERANCE * float(expected.probabilities.max())
        if not difference <= limit:
            raise RuntimeError(
                f"{folder}: not written; its probabilities differ from the live network's by {difference:.3g}; "
                f"{limit:.3g} is accepted"
            )
        check_in_classes(folder, answers.in_classes, expected.in_classes)
        fits = {} if answers.in_classes is None else {"in_classes": IN_CLASSES}
        signature = {
            "input": {"name": "images", "dtype": "uint8", "shape": ["batch", size, size, 3], "order": "RGB"},
            "output": {"dtype": "float32", "shape": ["batch", found.shape[1]], "meaning": "probabilities"},
            **fits,
            "normalisation": "inside the model",
            "largest_difference_from_live": difference,
            **(notes or {}),
        }
        (temporary / "signature.json").write_text(json.dumps(signature, indent=1) + "\n", encoding="utf-8")
    return difference


def check_in_classes(folder: Path, found: np.ndarray | None, expected: np.ndarray | None) -> None:
    """Raise RuntimeError where a written model's in_classes (B,) are not the network's."""
    if expected is None and found is None:
        return
    off = (
        np.inf
        if found is None or expected is None
        else float(np.nan_to_num(np.abs(found - expected), nan=np.inf).max())
    )
    if not off <= IN_CLASSES_TOLERANCE:
        raise RuntimeError(
            f"{folder}: not written; its in_classes are {off:.3g} off the live network's, "
            f"accepted: {IN_CLASSES_TOLERANCE:g}"
        )


def live_answers(normalised: paddle.nn.Layer, images: np.ndarray, *, precision: str = "fp32") -> Answers:
    """What a program would give, from the network in evaluation mode: uint8 (B, S, S, 3) -> float32 (B, C), (B,)."""
    return Answers(*(output.numpy() for output in live_outputs(normalised, images, precision=precision)))


def live_outputs(
    normalised: paddle.nn.Layer, images: np.ndarray, *, output: str = "probabilities", precision: str = "fp32"
) -> tuple[paddle.Tensor, ...]:
    """The same on the device, which may still be at work on them; ``output``: one of OUTPUTS."""
    with evaluating(normalised), paddle.no_grad(), _autocast(precision):
        found = OUTPUTS[output](normalised)(to_tensor(images))
    return found if isinstance(found, tuple) else (found,)


def _autocast(precision: str) -> Any:
    """The context in which a live network computes in a number format; the CPU has fp32 only."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return paddle.amp.auto_cast(dtype={"bf16": "bfloat16", "fp16": "float16"}[precision], level="O1")
