"""The class of every ImageNet 2012 validation image, from the development kit's archive.

Prints one WordNet id (n01440764) a line, line i for validation image i. The kit numbers its classes in an
order of its own; ``meta.mat`` says which number is which WordNet id. ``prepare_imagenet2012.sh`` calls this.
"""

from __future__ import annotations

import io
import re
import sys
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from urnet.core import cli
from urnet.core.checks import InputError

GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
META = "data/meta.mat"
MOST_BYTES = 16 << 20  # of a member once unpacked; the kit's have 0.2 MiB


def read_member(archive: tarfile.TarFile, ending: str) -> bytes:
    """Bytes of the one file whose path ends so; nothing is written to the disk."""
    name = str(archive.name)
    for member in archive:
        if member.isfile() and f"/{member.name}".endswith(f"/{ending}"):
            stream = archive.extractfile(member)
            assert stream is not None
            if member.size > MOST_BYTES:
                raise InputError(f"{name}: {ending} has {member.size} bytes; {MOST_BYTES} are accepted")
            return stream.read()
    raise InputError(f"{name}: holds no {ending}")


def class_names(meta: bytes) -> dict[int, str]:
    """ILSVRC2012_ID -> WordNet id, from the kit's MATLAB file (a struct array named ``synsets``).

    Raises InputError for anything else: SciPy's reader fails in many ways on a file that is broken.
    """
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    except Exception as error:
        text = " ".join(str(error).split())
        raise InputError(f"{META}: holds no struct array `synsets` with ILSVRC2012_ID and WNID ({text})") from None


def validation_synsets(path: Path) -> list[str]:
    """The WordNet id of every validation image, in the images' order. Raises InputError."""
    try:
        with tarfile.open(path) as archive:
            truth = read_member(archive, GROUND_TRUTH).decode("ascii").split()
        with tarfile.open(path) as archive:
            names = class_names(read_member(archive, META))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: {GROUND_TRUTH} is not text; a number per line is accepted") from None
    for line, number in enumerate(truth, 1):
        if not re.fullmatch("[0-9]{1,9}", number) or int(number) not in names:
            raise InputError(f"{path}: {GROUND_TRUTH}:{line}: found {number!r}; accepted: a number in {META}")
    return [names[int(number)] for number in truth]


def main(argv: Sequence[str]) -> None:
    """Print the classes."""
    parser = cli.Parser(
        prog="data/imagenet_devkit.py", description="Print the class of each of ImageNet's validation images."
    )
    parser.add_argument("devkit", type=Path, help="ILSVRC2012_devkit_t12.tar.gz")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    print("\n".join(validation_synsets(parser.parse_args(argv).devkit)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
