"""infer.py with both engines in all number formats, compared with dygraph in float32 on the CPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle

import models
from tools.gpu_check.programs import run_here
from tools.gpu_check.rows import Row, Settings, Skipped, attempt
from tools.speed.photographs import write_photographs
from urnet.checkpoints import checkpoint
from urnet.core.checks import InputError
from urnet.evaluation.prediction_reader import read_predictions
from urnet.inference.predictor import check_precision
from urnet.nn.ema import recompute_batch_norm

N_CLASSES = 10
LIMITS = {"fp32": 0.01, "fp16": 0.02, "bf16": 0.1}  # of a probability; fp32 may be TF32


def check(settings: Settings) -> Iterator[Row]:
    """The first one is the reference; where it fails the others say so."""
    network, size, n = settings.size(("ResNet50", 224, 512), ("ResNet8_small32", 32, 6))
    folder = settings.folder / "engines"
    write_photographs(folder / "pictures", n, (max(size, 96), max(size, 96)))
    _save(network, size, folder / "weights")
    flags = ["--model", network, "--pretrained_model", folder / "weights", "--class_dim", N_CLASSES]
    flags += ["--image_shape", f"3,{size},{size}", "--img_path", folder / "pictures", "--topk", N_CLASSES]
    reference = folder / "reference.csv"
    on_cpu = [*flags, "--use_gpu", False, "--engine", "dygraph", "--output", reference]
    yield attempt("dygraph, fp32, CPU", lambda: _speed(run_here("infer", *on_cpu)))
    for engine in ("dygraph", "inference"):
        for precision in LIMITS:
            file = folder / f"{engine}-{precision}.csv"
            own = [*flags, "--use_gpu", bool(settings.gpus), "--engine", engine, "--precision", precision]
            yield attempt(f"{engine}, {precision}", _beside, settings, [*own, "--output", file], file, reference)


def _save(name: str, size: int, folder: Path) -> None:
    """Random weights whose batch norms know what passes them, so that no value overflows."""
    paddle.seed(1)
    network = models.build(name, N_CLASSES)
    recompute_batch_norm(network, [paddle.randn([8, 3, size, size])])
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    checkpoint.save(folder, weights=weights, state={})


def _beside(settings: Settings, flags: list[object], file: Path, reference: Path) -> str:
    engine, precision = (str(flags[flags.index(flag) + 1]) for flag in ("--engine", "--precision"))
    try:
        check_precision(engine, precision, settings.device)
    except InputError as error:
        raise Skipped(str(error).partition(": ")[2]) from None
    speed = _speed(run_here("infer", *flags))
    apart = float(np.abs(_probabilities(file) - _probabilities(reference)).max())
    said = f"{speed}; largest difference of a probability {apart:.2g}"
    assert apart <= LIMITS[precision], said
    return said


def _probabilities(file: Path) -> np.ndarray:
    """(images, classes), from a file of all classes."""
    found = []
    for block in read_predictions(file, N_CLASSES):
        dense = np.full(block.classes.shape, np.nan)
        np.put_along_axis(dense, block.classes, block.scores, axis=1)
        found.append(dense)
    return np.concatenate(found)


def _speed(said: str) -> str:
    rate = re.search(r"\(([\d.]+ images/s)\).*(start-up [\d.]+ s)", said)
    return f"{rate[1]}, {rate[2]}" if rate else "no line of speed"
