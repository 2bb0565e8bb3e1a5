"""Bodies with Content-Encoding gzip or deflate, and a bound on what they become."""

from __future__ import annotations

import asyncio
import zlib

from services.model_server.errors import BadRequest, BodyTooLarge, UnsupportedMedia

ENCODINGS = b"gzip, deflate"
# zlib's names for the two wrappers around a deflated stream.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# Up to this size a body is unpacked on the event loop; the rest, in a thread: nobody else waits for it.
_INLINE_BYTES = 1 << 18


async def unpacked(body: bytes, encoding: str | None, limit_bytes: int) -> bytes:
    """Undoes the Content-Encoding of a body.

    Args:
        body: As it came.
        encoding: The header's value; None if there is none.
        limit_bytes: The most that it may unpack to; no more than one byte beyond it is ever made.

    Raises:
        UnsupportedMedia: it is another encoding than gzip and deflate.
        BodyTooLarge: it unpacks to more than the limit.
        BadRequest: it is damaged, cut off, or followed by something else.
    """
    wanted = "identity" if encoding is None else encoding.strip().lower()
    if wanted == "identity":
        return body
    if wanted not in _WINDOWS:
        raise UnsupportedMedia("This call takes bodies without Content-Encoding, or with gzip or deflate.")
    stream = zlib.decompressobj(_WINDOWS[wanted])
    try:
        start = stream.decompress(body, min(_INLINE_BYTES, limit_bytes + 1))
        if stream.eof or len(start) > limit_bytes or (len(start) < _INLINE_BYTES and not stream.unconsumed_tail):
            content = start
        else:
            content = start + await asyncio.to_thread(
                stream.decompress, stream.unconsumed_tail, limit_bytes + 1 - len(start)
            )
    except zlib.error:
        raise BadRequest(f"The body cannot be unpacked: it is not {wanted}, or damaged.") from None
    if len(content) > limit_bytes:
        raise BodyTooLarge(
            f"The body unpacks to more than {limit_bytes} bytes (MODEL_SERVER_MAX_BODY_BYTES); send fewer samples."
        )
    if not stream.eof:
        raise BadRequest(f"The body cannot be unpacked: its {wanted} stream is cut off.")
    if stream.unused_data:
        raise BadRequest(f"The body has something after the end of its {wanted} stream.")
    return content
