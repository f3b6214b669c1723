"""The two ways in which Unicode writes `é`: names that look the same and are not (macOS writes NFD, others NFC)."""

from __future__ import annotations

import unicodedata


def other_forms(text: str) -> dict[str, str]:
    """What looks the same as ``text`` and is written otherwise, by the name of its form."""
    if text.isascii():
        return {}
    forms = {"NFC": unicodedata.normalize("NFC", text), "NFD": unicodedata.normalize("NFD", text)}
    return {form: other for form, other in forms.items() if other != text}
