"""The page's frame: head, navigation, sections. Its policy forbids anything from outside."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from urnet.report.text import NAME, escape

# Should a text ever get past `escape`, the browser still fetches nothing for it but from this disk.
POLICY = (
    "default-src 'none'; base-uri 'none'; img-src data: file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)

FILES = ("style.css", "page.js")  # next to this module


class Section(NamedTuple):
    """``key`` is its address in the page; ``body`` is HTML."""

    key: str
    title: str
    body: str


def page(title: str, head: str, sections: Sequence[Section]) -> str:
    """The whole HTML document."""
    style, script = (resources.files(__package__).joinpath(name).read_text("utf-8") for name in FILES)
    links = "".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in sections)
    bodies = "\n".join(f'<section id="{s.key}"><h2>{escape(s.title)}</h2>{s.body}</section>' for s in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title, NAME)}: report</title><style>\n{style}</style></head>\n"
        f'<body><nav aria-label="Sections"><ul>{links}</ul></nav>\n'
        f'<main><header id="top">{head}</header>\n{bodies}\n</main>'
        f"<script>\n{script}</script></body></html>\n"
    )
