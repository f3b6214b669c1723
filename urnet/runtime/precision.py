"""On which device a recipe trains, and in which number format."""

from __future__ import annotations

import paddle

from urnet.core.checks import InputError


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


def tune_gpu(channels_last: bool) -> None:
    """Let Paddle time cuDNN's algorithms in the first steps and keep the fastest; with ``channels_last``
    also choose the layout of convolutions. Only for a GPU; not measured on one."""
    tuning = {"kernel": {"enable": True, "tuning_range": [1, 10]}, "layout": {"enable": channels_last}}
    paddle.incubate.autotune.set_config(tuning)


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
