"""What this machine is: usable cores, processor, memory, versions.

python tools/machine.py            the description that tools/speed prints above its figures
python tools/machine.py --cores    the number of usable cores alone
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from urnet.core.cpus import usable_cores

# One of these distributions provides each library; the first one installed is named.
LIBRARIES = {
    "Paddle": ("paddlepaddle-gpu", "paddlepaddle"),
    "OpenCV": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
}


def processor() -> str:
    """The processor's model name, or its architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """Physical memory in bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def version(library: str) -> str:
    """Version of an installed library of ``LIBRARIES``, without importing it."""
    for distribution in LIBRARIES[library]:
        try:
            found = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return f"{found} (GPU build)" if distribution.endswith("-gpu") else found
    return "not installed"


def describe() -> dict[str, str]:
    """Everything a reader needs to compare speeds, in the order in which it is printed."""
    memory = memory_bytes()
    return {
        "processor": processor(),
        "cores in use": str(usable_cores()),
        "memory": f"{memory / 2**30:.1f} GiB" if memory else "unknown",
        "Python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "unset"),
    }


def main(argv: Sequence[str]) -> int:
    """``--cores`` prints the number alone; without it the whole description."""
    if list(argv) == ["--cores"]:
        print(usable_cores())
    elif not argv:
        print("\n".join(f"{name}: {value}" for name, value in describe().items()))
    else:
        print("usage: python tools/machine.py [--cores]", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
