"""Pictures for tests: files as painting programs and cameras write them, and files as nobody should."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from services.model_server.package import Contract, Golden

PNG = b"\x89PNG\r\n\x1a\n"


def png(pixels: Any, mode: str | None = None, **options: Any) -> bytes:
    """An array of uint8 as PNG, in one of Pillow's modes."""
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    file = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(file, "PNG", **options)
    return file.getvalue()


def jpeg(pixels: Any, mode: str | None = None, **options: Any) -> bytes:
    """An array of uint8 as JPEG."""
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    file = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(file, "JPEG", **({"quality": 95} | options))
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """One part of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(width: int, height: int, *chunks: bytes, colours: int = 0, depth: int = 8, rows: int | None = None) -> bytes:
    """A PNG whose head says what it likes, over black pixels, with `chunks` before them."""
    each = 1 + (width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours] * depth + 7) // 8
    stream = zlib.compressobj(9)
    packed = b"".join(stream.compress(bytes(each)) for _ in range(height if rows is None else rows)) + stream.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    return PNG + head + b"".join(chunks) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def exif(orientation: int, order: str = "<") -> bytes:
    """EXIF data that says how a picture is turned."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def contract_of(
    shape: tuple[int | None, ...], limits: tuple[float, float] | None = (0, 16), **changes: Any
) -> Contract:
    """The contract of a model of three classes for samples of this shape."""
    facts: dict[str, Any] = {
        "format": 1,
        "name": "drawn",
        "input": {"name": "image", "dtype": "float32", "shape": [None, *shape], "range": limits} | changes,
        "output": {"name": "probabilities", "dtype": "float32", "shape": [None, 3]},
        "labels": ["a", "b", "c"],
    }
    return Contract.model_validate(facts)


def golden_of(inputs: Any) -> Golden:
    """Golden samples with these inputs."""
    return Golden(np.asarray(inputs), np.zeros((len(inputs), 3), np.float32))
