"""The addresses under /v1: which call they mean, of which model and version or label."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from services.model_server.errors import BadRequest
from services.model_server.protocols.cells import listed

_MODEL = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
    r"(?:(?P<metadata>/metadata)|:(?P<verb>predict|classify|regress))?",
    re.IGNORECASE,
)


class Address(NamedTuple):
    """One call: `verb` is models, status, metadata, predict, classify or regress."""

    name: str
    version: str | None
    label: str | None
    verb: str


@lru_cache(maxsize=1024)
def read_address(method: str, path: str) -> Address:
    """Reads an address like /v1/models/digits/versions/3:predict; parts are percent-decoded after the cut.

    Raises:
        BadRequest: TF Serving's sentence for everything under /v1 that is not one of its addresses.
    """
    if method == "GET" and re.fullmatch(r"/v1/models/?", path, re.IGNORECASE):
        return Address("", None, None, "models")
    match = _MODEL.fullmatch(path)
    verb = (match["verb"] or ("metadata" if match["metadata"] else "status")).lower() if match else ""
    if match is None or method != ("GET" if verb in ("status", "metadata") else "POST"):
        raise BadRequest(f"Malformed request: {method} {listed([unquote(path)], 192)}")
    version = match["version"]
    if version is not None:
        digits = version.lstrip("0") or "0"
        if len(digits) > 19 or int(digits) >= 2**63:
            raise BadRequest(f"Failed to convert version: {version[:64]} to numeric.")
        version = digits
    label = match["label"]
    return Address(unquote(match["name"]), version, None if label is None else unquote(label), verb)
