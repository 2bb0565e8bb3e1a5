"""Bodies with Content-Encoding gzip or deflate, and a bound on what they become."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from services.model_server.errors import BadRequest, BodyTooLarge, UnsupportedMedia

ENCODINGS = b"gzip, deflate"
# zlib's names for the two wrappers around a deflated stream.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_MAGIC = b"\x1f\x8b"
# A body may be in as many members as have this size on average: bgzip's have 64 KiB, and each costs some time.
_MEMBER_BYTES, _FEWEST_MEMBERS = 1 << 12, 64
_STEP_BYTES = 1 << 10
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
        BadRequest: it is damaged, cut off, followed by something else, or in too many pieces.
    """
    wanted = "identity" if encoding is None else encoding.strip().lower()
    if wanted == "identity":
        return body
    if wanted not in _WINDOWS:
        raise UnsupportedMedia("This call takes bodies without Content-Encoding, or with gzip or deflate.")
    window = _WINDOWS[wanted]
    stream = zlib.decompressobj(window)
    try:
        start = stream.decompress(body, min(_INLINE_BYTES, limit_bytes + 1))
        more = bool(stream.unused_data) if stream.eof else len(start) == _INLINE_BYTES or bool(stream.unconsumed_tail)
        if more and len(start) <= limit_bytes:
            content, ended, rest = await asyncio.to_thread(_go_on, stream, start, window, limit_bytes)
        else:
            content, ended, rest = start, stream.eof, False
    except zlib.error:
        raise BadRequest(f"The body cannot be unpacked: it is not {wanted}, or damaged.") from None
    if len(content) > limit_bytes:
        raise BodyTooLarge(
            f"The body unpacks to more than {limit_bytes} bytes (MODEL_SERVER_MAX_BODY_BYTES); send fewer samples."
        )
    if not ended:
        raise BadRequest(f"The body cannot be unpacked: its {wanted} stream is cut off.")
    if rest:
        raise BadRequest(f"The body has something after the end of its {wanted} stream.")
    return content


def _go_on(stream: Any, start: bytes, window: int, limit_bytes: int) -> tuple[bytes, bool, bool]:
    """Unpacks the rest of a stream, and of gzip the members behind it (RFC 1952, 2.2).

    Args:
        stream: Of which `start` was unpacked.
        start: No longer than the limit.
        window: zlib's name for the wrapper.
        limit_bytes: As for `unpacked`.

    Returns:
        All that was unpacked, one byte beyond the limit at most; whether the last stream ended; and whether what
        follows it is none.

    Raises:
        BadRequest: there are too many members.
        zlib.error: one is damaged.
    """
    parts, room = [start], limit_bytes + 1 - len(start)
    if not stream.eof:
        parts.append(stream.decompress(stream.unconsumed_tail, room))
        room -= len(parts[-1])
    most = max(_FEWEST_MEMBERS, limit_bytes // _MEMBER_BYTES)
    rest, place, members = memoryview(stream.unused_data), 0, 1
    while room and stream.eof and window == _WINDOWS["gzip"] and rest[place : place + 2] == _MAGIC:
        members += 1
        if members > most:
            raise BadRequest(f"The body cannot be unpacked: it has more than {most} members of gzip.")
        stream, step = zlib.decompressobj(window), _STEP_BYTES
        while room and not stream.eof and place < len(rest):
            # In growing steps: what is left of one is copied, and a member may be 20 bytes before 16 MiB of others.
            piece, step = rest[place : place + step], 2 * step
            parts.append(stream.decompress(piece, room))
            room -= len(parts[-1])
            place += len(piece) - len(stream.unused_data) - len(stream.unconsumed_tail)
    return b"".join(parts), stream.eof, place < len(rest)
