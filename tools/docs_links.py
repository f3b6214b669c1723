"""A hook of MkDocs: links from docs/ to other files of the repository, which GitHub follows, work as well.

A page may link to ../recipes/folder.yaml or ../README.md. Such files come along, below repository/ on the
site, and so do those that they link to; the links are turned to them. A link to what is not there is left as
it is, and MkDocs warns of it (with --strict: fails).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")  # the file of [text](file#heading); no address has a colon
FENCED = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
ELSEWHERE = "repository/"


def on_files(files: Any, config: Any) -> Any:
    """Add every file that a page links to, and that lies outside docs/."""
    root = Path(config["config_file_path"]).parent
    waiting = [f"docs/{file.src_uri}" for file in files if file.is_documentation_page()]
    while waiting:
        place = waiting.pop()
        for link in _links((root / place).read_text(encoding="utf-8")):
            target = _target(link, place, root)
            if target is not None and files.get_file_from_path(_uri(target)) is None:
                files.append(File.generated(config, _uri(target), abs_src_path=str(root / target)))
                if target.endswith(".md"):
                    waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn a page's links to where the files are on the site."""
    root, uri = Path(config["config_file_path"]).parent, page.file.src_uri
    place = uri[len(ELSEWHERE) :] if uri.startswith(ELSEWHERE) else f"docs/{uri}"

    def turned(match: re.Match) -> str:
        target = _target(match[0], place, root)
        return match[0] if target is None else posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".")

    code = [match.span() for match in FENCED.finditer(markdown)]
    return LINK.sub(lambda match: match[0] if any(a <= match.start() < b for a, b in code) else turned(match), markdown)


def _links(markdown: str) -> Iterator[str]:
    return (match[0] for match in LINK.finditer(FENCED.sub("", markdown)))


def _target(link: str, place: str, root: Path) -> str | None:
    """The linked file, relative to the repository; None where it is none of the repository's files."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
    inside = not target.startswith("../") and not link.startswith("/")
    return target if inside and (root / target).is_file() else None


def _uri(target: str) -> str:
    """Where a file of the repository is on the site."""
    return target[len("docs/") :] if target.startswith("docs/") else ELSEWHERE + target
