"""Pixels out of a PNG or JPEG, already near the size that is wanted. The only file that has Pillow decode something."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.model_server.errors import BadRequest
from services.model_server.images.headers import Head

Edges = NDArray[np.integer[Any]]

# EXIF's numbers, and what brings such a picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# How many pixels are brought to their colours and made fewer at a time: whole pictures would be in memory three times.
_STRIP_PIXELS = 1 << 18


class Raster(NamedTuple):
    """A decoded picture, upright, whose pixels may be means of blocks of the file's.

    Attributes:
        image: Of mode L, LA, RGB or RGBA.
        columns: Where its columns begin, and where the last one ends, in pixels of the file.
        rows: The same of its rows.
    """

    image: Image.Image
    columns: Edges
    rows: Edges


def decode(head: Head, colours: bool, least: int, apart: bool = False) -> Raster:
    """Decodes a picture, and makes it smaller as long as its longer side stays at `least` pixels or more.

    Args:
        head: What `read_head` returned.
        colours: Whether colours are wanted, or grey.
        least: Pixels of the longer side that are wanted, if the picture has them.
        apart: Makes each side smaller by itself, whatever becomes of the proportions.

    Raises:
        BadRequest: it is damaged or cut off.
    """
    try:
        with Image.open(io.BytesIO(head.content), formats=(head.kind.upper(),)) as image:
            scale = 1
            if head.kind == "jpeg":
                across, down = _factors(image.size, least, apart)
                image.draft("RGB" if colours else "L", (max(1, image.width // across), max(1, image.height // down)))
                scale = (
                    round(head.width / image.width) if head.width >= head.height else round(head.height / image.height)
                )
            image.load()
            across, down = _factors(image.size, least, apart)
            return _upright(_reduced(image, colours, across, down), head, scale, across, down)
    except Exception:  # what Pillow raises for a broken file depends on where it broke; none of it is for clients
        raise BadRequest(f"The {head.kind.upper()} is damaged or cut off: its pixels cannot be read.") from None


def _factors(size: tuple[int, int], least: int, apart: bool) -> tuple[int, int]:
    """How many pixels of a row, and how many rows, may become one."""
    if apart:
        return max(1, size[0] // least), max(1, size[1] // least)
    both = max(1, max(size) // least)
    return both, both


def _reduced(image: Image.Image, colours: bool, across: int, down: int) -> Image.Image:
    """Averages whole blocks of pixels, strip by strip."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width // down) * down
    mode, reduced, at = "", None, 0
    for top in range(0, height, rows):
        strip = _plain(image.crop((0, top, width, min(top + rows, height))), colours)
        strip = strip.reduce((min(across, width), min(down, strip.height)))
        if reduced is None:
            mode = strip.mode
            reduced = Image.new(mode, (-(-width // across), -(-height // down)))
        reduced.paste(strip, (0, at))
        at += strip.height
    if reduced is None:
        raise ValueError("a picture without rows")
    return reduced


def _upright(image: Image.Image, head: Head, scale: int, across: int, down: int) -> Raster:
    """Turns a picture, and says where its columns and rows are: the last may be of fewer pixels than the others."""
    columns = np.minimum(np.arange(image.width + 1) * (scale * across), head.width)
    rows = np.minimum(np.arange(image.height + 1) * (scale * down), head.height)
    if head.orientation in _TURNS:
        image = image.transpose(_TURNS[head.orientation])
    match head.orientation:
        case 2:
            columns = _reversed(columns)
        case 3:
            columns, rows = _reversed(columns), _reversed(rows)
        case 4:
            rows = _reversed(rows)
        case 5:
            columns, rows = rows, columns
        case 6:
            columns, rows = _reversed(rows), columns
        case 7:
            columns, rows = _reversed(rows), _reversed(columns)
        case 8:
            columns, rows = rows, _reversed(columns)
    return Raster(image, columns, rows)


def _reversed(edges: Edges) -> Edges:
    turned: Edges = edges[-1] - edges[::-1]
    return turned


def _plain(strip: Image.Image, colours: bool) -> Image.Image:
    """Brings any of Pillow's modes to L, LA, RGB or RGBA."""
    mode, key = strip.mode, strip.info.get("transparency")
    if mode.startswith("I"):  # 16 bits of grey: the upper 8 of them, as Pillow takes those of colours
        values = np.asarray(strip)
        grey = Image.fromarray((values >> 8).astype(np.uint8))
        if isinstance(key, int):
            grey = Image.merge("LA", (grey, Image.fromarray((255 * (values != key)).astype(np.uint8))))
        return grey if not colours else grey.convert("RGB" if grey.mode == "L" else "RGBA")
    clear = key is not None or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if mode == "P" or (clear and mode in ("RGB", "L", "1")):  # a palette, or one colour that counts as clear
        strip = strip.convert("RGBA" if clear else "RGB")
    if colours:
        return strip.convert("RGBA" if clear else "RGB")
    return strip.convert("LA" if clear else "L")
