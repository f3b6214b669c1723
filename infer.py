"""Predict the classes of images with a trained network: the first release's command, and more.

    python infer.py --model ResNeXt101_32x4d --pretrained_model ckpt/ResNeXt101_32x4d_Release/ \\
        --class_dim 5000 --img_path data/val/ --img_list data/val_list.txt --use_gpu True

stdout holds the arguments and one line an image. docs/cli.md explains every flag.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, TextIO

import models
from urnet import cli
from urnet.checks import InputError
from urnet.predict_cli import Setup
from urnet.predict_flags import ReleaseParser, make_parser
from urnet.predictions import PredictionFile, open_predictions, result_line, unreadable_line


def parser() -> ReleaseParser:
    """The flags of infer.py."""
    parser = make_parser("infer.py", __doc__ or "", batch_size=16, release=["save_inference"])
    add = parser.add_argument
    add("--save_inference", type=cli.boolean_word, default=False, metavar="True|False",
        help="True: write a Paddle inference model, check it, and end [False]")  # fmt: skip
    add(
        "--inference_dir",
        metavar="DIR",
        help="where --save_inference writes; a new folder [the model's name]",
    )
    add("--topk", type=int, default=1, help="classes an image, best first [1]")
    add("--output", metavar="FILE", help="also write the predictions there: .csv or .jsonl")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Check everything, then predict and print; the file of ``--output`` appears when all is done."""
    args = parser().parse_args(argv)
    with cli.results_only() as results:
        setup = Setup(args, models.NAMES)
        if not 1 <= args.topk <= args.class_dim:
            raise InputError(f"--topk: found {args.topk}; 1..{args.class_dim} is accepted")
        cli.print_arguments(args, results)
        if args.save_inference:
            save(setup, results)
            return cli.DONE
        images = setup.images(need_labels=False)
        with open_predictions(args.output, setup.class_names) as file:
            predict(setup, images, results, file)
    return cli.DONE


def predict(setup: Setup, images, results: TextIO, file: Optional[PredictionFile]) -> None:
    """A line an image on ``results``, a row in ``file``; speed on stderr."""
    start = time.perf_counter()
    setup.start(models.build)
    predictor, loader = setup.predictor(len(images)), setup.loader(images)
    from urnet.evaluate import ranked
    from urnet.progress import Progress

    ready = time.perf_counter()
    try:
        with Progress("infer", len(images)) as display:
            for answer in ranked(
                predictor.probabilities, loader, setup.args.topk, max_bad=setup.args.max_bad, progress=display
            ):
                for row, readable, classes, scores in zip(*answer):
                    if readable:
                        print(result_line(row, scores, classes), file=results)
                    else:
                        print(unreadable_line(row), file=results)
                        classes, scores = classes[:0], scores[:0]
                    if file is not None:
                        error = "" if readable else loader.bad[row][1]
                        file.write(images.name(row), classes.tolist(), scores.tolist(), error)
                results.flush()
    finally:
        loader.close()
    seconds = time.perf_counter() - ready
    print(
        f"{len(images)} images in {seconds:.1f} s ({len(images) / seconds:.1f} images/s), start-up "
        f"{ready - start:.1f} s, engine {predictor.engine}, unreadable {len(loader.bad)}",
        file=sys.stderr,
    )


def save(setup: Setup, results: TextIO) -> None:
    """``--save_inference True``: write the model and say by how much it differs from the live network."""
    args = setup.args
    folder = Path(args.inference_dir or args.model)
    if folder.exists():
        raise InputError(f"{folder}: exists already; --inference_dir names a new folder")
    setup.start(models.build)
    from urnet.export import export_inference
    from urnet.threads import compute_threads

    t = setup.transform
    notes = {"model": args.model, "resize": t.eval, "resize_short_size": t.resize_short,
             "mean": t.mean, "std": t.std, "exif": setup.exif, "class_names": setup.class_names}  # fmt: skip
    difference = export_inference(
        setup.normalised, (3, t.size, t.size), folder, notes=notes, threads=compute_threads()
    )
    print(f"model:  {args.model}  is already saved", file=results)
    print(f"{folder}: largest difference from the live network {difference:.3g}", file=results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
