"""CIFAR's published files and CIFAR-10N's labels, as bytes: pickles as Python 2 wrote them, made without it."""

from __future__ import annotations

import struct

import numpy as np


def text(value: str | bytes) -> bytes:
    """A text of Python 2 of at most 255 bytes, or a longer one."""
    data = value.encode("latin1") if isinstance(value, str) else value
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data


def number(value: int) -> bytes:
    """A whole number."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"M" + struct.pack("<H", value) if 0 <= value < 1 << 16 else b"J" + struct.pack("<i", value)


def array(values: np.ndarray) -> bytes:
    """An array of bytes of two dimensions, as NumPy of Python 2 pickled it."""
    rows, columns = values.shape
    kind = (
        b"cnumpy\ndtype\n"
        + text("u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    return (
        empty + b"(K\x01" + number(rows) + number(columns) + b"\x86" + kind + b"\x89" + text(values.tobytes()) + b"tb"
    )


def pickled(entries: dict[str, bytes]) -> bytes:
    """A dict of texts to what is pickled already."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u."


def items(values: list[bytes]) -> bytes:
    """A list of what is pickled already."""
    return b"](" + b"".join(values) + b"e"


def python_batch(images: np.ndarray, labels: np.ndarray, key: str = "labels") -> bytes:
    """One file of the python version: ``images`` uint8 (n, 32, 32, 3) RGB."""
    values = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    names = items([text(f"picture_s_{i:06d}.png") for i in range(len(images))])
    entries = {"batch_label": text("training batch 1 of 5"), key: items([number(int(i)) for i in labels])}
    return pickled({**entries, "data": array(values), "filenames": names})


def binary_batch(images: np.ndarray, labels: np.ndarray) -> bytes:
    """One file of the binary version."""
    values = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels.astype(np.uint8)[:, None], values], axis=1).tobytes()
