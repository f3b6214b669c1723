"""Serve a folder that tools/export.py wrote over HTTP.

    python tools/serve.py output/demo/exported
    curl -F image=@cat.jpg 'http://127.0.0.1:8000/predict?topk=3'

POST /predict takes images (a form with one or several, one image as the body, or base64 in JSON), GET /health
shows its state, GET / is a page to try it, GET /docs the description. Images that arrive together are computed
together. It has neither TLS nor passwords: anyone who can reach the port may use it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import ipaddress
import logging
import re
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from urnet.config.choices import CPU_PRECISIONS
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.cpus import usable_cores
from urnet.runtime.threads import compute_threads

if TYPE_CHECKING:
    from tools.service.engine import Engine
    from urnet.inference.signature import Signature

NEEDED = ("starlette", "uvicorn", "python_multipart")
USUAL = (("http", ":80"), ("https", ":443"))  # ports that browsers leave out of an origin
CONNECTIONS = 4  # for each image of the queue; more get 503


def missing() -> list[str]:
    """What of the extra `serve` is not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = cli.Parser(prog="tools/serve.py", description=__doc__, formatter_class=raw)
    add, count, amount = parser.add_argument, cli.number(int, 1), cli.number(float, 0, above=True)
    add("folder", nargs="?", metavar="FOLDER", help="the exported folder")
    add("--model", metavar="FOLDER", help="the exported folder, another way to give it")
    add("--host", default="127.0.0.1", help="address to listen on [127.0.0.1: this machine only]")
    add(
        "--port",
        type=cli.number(int, 0),
        default=8000,
        help="port to listen on; 0: any free one, which is printed [8000]",
    )
    add("--batch_size", type=count, default=16, help="images computed at once [16]")
    add("--precision", default="fp32", choices=CPU_PRECISIONS, help="bf16 is faster on CPUs that have it [fp32]")
    add("--threads", type=count, help="threads of the engine [OMP_NUM_THREADS, or all cores]")
    add("--queue", type=count, default=256, help="images that may wait at a time; further ones get status 429 [256]")
    add("--max_body_mb", type=amount, default=20, help="largest body of a request in MB (10^6 bytes) [20]")
    add("--max_images", type=count, default=32, help="most images in a request [32]")
    add("--max_pixels", type=count, default=50_000_000, help="most pixels in an image [50000000]")
    add("--timeout", type=amount, default=10, help="seconds until a request gets status 504 [10]")
    add(
        "--cors",
        metavar="ORIGIN",
        type=origin,
        action="append",
        default=[],
        help="let pages of this origin send requests: https://example.com, say, or * for any; may be repeated [none]",
    )
    add("--debug", action="store_true", help="show a traceback on errors")
    args = parser.parse_args(argv)
    given = [folder for folder in (args.folder, args.model) if folder is not None]
    if len(given) != 1:
        parser.error(f"FOLDER: found {' and '.join(given) or 'none'}; give one folder that tools/export.py wrote")
    args.model = given[0]
    if args.port > 65535:
        parser.error(f"argument --port: found {args.port}; 0 to 65535 is accepted")
    if args.max_images > args.queue:
        parser.error(f"argument --max_images: found {args.max_images}, but --queue is {args.queue}")
    return args


def origin(text: str) -> str:
    """An origin as browsers send it: scheme, host, and the port where it is not the scheme's usual one."""
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^A-Z/?#@,*\s]+?)(:[0-9]+)?", text)
    if text != "*" and not (found and text.isascii() and (found[1], found[3]) not in USUAL):
        wanted = (
            "scheme://host[:port] in small letters, without the usual port, as in https://example.com; or * for any"
        )
        raise argparse.ArgumentTypeError(f"found {text!r}; accepted: {wanted}")
    return text


def main(argv: Sequence[str]) -> int:
    """Check everything, open the model, say where it is served, serve until SIGTERM or Ctrl-C."""
    args = parse(argv)
    if missing():
        raise InputError(f'not installed: {", ".join(missing())}; `pip install -e ".[serve]"` brings them')
    from urnet.inference.signature import PADDLE, read_signature

    signature = read_signature(args.model)
    signature.needs(PADDLE)
    import cv2

    from tools.service.engine import Engine

    cv2.setNumThreads(1)  # in each decoding thread
    logging.getLogger("python_multipart").setLevel(
        logging.CRITICAL
    )  # the client is told; a line per form would be too much
    if "*" in args.cors:
        print("note: --cors *: any web page in a browser that can reach the address may send requests", file=sys.stderr)
    with cli.results_only() as results, listening(args.host, args.port) as listener:
        threads = args.threads or compute_threads()
        with Engine(signature, batch_size=args.batch_size, threads=threads, precision=args.precision) as engine:
            listener.listen(2048)
            url = address(listener)
            print(f"serving {signature.model} at {url}", file=results, flush=True)
            ask = f"curl -F image=@PHOTO.jpg {url}predict"
            print(f"next: open it in a browser, or {ask}; Ctrl-C stops it", file=sys.stderr, flush=True)
            serve(args, signature, engine, listener)
    return cli.DONE


def serve(args: argparse.Namespace, signature: Signature, engine: Engine, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C. If the engine ends, the service finishes what has begun and stops too.

    Raises EngineFailed then (exit code 1), for a supervisor to start it again.
    """
    import uvicorn

    from tools.service.app import Service, make_app
    from tools.service.engine import EngineFailed
    from tools.service.limits import Limits
    from tools.service.protocol import JsonProtocol
    from tools.service.queue import Pipeline

    pipeline = Pipeline(
        lambda data: signature.prepare(data, max_pixels=args.max_pixels),
        engine,
        batch_size=args.batch_size,
        limit=args.queue,
        decoders=usable_cores(),
    )
    service = Service(
        signature,
        pipeline,
        Limits(round(args.max_body_mb * 1e6), args.max_images, args.timeout),
        alive=lambda: not engine.ended(),
        crowded=lambda: len(server.server_state.connections) > CONNECTIONS * args.queue,
    )
    config = uvicorn.Config(
        make_app(service, args.cors),
        http=JsonProtocol,
        ws="none",
        loop="asyncio",
        access_log=False,
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=int(args.timeout) + 5,
    )
    server = uvicorn.Server(config)

    def end_with_the_engine() -> None:
        engine.ended(None)
        server.should_exit = True

    threading.Thread(target=end_with_the_engine, daemon=True).start()
    server.run(sockets=[listener])
    if engine.ended():
        engine.process.join()
        raise EngineFailed(f"the engine's process ended with exit code {engine.process.exitcode}, so the service stops")


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address, which answers when something listens. Raises InputError."""
    with contextlib.ExitStack() as stack:
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"--host {host} --port {port}: cannot listen there ({why})") from None
        if not ipaddress.ip_address(place[0]).is_loopback:
            print(f"note: {place[0]}: other machines can reach it, without TLS or passwords", file=sys.stderr)
        yield listener


def address(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


if __name__ == "__main__":
    sys.exit(cli.run(main))
