"""Measure a network's accuracy on labelled images: the 2018 release's command, and more.

    python eval.py --model ResNeXt101_32x4d --pretrained_model ckpt/ResNeXt101_32x4d_Release/ \\
        --class_dim 5000 --img_path data/val/ --img_list data/val_list.txt --use_gpu True

The last line of stdout is the mean over classes of the accuracy inside each class: top1:0.5340 top5:0.7710.
docs/cli.md explains every flag.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import models
from urnet.core import cli
from urnet.core.checks import check_choice
from urnet.evaluation.accuracy import ClassAccuracy, write_class_table
from urnet.evaluation.prediction_writer import open_text
from urnet.inference.cli_flags import ReleaseParser, make_parser
from urnet.inference.cli_job import PredictionJob


def parser() -> ReleaseParser:
    """The flags of eval.py."""
    parser = make_parser("eval.py", __doc__ or "", batch_size=32, earlier=["--batch_size"])
    add = parser.add_argument
    add("--per_class", metavar="FILE", help="write images, top1 and top5 of every class there, as CSV")
    add(
        "--empty_classes",
        default="skip",
        metavar="skip|zero",
        help="empty classes: left out of the mean | counted 0, as in the 2018 release [skip]",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything, then measure and print."""
    args = parser().parse_args(argv)
    with cli.results_only() as results, contextlib.ExitStack() as stack:
        job = PredictionJob(args, models.NAMES)
        models.check_size(args.model, job.transform.size, "--image_shape")
        check_choice("--empty_classes", args.empty_classes, ("skip", "zero"))
        cli.print_arguments(args, results)
        images = job.images(need_labels=True)
        table = None
        if args.per_class is not None and cli.is_main():
            table = stack.enter_context(open_text(Path(args.per_class), "--per_class"))
        accuracy, result = measure(job, images)
        if table is not None:
            write_class_table(table, accuracy, job.class_names)
        report(result, args.class_dim, args.empty_classes, results)
    return cli.DONE


def measure(job: PredictionJob, images: Any) -> tuple[ClassAccuracy, dict]:
    """The counters over all images, and their averages; speed on stderr."""
    start = time.perf_counter()
    job.start(models.build)
    from urnet.core.progress import Progress
    from urnet.evaluation.loop import evaluate

    with job.processes() as group:
        predictor, loader = job.predictor(len(images)), job.loader(images, group)
        args, ready = job.args, time.perf_counter()
        display = Progress("eval", -(-len(images) // group.size), show=group.is_main)
        with contextlib.closing(loader), display:
            found = evaluate(
                job.probabilities(predictor),
                loader,
                images.labels,
                args.class_dim,
                max_bad=args.max_bad,
                progress=display,
                group=group,
            )
    result = found.averages()
    job.print_speed(len(images), ready - start, time.perf_counter() - ready, predictor, found.unreadable)
    return found.accuracy, result


def report(result: dict, n_classes: int, empty_classes: str, results: TextIO) -> None:
    """All averages, the chosen class average on the last line."""
    names = {"skip": ("top1", "top5"), "zero": ("top1_all_classes", "top5_all_classes")}
    print(f"images: {result['images']} measured, {result['unreadable']} unreadable", file=results)
    print(f"image-averaged top1:{result['image_top1']:.4f} top5:{result['image_top5']:.4f}", file=results)
    empty = n_classes - int(result["classes"])
    if empty:
        other = "zero" if empty_classes == "skip" else "skip"
        text = {"skip": "left out", "zero": "counted 0"}
        top1, top5 = (result[name] for name in names[other])
        print(
            f"{empty} of {n_classes} classes have no image and are {text[empty_classes]}; "
            f"were they {text[other]}: top1:{top1:.4f} top5:{top5:.4f}",
            file=results,
        )
    top1, top5 = (result[name] for name in names[empty_classes])
    print(f"top1:{top1:.4f} top5:{top5:.4f}", file=results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
