"""WebVision's metadata: one JSON list a query, its entries in the order of the search results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from urnet.core.checks import InputError


class Metadata(NamedTuple):
    """One query's entries in rank order: identifiers and texts, as Arrow strings."""

    ids: Any
    texts: Any


def read_metadata(path: Path) -> Metadata:
    """Parse one query's JSON list. A text is title, description and tags, one per line, empty ones left out.

    Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes U+FFFD. Raises InputError.
    """
    try:
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or brackets a thousand deep
        raise InputError(f"{path}: is not valid JSON ({error})") from None
    if not isinstance(entries, list):
        raise InputError(f"{path}: found {type(entries).__name__}; a list of entries is accepted")
    ids, texts = [], []
    for i, entry in enumerate(entries):
        try:
            ids.append(str(entry["id"]))
            texts.append(_text(entry))
        except (TypeError, KeyError, AttributeError):
            raise InputError(
                f"{path}: entry {i + 1}: found {json.dumps(entry)[:80]}; accepted: an object with id, and "
                "text in title, description and tags"
            ) from None
    return Metadata(_strings(ids), _strings(texts))


def _text(entry: dict) -> str:
    tags = entry.get("tags")
    if isinstance(tags, list):  # WebVision 1.0; a string in 2.0
        tags = " ".join(tags)
    return "\n".join(filter(None, (entry.get("title"), entry.get("description"), tags)))


def _strings(values: list[str]) -> Any:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        whole = [value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for value in values]
        return pa.array(whole, pa.string())
