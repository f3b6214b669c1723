"""Images into one folder a class, as a checkpoint sees them; the sure ones only.

python examples/sort_by_class.py output/digits_web/label/final data/digits_web/val_images_resized sorted
"""

import argparse
import shutil
from pathlib import Path

import models
import urnet


def main() -> None:
    """Predict every image below a folder and copy it to OUT/CLASS where its probability is high enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a stage's folder final/ or best/")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("out", type=Path, help="where the folders of the classes go")
    parser.add_argument("--least", type=float, default=0.5, help="smallest probability [0.5]")
    args = parser.parse_args()

    predictor = urnet.load_predictor(args.checkpoint, build=models.build)
    files = sorted(path for path in args.images.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    top = predictor.top(files, k=1)
    for path, classes, names, scores in zip(files, top.classes, top.names, top.scores, strict=True):
        if scores[0] >= args.least:
            folder = args.out / (names[0] or f"class {classes[0]}")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
    print(f"{(top.scores[:, 0] >= args.least).sum()} of {len(files)} images copied to {args.out}")


if __name__ == "__main__":
    main()
