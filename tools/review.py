"""A page on this machine to look at suspects and decide, one key per picture; every decision is kept at once.

    python tools/review.py suspects.csv

The list is what tools/suspects.py wrote. Decisions go to decisions.csv in the same folder, which tools/suspects.py
and train.py read. docs/review.md shows the page and its keys.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import shlex
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.serve import address, listening
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.counted import plural, verb

EPILOG = """\
examples:
  python tools/review.py suspects.csv
  python tools/review.py suspects.csv --root photos/train --val photos/val

exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 failed while running, 2 bad usage or bad input
"""
NEEDED = ("starlette", "uvicorn")
HELD_BACK = {"data.val_split": 0.1}  # of the suggested training, where no validation pictures are known
PORT, FURTHER = 8765, 20  # the port, and how many behind it are tried where it is taken


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/review.py",
        description="Look at suspects on a page and decide, one key per picture.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("list", metavar="LIST", help="the list, suspects.csv or next.csv")
    add(
        "--root",
        metavar="DIR",
        help="the folder that its paths are relative to [looked for next to and below the list]",
    )
    add("--val", metavar="DIR", help="the folder of validation pictures, for leaks [looked for in the same way]")
    add(
        "--also",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder that symbolic links may lead to; may be repeated",
    )
    add(
        "--decisions",
        metavar="FILE",
        help="file of the decisions; an existing one is continued [decisions.csv next to LIST]",
    )
    add(
        "--class_names",
        metavar="FILE",
        help="file of further classes to choose from, one per line [the root's sub-folders]",
    )
    add(
        "--exif",
        default="honour",
        choices=("honour", "ignore"),
        help="whether to turn pictures as their EXIF entry says [honour]",
    )
    add("--host", default="127.0.0.1", help="address to listen on [127.0.0.1: this machine only]")
    add("--port", type=cli.number(int, 0), help=f"port to listen on; 0: any free one [{PORT}, or the next free one]")
    add("--open", action="store_true", help="also open the page in this machine's browser")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> int:
    """Read everything, say where the page is, and serve it until Ctrl-C or SIGTERM."""
    args = parser().parse_args(argv)
    if args.port is not None and args.port > 65535:
        raise InputError(f"--port: found {args.port}; 0 to 65535 is accepted")
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise InputError(f'not installed: {", ".join(lacking)}; `pip install -e ".[serve]"` brings them')
    import cv2

    from urnet.data.decisions import DecisionsFile
    from urnet.review.app import make_app
    from urnet.review.guard import new_token
    from urnet.review.opened import opened
    from urnet.review.pictures import Pictures
    from urnet.review.state import Review

    cv2.setNumThreads(1)  # pictures are decoded by several threads
    photos, evidence = opened(args.list, root=args.root, val=args.val, class_names=args.class_names)
    file = Path(args.decisions) if args.decisions else Path(args.list).with_name("decisions.csv")
    with cli.results_only() as results, DecisionsFile(file) as decisions, _listening(args) as listener:
        review = Review(photos, evidence, Pictures(photos, args.also, exif=args.exif), decisions)
        _say(args, photos, review, decisions)
        threading.Thread(target=_check_files, args=(review, file), daemon=True).start()
        token = new_token()
        page = f"{address(listener)}{token}/"
        app = make_app(review, Path(args.list).name, token, [args.host])
        listener.listen(128)
        print(f"review {page}", file=results, flush=True)
        print("press Ctrl-C to stop; every decision is already kept", file=sys.stderr)
        if args.open:
            import webbrowser

            webbrowser.open(page)
        with contextlib.suppress(KeyboardInterrupt, cli.Terminated):
            _serve(app, listener)
        skipped = sum(decision.decision == "skip" for decision in decisions.decisions.values())
        n = len(decisions.decisions) - skipped
        more = f", {skipped:,} more skipped" if skipped else ""
        print(f"{decisions.path}: {plural(n, 'picture')} {verb(n)} decided{more}", file=sys.stderr)
        if n:
            print(f"next: {_train(photos, decisions.path, Path(args.list))}", file=sys.stderr)
    return cli.DONE


def _train(photos: Any, decisions: Path, file: Path) -> str:
    """The command that trains with the decisions; of a list that is not a folder of classes the recipe is not known."""
    kept = [place for place in (file.with_suffix(".features"), file.with_name("suspects.features")) if place.is_file()]
    some = np.arange(min(len(photos.labels), 100))
    names = [photos.class_names[label] for label in photos.labels[some].tolist()]
    keys: dict[str, Any] = {"data.decisions": decisions}
    recipe = "RECIPE"
    if all(path.startswith(f"{name}/") for path, name in zip(photos.paths_of(some), names, strict=True)):
        held = {"data.val_root": photos.val_root} if str(photos.val_root) else {"data.val_root": "null", **HELD_BACK}
        keys = {"data.root": photos.root, **held, **keys}
        keys["data.features"] = kept[0] if kept else ""
        recipe = "recipes/folder.yaml"
    flags = [word for key, place in keys.items() if str(place) for word in ("-o", f"{key}={place}")]
    return shlex.join(["python", "train.py", "-c", recipe, *flags])


def _say(args: argparse.Namespace, photos: Any, review: Any, decisions: Any) -> None:
    n = len(photos.labels)
    print(f"{args.list}: {plural(n, 'picture')} of {photos.root}; decisions: {decisions.path}", file=sys.stderr)
    if decisions.decisions:
        kept = len(decisions.decisions)
        others = (
            f", {review.others} of pictures that are not in this list; these stay as they are" if review.others else ""
        )
        print(f"note: {kept} {verb(kept)} decided already{others}", file=sys.stderr)
    for name in review.names[len(photos.class_names) :]:
        print(f"note: {decisions.path}: {name!r} is decided, but it is not one of the list's classes", file=sys.stderr)


def _check_files(review: Any, file: Path) -> None:
    changed = review.check_files()
    if changed:
        n = plural(len(changed), "decided picture has", "decided pictures have")
        print(f"note: {file}: {n} changed since, and will be asked about again: {changed[0]!r}", file=sys.stderr)


@contextlib.contextmanager
def _listening(args: argparse.Namespace) -> Iterator[socket.socket]:
    """A socket on --port; without it on the first free one from ``PORT`` on."""
    if args.port is not None:
        with listening(args.host, args.port) as listener:
            yield listener
        return
    with contextlib.ExitStack() as stack:
        for port in range(PORT, PORT + FURTHER):
            try:
                listener = stack.enter_context(listening(args.host, port))
            except InputError:
                if port == PORT + FURTHER - 1:
                    raise
                continue
            if port != PORT:
                print(f"note: port {PORT} is in use; using {port} instead", file=sys.stderr)
            break
        yield listener


def _serve(app: Any, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app, ws="none", loop="asyncio", access_log=False, log_level="error", server_header=False,
        timeout_graceful_shutdown=3,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(cli.run(main))
