"""The page for people: plain files out of services/model_server/page, read once when the server starts.

GET /               the page to a browser, `{"status":"alive"}` to everybody else: KServe V1 clients look for it there
GET /page/FILE      what the page consists of

Everything is open without an API key, because nothing secret is in it: the page itself asks for the key.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from starlette.routing import BaseRoute, Route

from services.model_server.errors import UnknownAddress
from services.model_server.protocols.base import Call, Dialect, Headers, Reply

FOLDER = Path(__file__).resolve().parents[1] / "page"
ENTRY = "index.html"
ALIVE = b'{"status":"alive"}'
MEDIA_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# Nothing but this server is asked for anything, nothing inline runs, and nobody may put the page into a frame. Pictures
# that a person drops on the page are blobs of the browser's own.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_GUARDS: Headers = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class File(NamedTuple):
    """One file of the page: its bytes, the same packed, and the tag by which a browser knows that it has them."""

    content: bytes
    packed: bytes
    media_type: bytes
    tag: bytes


def read_files(folder: Path = FOLDER) -> dict[str, File]:
    """Reads all files of the page by their names."""
    files = {}
    for path in sorted(folder.iterdir()):
        media_type = MEDIA_TYPES.get(path.suffix)
        if media_type is not None:
            content = path.read_bytes()
            tag = b'"' + hashlib.sha256(content).hexdigest()[:32].encode() + b'"'
            files[path.name] = File(content, gzip.compress(content, mtime=0), media_type, tag)
    return files


class Page(Dialect):
    """`/` and the files of the page."""

    name = "page"

    def routes(self) -> list[BaseRoute]:
        """Returns the root and the files; without the page (MODEL_SERVER_PAGE=off) the root says that it is alive."""
        self._files = read_files() if self.settings.page else {}
        methods = "GET, HEAD"
        routes: list[BaseRoute] = [Route("/", self.endpoint(self.root, methods, guarded=False))]
        if self._files:
            routes.append(Route("/page/{file}", self.endpoint(self.file, methods, guarded=False)))
        return routes

    async def root(self, call: Call) -> Reply:
        """The page to whoever asks for HTML, else what KServe V1 clients look for."""
        if ENTRY in self._files and prefers_html(",".join(call.all_headers(b"accept"))):
            return _answer(call, self._files[ENTRY], b"accept, accept-encoding")
        return Reply(ALIVE, headers=((b"vary", b"accept"),))

    async def file(self, call: Call) -> Reply:
        """One file; its content only if the browser does not have it yet."""
        file = self._files.get(call.path_parameter("file"))
        if file is None:
            raise UnknownAddress("The page has no such file.")
        return _answer(call, file, b"accept-encoding")


def prefers_html(accept: str) -> bool:
    """Whether an `Accept` (RFC 9110, 12.5.1) names HTML, and JSON no more than that.

    Who takes anything is a program: browsers name HTML.
    """
    weights = _weights(accept)
    json = next((weights[kind] for kind in ("application/json", "application/*", "*/*") if kind in weights), 0.0)
    return 0.0 < weights.get("text/html", 0.0) >= json


def takes_gzip(accept_encoding: str) -> bool:
    """Whether an `Accept-Encoding` (RFC 9110, 12.5.3) takes gzip: by its name, or as one of all."""
    weights = _weights(accept_encoding)
    return weights.get("gzip", weights.get("*", 0.0)) > 0.0


def _weights(accept: str) -> dict[str, float]:
    """What a header of the family `Accept` names, and how much each is wanted, from 0 to 1 (RFC 9110, 12.4.2)."""
    weights: dict[str, float] = {}
    for entry in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        told = next((value for name, _, value in (part.partition("=") for part in parameters) if name == "q"), "1")
        weights[kind] = float(told) if _WEIGHT.fullmatch(told) else 1.0
    return weights


def _answer(call: Call, file: File, vary: bytes) -> Reply:
    # The browser asks each time whether its copy is current: an updated server must never meet half an old page.
    headers = [*_GUARDS, (b"cache-control", b"no-cache"), (b"vary", vary), (b"etag", file.tag)]
    known = (call.header(b"if-none-match") or "").split(",")
    if file.tag.decode() in (tag.strip().removeprefix("W/") for tag in known):
        return Reply(b"", 304, file.media_type, headers)
    content = file.content
    if takes_gzip(",".join(call.all_headers(b"accept-encoding"))):
        content = file.packed
        headers.append((b"content-encoding", b"gzip"))
    return Reply(content, media_type=file.media_type, headers=headers)
