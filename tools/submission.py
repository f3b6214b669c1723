"""The WebVision challenge's submission file from predictions, and the check of one made elsewhere.

    python tools/submission.py --predictions test.arrow --out submission.txt --test_list data/test_list.txt
    python tools/submission.py --check submission.txt --test_list data/test_list.txt --class_dim 5000

docs/testtime.md says more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from urnet.core import cli
from urnet.core.checks import InputError
from urnet.evaluation.prediction_reader import CLASSES, number_of_classes, read_predictions
from urnet.evaluation.submission import check_submission, read_test_list, write_submission

EPILOG = """\
Each line is `name c1 c2 c3 c4 c5`: five different classes, best first. With --test_list every image in the list
has one line, in the list's order. If anything is wrong, the first fault is named and nothing is written.

examples:
  python infer.py ... --img_path data/test/ --img_list data/test_list.txt --topk 5 --output test.arrow
  python tools/submission.py --predictions test.arrow --out submission.txt --test_list data/test_list.txt
  python tools/submission.py --check submission.txt --test_list data/test_list.txt --class_dim 5000

exit codes: 0 done, 1 failed while running, 2 bad usage, bad input or a submission with a fault
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/submission.py",
        description="Write or check a submission to the WebVision challenge.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add(
        "--predictions",
        metavar="FILE",
        help="prediction file of infer.py --output or tools/ensemble.py with 5 classes or more",
    )
    add("--out", metavar="FILE", help="file for the submission, replaced if it exists")
    add("--test_list", metavar="LIST", help="list of all test images' names, one per line")
    add("--check", metavar="FILE", help="check this submission instead of writing one")
    add("--root", default="", metavar="DIR", help="leading folder to ignore when paths are compared")
    add("--class_dim", type=int, metavar="N", help="number of classes [from an .arrow file, or 5000]")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Write or check; a line says what was done."""
    args = parser().parse_args(argv)
    if args.class_dim is not None and args.class_dim < 5:
        raise InputError(f"--class_dim: found {args.class_dim}; 5 or more is accepted, as each line has five classes")
    writes = args.predictions is not None and args.out is not None
    if (args.check is None) != writes or (args.check and (args.predictions or args.out)):
        raise InputError("give either --predictions FILE and --out FILE, or --check FILE")
    if args.check and args.test_list is None:
        raise InputError("--check needs --test_list LIST with the names of all test images")

    if args.check and args.root:
        raise InputError("--root needs --predictions; a submission has the test list's names as they are")
    wanted = read_test_list(args.test_list) if args.test_list else None
    if args.check and wanted is not None:
        lines = check_submission(args.check, wanted, args.test_list, args.class_dim or CLASSES)
        print(f"{args.check}: {lines} lines, each as it should be")
        return
    n_classes = number_of_classes([args.predictions], args.class_dim) or CLASSES
    blocks = read_predictions(args.predictions, n_classes)
    lines = write_submission(blocks, args.out, wanted, args.test_list or "", args.root)
    against = f", all of {args.test_list}" if args.test_list else "; not compared with a test list (--test_list)"
    print(f"{args.out}: {lines} lines{against}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
