"""A request's body that comes compressed (`Content-Encoding: gzip`), unpacked in small pieces as it comes."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

from tools.service.refused import Refused

PIECE = 1 << 16  # bytes that are unpacked at once: a few kB may stand for gigabytes, and who waits is not held up


def is_packed(encoding: str) -> bool:
    """Whether a Content-Encoding is gzip; raises Refused (415) for all others but none."""
    words = [word for word in (part.strip().lower() for part in encoding.split(",")) if word not in ("", "identity")]
    if words not in ([], ["gzip"], ["x-gzip"]):
        raise Refused(415, f"content encoding: found {encoding[:80]!r}; accepted: gzip", Accept_Encoding="gzip")
    return bool(words)


async def unpacked(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces that the chunks of a gzip file stand for. Raises Refused (400) for what is damaged or cut off."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    async for chunk in chunks:
        while chunk:
            if unpacker.eof:
                raise Refused(400, "body: damaged; bytes follow the end of the gzip file")
            try:
                yield unpacker.decompress(chunk, PIECE)
            except zlib.error as error:
                raise Refused(400, f"body: is not a valid gzip file ({error})") from None
            chunk = unpacker.unconsumed_tail or unpacker.unused_data
            await asyncio.sleep(0)
    if not unpacker.eof:
        raise Refused(400, "body: the gzip file is cut off")
