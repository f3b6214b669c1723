"""How many threads Paddle computes with, decided before it is imported."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings

from urnet.core.cpus import usable_cores
from urnet.core.signals import signals_deferred


def compute_threads() -> int:
    """OMP_NUM_THREADS where it is set to a number above 0, else the cores this process may use."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if text.isdigit() and int(text) > 0:
        return int(text)
    return usable_cores()


def cores_per_process() -> int:
    """The cores this process may use, shared with the others that the launcher started on this machine; at least 1.

    OMP_NUM_THREADS is not asked: the launcher sets it to 1, whatever there is.
    """
    text = os.environ.get("PADDLE_LOCAL_SIZE", "").strip()
    return max(1, usable_cores() // (int(text) if text.isdigit() and int(text) > 0 else 1))


def import_paddle() -> None:
    """Import Paddle with ``compute_threads()`` threads (its own default is 1), without its warnings.

    Paddle's C++ log keeps to errors unless GLOG_minloglevel says otherwise, and a GPU may compute float32 convolutions
    and products in TF32 unless NVIDIA_TF32_OVERRIDE is 0 (Paddle's versions differ: ours). SIGTERM does
    afterwards what it did before: Paddle's own handler would end the process on the spot, with pages of C++ frames.
    """
    os.environ["OMP_NUM_THREADS"] = str(compute_threads())
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "1")
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written), signals_deferred(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No ccache found")
            import paddle  # noqa: F401
    finally:
        for line in written.getvalue().splitlines():
            if "OMP_NUM_THREADS" not in line:
                print(line, file=sys.stderr)
