"""`python -m tools.ablation` under the name it had before."""

import sys

from tools.ablation.__main__ import main
from urnet.core.cli import run

if __name__ == "__main__":
    sys.exit(run(main))
