"""One file out of the network, whole or not at all, and checked before it gets its name."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from urnet.core.atomic_files import DISK_FAULTS, atomic_file, file_hash, missing_above, remove_empty
from urnet.core.checks import InputError
from urnet.core.progress import Progress

BLOCK = 1 << 18
MEGABYTE = 1_000_000


def fetch(
    url: str, target: Path, digest: tuple[str, str], *, remedy: str, seconds: float = 30.0, block: int = BLOCK
) -> Path:
    """Download ``url`` to ``target``, which is returned; a file there whose digest is right is taken as it is.

    ``digest``: an algorithm's name in ``hashlib``, and what the file's digest must be. Of several processes one
    downloads and the others wait for it. After ``seconds`` without a byte the transfer counts as broken. Progress is
    shown on stderr. Raises InputError, one line that ends with ``remedy``, where there is no network, no such file,
    where the transfer breaks, another file comes, or it cannot be written; nothing is left behind then.
    """
    missing = missing_above(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(target.parent):
            if not (target.is_file() and file_hash(target, algorithm=digest[0]) == digest[1]):
                with atomic_file(target, replace=True) as part:
                    _download(url, part, digest, seconds, block)
    except _Refused as error:
        remove_empty(missing)
        raise InputError(f"{url}: {error}; {remedy}") from None
    except InputError as error:
        remove_empty(missing)
        raise InputError(f"{error}; {remedy}") from None
    except OSError as error:
        remove_empty(missing)
        raise InputError(f"{target}: cannot be written ({error.strerror or error}); {remedy}") from None
    except BaseException:
        remove_empty(missing)
        raise
    return target


class _Refused(Exception):
    """Why nothing came of a download, in words."""


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against other processes that download; where its file system has no locks, nothing is held:
    each then writes under a name of its own, and the last one's file stays."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _download(url: str, part: Path, digest: tuple[str, str], seconds: float, block: int) -> None:
    """The bytes of ``url`` into ``part``. Raises _Refused for what the network does, OSError for what the disk does."""
    algorithm, right = digest
    found = hashlib.new(algorithm, usedforsecurity=False)
    with _network_faults(), contextlib.closing(_opened(url, seconds)) as answer:
        total, count = _length(answer), 0
        size = None if total is None else -(-total // MEGABYTE)
        with part.open("wb") as stream, Progress(f"downloading {target_name(url)}", size, "MB") as progress:
            while chunk := answer.read(block):
                stream.write(chunk)
                found.update(chunk)
                progress.update((count + len(chunk)) // MEGABYTE - count // MEGABYTE)
                count += len(chunk)
    if total is not None and count != total:
        raise _Refused(f"the transfer broke off after {count} of {total} bytes; try again")
    if found.hexdigest() != right:
        name = algorithm.upper()
        raise _Refused(f"sent a file of {count} bytes whose {name} is {found.hexdigest()}, not {right}; try again")


def target_name(url: str) -> str:
    """The name of the file at an address."""
    return url.rpartition("/")[2]


def _opened(url: str, seconds: float) -> Any:
    answer = urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": "urnet"}), timeout=seconds)
    kind = answer.headers.get_content_type()
    if kind in ("text/html", "application/xhtml+xml"):
        answer.close()
        raise _Refused("returns an HTML page instead of the file (perhaps from a proxy or a login portal)")
    return answer


def _length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


@contextlib.contextmanager
def _network_faults() -> Iterator[None]:
    """OSErrors of the network as _Refused; those of the disk as they were."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise _Refused(f"the server returns {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Refused(f"cannot be reached ({_reason(error.reason)})") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise
        raise _Refused(f"the transfer broke off ({_reason(error)}); try again") from None


def _reason(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:120]
