"""What a search chose for each kind of run, read again for the benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.ablation.methods import KINDS, LADDER, SHORTER, is_set
from tools.ablation.runs import say
from tools.ablation.spaces import Settings, check_settings, text_of
from urnet.core.checks import InputError


def said_settings(settings: Mapping[str, Settings]) -> str:
    """The settings of methods as a list in Markdown; "" without any."""
    return "".join(f"- `{kind}`: {text_of(own)}\n" for kind, own in settings.items())


def read_settings(file: Path | None, kinds: Sequence[str]) -> dict[str, Settings]:
    """What a search chose, by kind of run; {} without a ``file``. ``kinds`` of which it says nothing are noted."""
    if file is None:
        return {}
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--settings: {file} cannot be read ({error}); a search.json is accepted") from None
    found = check_settings(tree, KINDS, f"--settings: {file}")
    rungs = [kind if kind in KINDS else LADDER for kind in kinds]
    missing = [kind for kind in dict.fromkeys(rungs) if kind not in SHORTER and not is_set(kind, found)]
    if missing:
        say(f"note: --settings: {file} has none for {', '.join(missing)}; trained as its recipe says")
    return found
