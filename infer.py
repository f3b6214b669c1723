"""Predict the classes of images with a trained network: the 2018 release's command, with more options.

    python infer.py --model ResNeXt101_32x4d --pretrained_model ckpt/ResNeXt101_32x4d_Release/ \\
        --class_dim 5000 --img_path data/val/ --img_list data/val_list.txt --use_gpu True
    python infer.py --num_layers=50 --batch_size=8 --model=DIR --test_list=FILE

It prints the arguments and one line per image to stdout. docs/cli.md explains every flag.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import models
from urnet.config import se_resnext_flags
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.counted import plural, verb
from urnet.evaluation.prediction_writer import PredictionFile, open_predictions, result_line, unreadable_line
from urnet.inference.cli_flags import RELEASE_DEFAULTS, ReleaseParser, make_parser
from urnet.inference.cli_job import PredictionJob

FITS = 0.5  # in_classes below it: probably none of the classes


def parser() -> ReleaseParser:
    """The flags of infer.py."""
    parser = make_parser("infer.py", __doc__ or "", batch_size=16, earlier=["--save_inference", "--topk", "--engine"])
    parser.epilog = f"networks for --model:\n{models.listed()}"
    add = parser.add_argument
    add(
        "--save_inference",
        type=cli.boolean_word,
        default=False,
        metavar="True|False",
        help="True: write a Paddle inference model, check it, and stop [False]",
    )
    add("--inference_dir", metavar="DIR", help="new folder that --save_inference writes to [the model's name]")
    add("--topk", type=int, default=1, help="number of classes per image, best first [1]")
    add("--output", metavar="FILE", help="also write the predictions to this .csv, .jsonl or .arrow file")
    add(
        "--excel",
        action="store_true",
        help="start the file of --output with a byte order mark, which Excel needs to read UTF-8",
    )
    se_resnext_flags.add_prediction_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything, then predict and print; the file of ``--output`` appears when all is done."""
    args = parser().parse_args(argv)
    with cli.results_only() as results:
        defaults = {**RELEASE_DEFAULTS, **se_resnext_flags.translate_prediction(args)}
        job = PredictionJob(args, models.NAMES, defaults)
        models.check_size(args.model, job.transform.size, "--image_shape")
        if not 1 <= args.topk <= args.class_dim:
            raise InputError(f"--topk: found {args.topk}; 1..{args.class_dim} is accepted")
        images = None if args.save_inference else job.images(need_labels=False)
        job.find_weights()
        cli.print_arguments(args, results)
        if args.save_inference:
            save(job, results)
            return cli.DONE
        where = (args.output, args.excel) if cli.is_main() else (None, False)
        known = {"n_classes": args.class_dim, "in_classes": job.reference is not None}
        with open_predictions(where[0], job.class_names, excel=where[1], **known) as file:
            if job.class_names and file is None and cli.is_main():
                which = f"{job.info.word}'s" if job.info.word else "the"
                said = f"note: stdout gives the numbers of {which} classes; --output FILE.csv also gives their names"
                print(said, file=sys.stderr)
            predict(job, images, results, file)
    return cli.DONE


def predict(job: PredictionJob, images: Any, results: TextIO, file: PredictionFile | None) -> None:
    """Start network and engine, predict all images, say on stderr how long both took."""
    start = time.perf_counter()
    job.start(models.build)
    with job.processes() as group:
        predictor = job.predictor(len(images))
        ready = time.perf_counter()
        unreadable = predict_images(job, predictor, images, results, file, group)
    job.print_speed(len(images), ready - start, time.perf_counter() - ready, predictor, unreadable)


def predict_images(
    job: PredictionJob, predictor: Any, images: Any, results: TextIO, file: PredictionFile | None, group: Any
) -> int:
    """A line per image on ``results`` and a row in ``file``; returns the number of unreadable images."""
    from urnet.core.progress import Progress
    from urnet.evaluation.loop import check_some_readable, ranked
    from urnet.inference.gather import gather_in_order

    args, loader = job.args, job.loader(images, group)
    bad: Mapping[int, tuple[str, str]] = {}  # row -> path and reason
    strangers: list[int] = []  # rows that fit none of the classes
    display = Progress("infer", -(-len(images) // group.size), show=group.is_main)
    with contextlib.closing(loader), display:
        own = ranked(job.answers(predictor), loader, args.topk, max_bad=args.max_bad, progress=display)
        n_batches = -(-len(images) // job.images_a_batch)
        for batch, bad in gather_in_order(own, loader, group, n_batches, args.max_bad):
            fits = [None] * len(batch.rows) if batch.in_classes is None else batch.in_classes.tolist()
            for row, readable, classes, scores, fit in zip(*batch[:4], fits, strict=True):
                if readable:
                    error = ""
                    print(result_line(row, scores, classes), file=results)
                    if fit is not None and fit < FITS:
                        strangers.append(row)
                else:
                    error, classes, scores = bad[row][1], classes[:0], scores[:0]
                    print(unreadable_line(row), file=results)
                if file is not None:
                    file.write(images.name(row), classes.tolist(), scores.tolist(), error, fit)
            results.flush()
    check_some_readable(bad, len(images) - len(bad))
    if job.reference is not None and group.is_main:
        say_what_fits(strangers, images, len(images) - len(bad), file is not None)
    return len(bad)


def say_what_fits(strangers: Sequence[int], images: Any, n: int, written: bool) -> None:
    """On stderr how many of ``n`` readable images fit none of the classes, and which is the first."""
    where = "column in_classes of --output" if written else "--output FILE.csv has the column in_classes"
    first = f", the first: {images.name(strangers[0])}" if strangers else ""
    said = (
        f"{len(strangers)} of {plural(n, 'image')} probably {verb(len(strangers), 'fits', 'fit')} none of the classes"
    )
    print(f"{said} (in_classes below {FITS}; {where}){first}", file=sys.stderr)


def save(job: PredictionJob, results: TextIO) -> None:
    """``--save_inference True``: write the model and say by how much it differs from the live network."""
    args = job.args
    if job.views is not None:
        raise InputError("--crops, --scales, --flip: a saved model computes one view; give none of them")
    folder = Path(args.inference_dir or args.model)
    if folder.exists():
        raise InputError(f"{folder}: exists already; --inference_dir names a new folder")
    job.start(models.build)
    from urnet.inference.program import export_inference
    from urnet.runtime.threads import compute_threads

    size = job.transform.size
    difference = export_inference(job.normalised, (3, size, size), folder, notes=job.notes(), threads=compute_threads())
    print(f"model:  {args.model}  is already saved", file=results)
    print(f"{folder}: largest difference from the live network {difference:.3g}", file=results)


if __name__ == "__main__":
    from urnet.runtime.refusals import told_once

    sys.exit(cli.run(told_once(main)))
