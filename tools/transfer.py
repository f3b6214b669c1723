"""Measure how well a network's features suit another task: multi-label classification of PASCAL VOC.

    python tools/transfer.py --pretrained_model output/curriculumnet/d/final --voc VOCdevkit/VOC2007

The network is frozen: its features of the training images train one linear SVM per class, which ranks the test
images. stdout has a line per class and the means: average precision by 11 points (VOC 2007), by the area under
the monotonic curve (VOC since 2010) and exact (scikit-learn's). An image whose only objects of a class are
marked difficult counts neither for nor against it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

import models
from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.core.one_behind import one_behind
from urnet.core.progress import Progress
from urnet.data.lists.image_list import ImageList
from urnet.data.lists.voc import VocSplit, read_voc
from urnet.evaluation.average_precision import KINDS, average_precision
from urnet.evaluation.linear_probe import check_counts, probe, scaled
from urnet.inference.cli_job import PredictionJob
from urnet.runtime.threads import compute_threads

if TYPE_CHECKING:
    from urnet.data.loading.loader import Batch
    from urnet.runtime.device_to_host import Download

COUNTED = {"positive": 1, "negative": -1, "difficult": 0}  # test images of a class
MOST_JOBS = 4  # classes trained at once; liblinear makes 16 bytes of every feature for each
EPILOG = """\
--voc is a folder with Annotations, ImageSets/Main and JPEGImages, as VOC's archives unpack; any data in that
layout will do. Model, classes and the view of an image come from the checkpoint's recipe unless flags set them.

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/transfer.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add(
        "--pretrained_model",
        required=True,
        metavar="PATH",
        help="checkpoint folder, weights file, the 2018 release's folder, or imagenet[:NETWORK] for published weights",
    )
    add("--voc", required=True, metavar="DIR", help="VOCdevkit/VOC2007, or another folder in its layout")
    add("--train", default="trainval", metavar="SPLIT", help="split that the classifiers learn from [trainval]")
    add("--test", default="test", metavar="SPLIT", help="split whose images are ranked [test]")
    add(
        "--c",
        default="0.01,0.1,1,10",
        metavar="C,…",
        help="values of the SVM's C to choose from, for each class [0.01,0.1,1,10]",
    )
    add("--out", metavar="FILE.json", help="also write the figures to this file, replaced if it exists")
    add("--model", metavar="NAME", help="network [from the checkpoint's recipe, or ResNeXt101_32x4d]")
    add("--class_dim", type=int, help="number of classes of the network [from the checkpoint's recipe, or 5000]")
    add("--image_shape", help="3,S,S [from the checkpoint's recipe, or 3,224,224]")
    add("--resize", help="straight | short [from the checkpoint's recipe, or straight]")
    add("--resize_short_size", type=int, metavar="PIXELS", help="length of the short side for --resize short [256]")
    add("--use_gpu", type=cli.boolean_word, default=True, help="True: use a GPU if there is one [True]")
    add("--batch_size", type=int, default=32, help="images computed at once [32]")
    add("--workers", type=int, help="processes that decode; 0: a thread [0 on the CPU, up to 8 with a GPU]")
    add("--max_bad", type=int, default=0, help="leave out up to this many unreadable images of a split [0]")
    add("--debug", action="store_true", help="show a traceback on errors")
    # features have no other engine, and of one view
    p.set_defaults(engine="dygraph", precision="fp32", class_names=None, crops=1, scales=None, flip=False)
    return p


def main(argv: Sequence[str]) -> int:
    """Check everything, compute features, train, rank, print."""
    args = parser().parse_args(argv)
    with cli.results_only() as results:
        cs = read_cs(args.c)
        if args.out is not None and Path(args.out).is_dir():
            raise InputError(f"--out {args.out}: is a folder; a file's path is needed")
        job = PredictionJob(args, models.NAMES)
        models.check_size(args.model, job.transform.size, "--image_shape")
        classes, (train, test) = read_voc(args.voc, [args.train, args.test])
        check_splits(classes, train, test, cs)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(atomic_file(Path(args.out), replace=True)) if args.out else None
            figures = transfer(job, classes, train, test, cs)
            if file is not None:
                write(file, args, figures)
        report(figures, results)
    return cli.DONE


def read_cs(text: str) -> list[float]:
    """The numbers of ``--c``, ascending, each once."""
    try:
        cs = sorted({float(word) for word in text.split(",")})
    except ValueError:
        cs = []
    if not cs or not all(0 < c < float("inf") for c in cs):
        raise InputError(f"--c: found {text!r}; numbers above 0, with commas between, are accepted")
    return cs


def check_splits(classes: Sequence[str], train: VocSplit, test: VocSplit, cs: Sequence[float]) -> None:
    """What would be refused after the features are computed is refused before.

    An image in both splits would be ranked by a classifier that has seen its labels.
    """
    both = sorted(set(train.images.paths) & set(test.images.paths))
    if both:
        raise InputError(f"--train {train.name}, --test {test.name}: {len(both)} images are in both, such as {both[0]}")
    check_counts(train.labels, classes, cs)
    average_precision(test.labels, np.zeros(test.labels.shape), classes, f"--test {test.name}")


def transfer(
    job: PredictionJob, classes: Sequence[str], train: VocSplit, test: VocSplit, cs: Sequence[float]
) -> dict[str, Any]:
    """The figures as plain data; speed on stderr."""
    start = time.perf_counter()
    job.start(models.build)
    features, labels = [], []
    for part in (train, test):
        values, readable = features_of(job, part.images, f"features {part.name}")
        features.append(values)
        labels.append(part.labels[readable])
    ready = time.perf_counter()
    known, ranked = scaled(*features)
    check_counts(labels[0], classes, cs)  # again, as unreadable images are gone
    scores = probe(known, labels[0], ranked, cs, jobs=min(MOST_JOBS, compute_threads()))
    found = average_precision(labels[1], scores.test, classes, f"--test {test.name}")
    seconds = time.perf_counter() - ready
    unfinished = f"; {scores.unfinished} stopped before they converged" if scores.unfinished else ""
    print(f"features {ready - start:.1f} s, classifiers {seconds:.1f} s{unfinished}", file=sys.stderr)
    counts = {kind: (labels[1] == value).sum(axis=0).tolist() for kind, value in COUNTED.items()}
    precisions = {kind: values.tolist() for kind, values in found._asdict().items()}
    columns = {"class": classes, **precisions, "c": scores.c.tolist(), **counts}
    return {
        "classes": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "mean": {kind: float(np.mean(values)) for kind, values in precisions.items()},
        "train_images": len(known),
        "test_images": len(ranked),
        "unreadable": len(train.images) + len(test.images) - len(known) - len(ranked),
        "feature_width": known.shape[1],
        "unfinished": scores.unfinished,
    }


def features_of(job: PredictionJob, images: ImageList, title: str) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, d) of the n readable images in the evaluation's view, and which of all are readable.

    ``job`` is started. Raises InputError for more than ``--max_bad`` unreadable images, and for features that
    are not finite.
    """
    from urnet.evaluation.loop import check_some_readable, checked
    from urnet.inference.program import live_outputs
    from urnet.runtime.device_to_host import Downloads
    from urnet.runtime.process_group import SINGLE_PROCESS

    loader, found, readable, downloads = job.loader(images, SINGLE_PROCESS), [], [], Downloads()

    def begun(batch: Batch) -> tuple[Batch, Download]:
        return batch, downloads(live_outputs(job.normalised, batch.images, output="features")[0])

    with contextlib.closing(loader), Progress(title, len(images)) as shown:
        batches = checked(loader, max_bad=job.args.max_bad, progress=shown)
        for batch, late in one_behind(map(begun, batches)):
            values = late.value()
            finite = np.isfinite(values).all(axis=1)
            if not finite.all():
                path = images.path(int(batch.rows[np.argmin(finite)]))
                raise InputError(f"{path}: the network's features of it are not finite")
            found.append(values[batch.readable])
            readable.append(batch.readable)
    check_some_readable(loader.bad, len(images) - len(loader.bad), f"images of {title}")
    return np.concatenate(found), np.concatenate(readable)


def report(figures: dict[str, Any], stream: TextIO) -> None:
    """A line per class, and the means."""
    for row in figures["classes"]:
        rest = f"c:{row['c']:g} positive:{row['positive']} difficult:{row['difficult']}"
        print(f"{row['class']} {_precisions(row)} {rest}", file=stream)
    read = f"{figures['train_images']} training and {figures['test_images']} test images"
    print(f"{read}, {figures['unreadable']} unreadable, {figures['feature_width']} features", file=stream)
    print(f"mAP {_precisions(figures['mean'])}", file=stream)


def _precisions(values: dict[str, Any]) -> str:
    return " ".join(f"{kind}:{values[kind]:.4f}" for kind in KINDS)


def write(file: Path, args: argparse.Namespace, figures: dict[str, Any]) -> None:
    """The figures and what they were made with, as JSON."""
    made = ("pretrained_model", "model", "image_shape", "resize", "voc", "train", "test", "c")
    tree = {**{name: getattr(args, name) for name in made}, **figures}
    file.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(cli.run(main))
