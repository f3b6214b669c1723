"""The machine: cards, driver, what Paddle was built with, and whether its kernels compute on this card at all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator

import numpy as np
import paddle

from tools import machine
from tools.gpu_check.rows import OK, Row, Settings, Skipped, attempt

QUERY = "name,memory.total,compute_cap,driver_version"
SET = ("CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "CUDA_MODULE_LOADING", "LD_LIBRARY_PATH")
LIMIT = 1e-2  # of the largest value: a TF32 product has 10 bits of mantissa


def check(settings: Settings) -> Iterator[Row]:
    """Facts first, so that they stand in the table even where nothing computes."""
    yield Row("host", OK, "; ".join(f"{name} {value}" for name, value in machine.describe().items()))
    yield attempt("shared memory", lambda: f"{shutil.disk_usage('/dev/shm').free / 2**30:.1f} GiB free in /dev/shm")
    yield attempt("cards", cards)
    yield attempt("Paddle", paddle_build)
    yield attempt("environment", environment)
    yield attempt("a product and a convolution", computes)
    yield attempt("number formats", formats, settings)


def cards() -> str:
    """What nvidia-smi says of the cards, and the newest CUDA that the driver takes."""
    try:
        listed = _smi(f"--query-gpu={QUERY}", "--format=csv,noheader")
    except FileNotFoundError:
        raise Skipped("nvidia-smi was not found") from None
    kinds = Counter(line.strip() for line in listed.splitlines() if line.strip())
    newest = re.search(r"CUDA Version: *([\d.]+)", _smi())
    said = "; ".join(f"{n} x {kind}" for kind, n in kinds.items())
    return f"{said} ({QUERY}); the driver takes CUDA up to {newest[1] if newest else 'unknown'}"


def _smi(*words: str) -> str:
    done = subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"nvidia-smi: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def paddle_build() -> str:
    """Versions that the wheel was built with."""
    built = paddle.version
    if not paddle.is_compiled_with_cuda():
        return f"{built.full_version}, built without CUDA"
    parts = {"CUDA": built.cuda(), "cuDNN": built.cudnn(), "NCCL": built.nccl(), "TensorRT": built.tensorrt()}
    said = ", ".join(f"{name} {version}" for name, version in parts.items())
    archs = built.cuda_archs() if hasattr(built, "cuda_archs") else "unknown"
    return f"{built.full_version}, {said}, CINN {paddle.is_compiled_with_cinn()}, code for {archs}"


def environment() -> str:
    """Variables that steer CUDA, NCCL and Paddle, as they are set here."""
    names = sorted(name for name in os.environ if name in SET or name.startswith(("NCCL_", "FLAGS_")))
    return " ".join(f"{name}={os.environ[name]}" for name in names) or "none of those that steer CUDA is set"


def computes() -> str:
    """A card whose code the wheel has not fails here, in words of CUDA's."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((64, 64)).astype(np.float32) for _ in range(2))
    product = (paddle.to_tensor(a) @ paddle.to_tensor(b)).numpy()
    images, kernel = paddle.to_tensor(rng.random((2, 3, 8, 8), np.float32)), rng.random((4, 3, 1, 1), np.float32)
    maps = paddle.nn.functional.conv2d(images, paddle.to_tensor(kernel)).numpy()
    expected = np.einsum("bchw,oc->bohw", images.numpy(), kernel[:, :, 0, 0])
    apart = max(np.abs(product - a @ b).max() / np.abs(a @ b).max(), np.abs(maps - expected).max() / expected.max())
    assert apart < LIMIT, f"apart from NumPy's by {apart:.3g} of the largest value"
    return f"as NumPy's, but for {apart:.1g} of the largest value"


def formats(settings: Settings) -> str:
    """What ``amp: auto`` would take."""
    from urnet.runtime.precision import choose_amp

    if not settings.gpus:
        raise Skipped("the CPU has float32 only")
    able = {"fp16": paddle.amp.is_float16_supported(), "bf16": paddle.amp.is_bfloat16_supported()}
    return f"{able}; amp: auto is {choose_amp('auto', 'gpu')}"
