"""The binary tensor extension: where the JSON ends and the tensors begin, and texts as bytes."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import Any

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract
from services.model_server.protocols.tensors import load_samples

HEADER = b"inference-header-content-length"
# What no JSON has, not even within a text: control characters but tab and line breaks, and bytes that UTF-8 has not.
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\xc0\xc1\xf5-\xff]")
_LENGTH = struct.Struct("<I")


def json_length(header: str | None, size: int) -> int:
    """Returns how many bytes of a body are JSON; what follows them are tensors. 0: the whole body is one tensor.

    Args:
        header: The value of Inference-Header-Content-Length; None if there is none, and then all of it is JSON.
        size: How long the body is.

    Raises:
        BadRequest: the header is no whole number, or larger than the body.
    """
    if header is None:
        return size
    text = header.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > size:
        raise BadRequest(
            "Inference-Header-Content-Length must be how many bytes of the body are JSON, a whole number from 0 to "
            f"{size}, which is the length of this body."
        )
    return int(text)


def read_document(body: bytes, contract: Contract, told: bool) -> Any:
    """Parses a body that is JSON as a whole.

    Args:
        body: All of it.
        contract: Of the model that is asked.
        told: Whether its sender said how long the JSON is.

    Raises:
        BadRequest: it is not JSON. With bytes that no JSON has, it looks like tensors of which nothing was said.
    """
    try:
        return load_samples(body, contract, (("inputs", 0, "data"),), tokens=True)
    except BadRequest as error:
        if told or _BINARY.search(body) is None:
            raise
        raise BadRequest(
            f"{error}. Binary tensors need the header Inference-Header-Content-Length: how many bytes of JSON are in "
            "front of them, or 0."
        ) from None


def read_texts(body: bytes, start: int, stop: int, count: int, name: str) -> list[str]:
    """Reads texts: each has 4 bytes of length, little-endian, and then its UTF-8.

    Args:
        body: The whole body.
        start: Where they begin.
        stop: Where they end; not after the end of the body.
        count: How many there must be.
        name: Of the tensor, for messages.

    Raises:
        BadInput: the lengths do not add up, or a text is not UTF-8.
    """
    texts: list[str] = []
    if count * _LENGTH.size <= stop - start:  # else it cannot be; and a count of a billion must not be tried
        try:
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(body, start)
                start += _LENGTH.size + length
                if start > stop:
                    break
                texts.append(str(body[start - length : start], "utf-8"))
        except UnicodeDecodeError:
            raise BadInput(f"Input '{name}' has a text that is not UTF-8.") from None
        except struct.error:
            start = stop + 1
    if len(texts) != count or start != stop:
        raise BadInput(
            f"Input '{name}' must be {count} texts by its shape, each of 4 bytes for its length (little-endian) and as "
            "many bytes; its lengths do not add up to its binary_data_size."
        )
    return texts


def write_texts(texts: Iterable[str]) -> bytes:
    """Writes texts as `read_texts` reads them."""
    encoded = [text.encode() for text in texts]
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))
