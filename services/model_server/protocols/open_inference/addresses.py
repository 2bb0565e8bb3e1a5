"""The addresses under /v2: which call they mean, of which model and version, by which method."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from services.model_server.errors import BadRequest, UnknownAddress, WrongMethod

_READ, _SEND = "GET, HEAD", "POST"
_MODEL = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[0-9]+))?(?:/(?P<verb>ready|infer|config|stats))?"
)
_REPOSITORY = re.compile(r"/v2/repository/(?:(?P<index>index)|models/(?P<name>[^/]+)/(?P<verb>load|unload))")
_FIXED = {
    "/v2": "server",
    "/v2/health/live": "live",
    "/v2/health/ready": "server_ready",
    "/v2/models": "models",
    "/v2/models/stats": "stats",
}
# Probes have no API key, and learn nothing here but whether something is ready.
OPEN = frozenset({"live", "server_ready", "ready"})


class Address(NamedTuple):
    """One call.

    `verb` is server, live, server_ready, models, metadata, config, ready, infer, stats, index, load or unload.
    """

    verb: str
    allowed: str
    name: str = ""
    version: str | None = None


def read_address(path: str) -> Address | None:
    """Reads an address; the model's name is percent-decoded after the cut. None if the protocol has no such address."""
    if len(path) > 1:
        path = path.removesuffix("/")
    if path in _FIXED:
        return Address(_FIXED[path], _READ)
    if (match := _MODEL.fullmatch(path)) is not None:
        verb, version = match["verb"] or "metadata", match["version"]
        return Address(verb, _SEND if verb == "infer" else _READ, unquote(match["name"]), version)
    if (match := _REPOSITORY.fullmatch(path)) is not None:
        return Address(match["verb"] or "index", _SEND, unquote(match["name"] or ""))
    return None


def check_address(address: Address | None, method: str) -> Address:
    """Refuses what is no call of the protocol, and brings the version into the registry's form.

    Raises:
        UnknownAddress: the protocol has no such address.
        WrongMethod: it has, with another method.
        BadRequest: the version is larger than any can be.
    """
    if address is None:
        raise UnknownAddress(
            "The Open Inference Protocol has nothing at this address. See GET /v2, GET /v2/models/NAME and "
            "POST /v2/models/NAME/infer."
        )
    if method not in address.allowed.split(", "):
        raise WrongMethod(address.allowed)
    if address.version is None:
        return address
    if len(address.version) > 32 or int(address.version) >= 2**63:
        raise BadRequest("failed to get model version from specified version string: it is larger than any version.")
    return address._replace(version=str(int(address.version)))
