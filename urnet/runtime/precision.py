"""On which device a recipe trains, and in which number format."""

from __future__ import annotations

import os

import paddle

from urnet.core.checks import InputError

DETERMINISTIC = "FLAGS_cudnn_deterministic"
NO = ("", "0", "false", "off", "no")


def has_gpu() -> bool:
    """Whether this build of Paddle knows CUDA and finds a GPU."""
    return paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


def choose_device(wanted: str) -> str:
    """``auto`` | ``cpu`` | ``gpu`` -> "cpu" or "gpu", made Paddle's current device.

    Raises InputError where ``gpu`` is asked for and there is none: training is never moved in silence.
    """
    if wanted == "gpu" and not has_gpu():
        why = "finds no GPU" if paddle.is_compiled_with_cuda() else "is a build without CUDA"
        raise InputError(f"device: found 'gpu', but this Paddle {why}; accepted here: auto, cpu")
    device = "gpu" if wanted != "cpu" and has_gpu() else "cpu"
    paddle.set_device(device)
    return device


def flag_is_set(name: str) -> bool:
    """Whether the environment switches a flag of Paddle's on."""
    return os.environ.get(name, "").lower() not in NO


def tune_gpu(*, half: bool, channels_last: bool) -> None:
    """Set Paddle's flags for training on a GPU, except those that the environment sets. Not measured on one.

    The first convolution of each shape times cuDNN's algorithms, in training, evaluation and measuring alike; with
    FLAGS_cudnn_deterministic none is timed, as Paddle refuses both. ``half``: some stage computes in 16 bits, then up
    to 8 gradients of a tensor are added in place (as PaddleClas does). With ``channels_last`` as well batch norm takes
    cuDNN's persistent kernels, without which Paddle transposes its float16 maps (its source says that they are
    imprecise on NCHW, so only there).
    """
    wanted: dict[str, int] = {"FLAGS_cudnn_exhaustive_search": not flag_is_set(DETERMINISTIC)}
    if half:
        wanted["FLAGS_max_inplace_grad_add"] = 8
        wanted["FLAGS_cudnn_batchnorm_spatial_persistent"] = channels_last
    paddle.set_flags({name: value for name, value in wanted.items() if value and name not in os.environ})


def choose_amp(wanted: str, device: str, where: str = "amp") -> str | None:
    """``off`` | ``fp16`` | ``bf16`` | ``auto`` -> None, "float16" or "bfloat16".

    ``auto`` takes bf16 before fp16 (no loss scaling is needed), and neither where the device has none. Raises
    InputError where a format is asked for that the device does not have; the CPU has none (Paddle's auto_cast has
    no effect there).
    """
    able = {
        "bf16": device == "gpu" and paddle.amp.is_bfloat16_supported(),
        "fp16": device == "gpu" and paddle.amp.is_float16_supported(),
    }
    if wanted == "auto":
        wanted = next((name for name, can in able.items() if can), "off")
    if wanted == "off":
        return None
    if not able[wanted]:
        accepted = ", ".join(["off", "auto", *(name for name, can in able.items() if can)])
        raise InputError(f"{where}: found {wanted!r}, which the {device} does not have; accepted: {accepted}")
    return {"bf16": "bfloat16", "fp16": "float16"}[wanted]
