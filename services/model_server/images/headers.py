"""The head of a PNG or JPEG file, read before anything is decoded: how large it is, how it is turned, what is in it.

Only what makes up the pixels is kept for the decoder. Texts, colour profiles, thumbnails and further pictures in the
same file are left out: they are where small files unpack to much, and none of them changes what a model sees.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

from services.model_server.errors import BadRequest, BodyTooLarge

Kind = Literal["png", "jpeg"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# More parts than any camera or painting program writes; each costs a little Python.
_MOST_CHUNKS = 1 << 14
_MOST_SEGMENTS = 1 << 10
# Bytes that may fill up the space before a part of a JPEG.
_MOST_FILLING = 16
# A progressive JPEG of ten scans is usual; thousands of them make a small file take minutes.
_MOST_SCANS = 64
_KEPT_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# Bits a value by PNG's colour type: grey, colours, palette, grey with alpha, colours with alpha.
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Frames of JPEG that Pillow decodes: baseline, extended, progressive.
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_ORIENTATION = 0x0112
_OTHERS = (
    (b"GIF8", 0, "a GIF"),
    (b"WEBP", 8, "a WebP"),
    (b"BM", 0, "a BMP"),
    (b"II*\0", 0, "a TIFF"),
    (b"MM\0*", 0, "a TIFF"),
    (b"ftypheic", 4, "a HEIC"),
    (b"ftypheix", 4, "a HEIC"),
    (b"ftypmif1", 4, "a HEIC"),
    (b"ftypavif", 4, "an AVIF"),
    (b"%PDF", 0, "a PDF"),
)


class Head(NamedTuple):
    """What a file says of itself.

    Attributes:
        kind: Of the file.
        width: In pixels, as they lie in the file.
        height: Likewise.
        orientation: EXIF's number, 1 to 8: how the picture is to be turned.
        content: The file again, with nothing in it but what makes up the pixels.
    """

    kind: Kind
    width: int
    height: int
    orientation: int
    content: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture as it is looked at."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)


def kind_of(body: bytes) -> Kind | None:
    """Tells a PNG or JPEG by its first bytes."""
    if body.startswith(_PNG):
        return "png"
    return "jpeg" if body.startswith(_JPEG) else None


def other_kind(body: bytes) -> str | None:
    """Says what a file is that is neither, such as "a GIF"; None if its first bytes do not tell."""
    start = body[:16]
    return next((name for mark, at, name in _OTHERS if start[at:].startswith(mark)), None)


def read_head(body: bytes, kind: Kind, most_pixels: int) -> Head:
    """Reads the head of a file.

    Args:
        body: The file.
        kind: What `kind_of` said.
        most_pixels: The most that the picture may have.

    Raises:
        BadRequest: it is damaged, cut off, animated, or of a kind of PNG or JPEG that is not decoded here.
        BodyTooLarge: it has more pixels.
    """
    head = _read_png(body) if kind == "png" else _read_jpeg(body)
    if head.width * head.height > most_pixels:
        raise BodyTooLarge(
            f"The picture has {head.width} x {head.height} pixels; {most_pixels} may be in one request "
            "(MODEL_SERVER_MAX_PIXELS)."
        )
    return head


# ------------------------------------------------------------------------------------------------------------------ PNG


def _read_png(body: bytes) -> Head:
    view, at, kept, orientation = memoryview(body), len(_PNG), [memoryview(_PNG)], 1
    width = height = 0
    palette = False
    for _ in range(_MOST_CHUNKS):
        if at + 12 > len(body):
            raise BadRequest("The PNG is cut off.")
        length, name = int.from_bytes(body[at : at + 4], "big"), body[at + 4 : at + 8]
        stop = at + 12 + length
        if stop > len(body):
            raise BadRequest("The PNG is cut off.")
        if (name == b"IHDR") != (width == 0):
            raise BadRequest("The PNG is damaged: it must have one head, and begin with it.")
        if name == b"IHDR":
            width, height, palette = _png_size(body[at + 8 : stop - 4])
        elif name == b"acTL":
            raise BadRequest("The PNG is animated; send one picture.")
        elif name == b"eXIf":
            orientation = _orientation(body[at + 8 : stop - 4])
        elif name not in _KEPT_CHUNKS and not name[0] & 0x20:  # a capital: the pixels cannot be had without it
            raise BadRequest("The PNG has a part that no decoder here knows, and that its pixels depend on.")
        if name in _KEPT_CHUNKS:
            kept.append(view[at:stop])
        if name == b"IEND":
            if palette and not any(bytes(part[4:8]) == b"PLTE" for part in kept):
                raise BadRequest("The PNG is damaged: it has no palette, and its pixels are of one.")
            return Head("png", width, height, orientation, b"".join(kept))
        at = stop
    raise BadRequest(f"The PNG has more than {_MOST_CHUNKS} parts.")


def _png_size(head: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether the pixels are places in a palette."""
    if len(head) != 13:
        raise BadRequest("The PNG is damaged: its head has another length than a PNG's.")
    width, height, depth, colours, packing, filtering, lacing = struct.unpack(">IIBBBBB", head)
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise BadRequest("The PNG is damaged: it says that it has no pixels.")
    if depth not in _DEPTHS.get(colours, ()) or packing or filtering or lacing > 1:
        raise BadRequest("The PNG is damaged: its head says what no PNG can be.")
    return width, height, colours == 3


# ----------------------------------------------------------------------------------------------------------------- JPEG


def _read_jpeg(body: bytes) -> Head:
    view, at, kept, orientation = memoryview(body), 2, [memoryview(b"\xff\xd8")], 1
    width = height = 0
    for _ in range(_MOST_SEGMENTS):
        for _ in range(_MOST_FILLING):
            if body[at : at + 2] != b"\xff\xff":
                break
            at += 1
        marker, length = body[at + 1 : at + 2], int.from_bytes(body[at + 2 : at + 4], "big")
        stop = at + 2 + length
        if len(body) < at + 4 or stop > len(body):
            raise BadRequest("The JPEG is cut off.")
        if body[at] != 0xFF or length < 2:
            raise BadRequest("The JPEG is damaged.")
        number, content = marker[0], body[at + 4 : stop]
        if number in _FRAMES:
            if width:
                raise BadRequest("The JPEG is damaged: it has two heads.")
            width, height = _jpeg_size(content)
        elif number in _OTHER_FRAMES:
            raise BadRequest("The JPEG is lossless, hierarchical or arithmetically coded; send a usual one, or a PNG.")
        elif number == 0xD9 or 0xD0 <= number <= 0xD8 or number <= 0x01:
            raise BadRequest("The JPEG is damaged.")
        if number == 0xE1 and content.startswith(b"Exif\0\0"):
            orientation = _orientation(content[6:])
        if number == 0xDA:
            if not width:
                raise BadRequest("The JPEG is damaged: it has no head.")
            if body.count(b"\xff\xda", at) > _MOST_SCANS:
                raise BadRequest(f"The JPEG has more than {_MOST_SCANS} scans.")
            kept.append(view[at:])
            return Head("jpeg", width, height, orientation, b"".join(kept))
        if (
            not 0xE0 <= number <= 0xFE
            or (number == 0xE0 and content.startswith(b"JFIF\0"))
            or (number == 0xEE and content.startswith(b"Adobe"))
        ):  # the last two say what its colours mean
            kept.append(view[at:stop])
        at = stop
    raise BadRequest(f"The JPEG has more than {_MOST_SEGMENTS} parts before its pixels.")


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    if len(frame) < 6:
        raise BadRequest("The JPEG is damaged.")
    precision, height, width, components = struct.unpack(">BHHB", frame[:6])
    if precision != 8:
        raise BadRequest(f"The JPEG has {precision} bits a value; send one of 8 bits, or a PNG.")
    if not width or not height or components not in (1, 3, 4):
        raise BadRequest("The JPEG is damaged: its head says what no picture is.")
    return width, height


def _orientation(exif: bytes) -> int:
    """Finds how a picture is turned in its EXIF data; 1, upright, if that cannot be told."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == _ORIENTATION:
            number = int.from_bytes(exif[at + 8 : at + 10], order)
            return number if 1 <= number <= 8 else 1
    return 1
