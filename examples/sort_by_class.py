"""Sort images into one folder per class by a checkpoint's predictions, but only those it is sure of.

python examples/sort_by_class.py output/digits_web/label/final data/digits_web/val_images_resized sorted
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import models
import urnet
from urnet.core import cli
from urnet.data.lists.folders import images_under


def main(argv: Sequence[str] | None = None) -> int:
    """Predict every image below a folder and copy it to OUT/CLASS where its probability is high enough."""
    parser = cli.Parser(prog="sort_by_class.py", description="Sort images into one folder per class.")
    parser.add_argument("checkpoint", help="folder final/ or best/ of a stage")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("out", type=Path, help="folder for the class folders; sub-folders are kept")
    parser.add_argument("--least", type=float, default=0.5, help="smallest probability [0.5]")
    args = parser.parse_args(argv)

    predictor = urnet.load_predictor(args.checkpoint, build=models.build)
    images = images_under(args.images)
    files = [images.name(i) for i in range(len(images))]
    top = predictor.top([args.images / file for file in files], k=1)
    sure = top.scores[:, 0] >= args.least
    for file, (label,), (name,), copied in zip(files, top.classes, top.names, sure, strict=True):
        if copied:
            target = args.out / f"{label} {name}".strip().replace("/", "_") / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(args.images / file, target)
    print(f"{sure.sum()} of {len(files)} images copied to {args.out}")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.run(main))
