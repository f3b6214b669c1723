"""ONNX models: written from a Paddle program by paddle2onnx, run by onnxruntime."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from urnet.core.answers import Answers
from urnet.core.checks import InputError

CONVERTER, OLDEST = "paddle2onnx", (2, 1)  # 2.1 and later read the programs of Paddle 3.0 to 3.3
OPSET = 13
HOW = '`pip install -e ".[onnx]"` brings what is accepted: paddle2onnx 2.1 or later, with Paddle 3'
# Left to itself, paddle2onnx folds constants with a library that installs packages as it goes: "none".
CODE = (
    "import sys, paddle2onnx; paddle2onnx.export(*sys.argv[1:4], opset_version=int(sys.argv[4]),"
    " enable_onnx_checker=True, optimize_tool='none')"
)


def check_converter() -> str:
    """The version of the installed paddle2onnx; InputError where there is none, or one that is too old."""
    try:
        found = importlib.metadata.version(CONVERTER)
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"--format onnx: paddle2onnx is not installed; {HOW}") from None
    if tuple(int(word) for word in found.split(".")[:2] if word.isdecimal()) < OLDEST:
        raise InputError(f"--format onnx: found paddle2onnx {found}; {HOW}")
    return found


def convert(program: Path, parameters: Path, target: Path) -> None:
    """Write ``target`` in a process of its own: the converter is C++ that ends the process where it fails.

    Raises RuntimeError with the converter's last words.
    """
    command = [sys.executable, "-c", CODE, str(program), str(parameters), str(target), str(OPSET)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not target.is_file():
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise RuntimeError(f"paddle2onnx ended with {done.returncode}: {said[-1] if said else 'no word'}")


def onnx_predictor(model: Path, threads: int) -> Callable[[np.ndarray], Answers] | None:
    """A function from uint8 (B, S, S, 3) to what the model answers; None where onnxruntime is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: Answers(*session.run(None, {name: images}))
