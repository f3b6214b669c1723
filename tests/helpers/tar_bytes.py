"""Tar archives of plain files, made in memory."""

from __future__ import annotations

import io
import tarfile


def tar_bytes(members: dict[str, bytes], folder: str = "") -> bytes:
    """An archive of ``members``, contents by name, all below ``folder`` (which ends with a slash)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()
