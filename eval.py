"""Measure a network's accuracy on labelled images: the 2018 release's command, with more options.

    python eval.py --model ResNeXt101_32x4d --pretrained_model ckpt/ResNeXt101_32x4d_Release/ \\
        --class_dim 5000 --img_path data/val/ --img_list data/val_list.txt --use_gpu True

The last line of stdout is the accuracy inside each class, averaged over the classes: top1:0.5340 top5:0.7710.
docs/cli.md explains every flag.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import models
from urnet.core import cli
from urnet.core.checks import check_choice
from urnet.evaluation.class_report import report_lines
from urnet.evaluation.report_files import add_flags, open_report, wants_confusion
from urnet.inference.cli_flags import ReleaseParser, make_parser
from urnet.inference.cli_job import PredictionJob

if TYPE_CHECKING:
    from urnet.evaluation.loop import Evaluation


def parser() -> ReleaseParser:
    """The flags of eval.py."""
    parser = make_parser("eval.py", __doc__ or "", batch_size=32, earlier=["--batch_size"])
    add = parser.add_argument
    add_flags(add)
    add(
        "--empty_classes",
        default="skip",
        metavar="skip|zero",
        help="classes without images: left out of the mean | counted as 0, as in the 2018 release [skip]",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything, then measure and print."""
    args = parser().parse_args(argv)
    with cli.results_only() as results, contextlib.ExitStack() as stack:
        job = PredictionJob(args, models.NAMES)
        models.check_size(args.model, job.transform.size, "--image_shape")
        check_choice("--empty_classes", args.empty_classes, ("skip", "zero"))
        images = job.images(need_labels=True)
        job.find_weights()
        cli.print_arguments(args, results)
        files = stack.enter_context(open_report(args, write=cli.is_main()))
        found = measure(job, images)
        files.write(found.accuracy, found.confusion, job.class_names)
        report(found, args, job.class_names, results)
    return cli.DONE


def measure(job: PredictionJob, images: Any) -> Evaluation:
    """The counters over all images; speed on stderr."""
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
                job.answers(predictor),
                loader,
                images.labels,
                args.class_dim,
                max_bad=args.max_bad,
                progress=display,
                group=group,
                confusion=wants_confusion(args),
            )
    found.averages()  # refuses where no image could be read
    job.print_speed(len(images), ready - start, time.perf_counter() - ready, predictor, found.unreadable)
    return found


def report(found: Evaluation, args: argparse.Namespace, class_names: Sequence[str], results: TextIO) -> None:
    """All averages, the chosen class average on the last line."""
    result, n_classes, empty_classes = found.averages(), args.class_dim, args.empty_classes
    names = {"skip": ("top1", "top5"), "zero": ("top1_all_classes", "top5_all_classes")}
    print(f"images: {result['images']} measured, {result['unreadable']} unreadable", file=results)
    print(f"image-averaged top1:{result['image_top1']:.4f} top5:{result['image_top5']:.4f}", file=results)
    if found.confusion is not None:
        for line in report_lines(found.confusion, class_names):
            print(line, file=results)
    note = found.offset.note(args.img_list or args.img_path, found.accuracy.count)
    if note and cli.is_main():
        print(f"note: {note}", file=sys.stderr)
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
    from urnet.runtime.refusals import told_once

    sys.exit(cli.run(told_once(main)))
