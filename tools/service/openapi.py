"""The service's description of itself (openapi.yaml), and the page that shows it without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import yaml

from tools.service.limits import Limits
from tools.service.pages import HERE, Page, make_page


def read_openapi(model: str, n_classes: int, limits: Limits) -> dict[str, Any]:
    """The description, as OpenAPI 3.1, of a service with this model and these limits."""
    # (through JSON: YAML's aliases become one object in several places)
    tree: dict[str, Any] = json.loads(json.dumps(yaml.safe_load((HERE / "openapi.yaml").read_text(encoding="utf-8"))))
    tree["info"]["title"] = model or tree["info"]["title"]
    predict = tree["paths"]["/predict"]["post"]
    predict["parameters"][0]["schema"]["maximum"] = n_classes
    predict["description"] += f" At most {limits.images} images and {limits.body:,} bytes, unpacked, are accepted."
    return tree


def docs_page(tree: Mapping[str, Any]) -> Page:
    """The description as a page; all that comes from it is put in as text."""
    sections = [
        _operation(tree, f"{method.upper()} {path}", operation)
        for path, methods in tree["paths"].items()
        for method, operation in methods.items()
    ]
    info = tree["info"]
    return make_page(
        "docs.html", title=escape(info["title"]), about=escape(info["description"]), operations="\n".join(sections)
    )


def _operation(tree: Mapping[str, Any], name: str, operation: Mapping[str, Any]) -> str:
    parts = ["<section>", _text("h2", name), _text("p", operation["summary"])]
    if "description" in operation:
        parts.append(_text("p", operation["description"]))
    keys = operation.get("parameters", ())
    parts += _table(("query", "means"), [(f"?{key['name']}=", _range(key)) for key in keys])
    bodies = operation.get("requestBody", {}).get("content", {})
    parts += _table(("content type", "holds"), [(kind, body["schema"]["description"]) for kind, body in bodies.items()])
    parts += _examples(bodies)
    answers = {status: _resolved(tree, answer) for status, answer in operation["responses"].items()}
    parts += _table(("status", "when"), [(status, answer["description"]) for status, answer in answers.items()])
    for answer in answers.values():
        parts += _examples(answer["content"])
    return "\n".join([*parts, "</section>"])


def _resolved(tree: Any, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a ``$ref`` stands for."""
    if "$ref" in node:
        for key in node["$ref"].removeprefix("#/").split("/"):
            tree = tree[key]
        return dict(tree)
    return node


def _range(key: Mapping[str, Any]) -> str:
    return f"{key['schema']['minimum']} to {key['schema']['maximum']}: {key['description']}"


def _examples(content: Mapping[str, Any]) -> Iterator[str]:
    for body in content.values():
        if "example" in body:
            yield _text("pre", json.dumps(body["example"], ensure_ascii=False))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        lines = [[_text("th", cell) for cell in head], *([_text("td", cell) for cell in row] for row in rows)]
        yield "<table>" + "".join(f"<tr>{''.join(line)}</tr>" for line in lines) + "</table>"


def _text(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>"
