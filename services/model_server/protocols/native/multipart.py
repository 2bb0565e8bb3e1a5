"""Forms with files: multipart/form-data (RFC 7578), read from a body that is whole already."""

from __future__ import annotations

import re

from services.model_server.errors import BadRequest

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70})(?=[\s;,]|$))', re.IGNORECASE)
_NAME = re.compile(rb';\s*name="([^"\r\n]{0,64})"', re.IGNORECASE)
_FILE = re.compile(rb";\s*filename\*?=", re.IGNORECASE)
_MOST_HEAD_BYTES = 8192
_MOST_FIELD_BYTES = 64
_MOST_FIELDS = 16


def parts_of(body: bytes, content_type: str, most_files: int) -> tuple[dict[str, str], list[bytes]]:
    """Takes a form apart.

    Args:
        body: The form.
        content_type: The header that says how its parts are divided.
        most_files: The most files that it may have.

    Returns:
        Its fields, and the content of its files in their order; there is one or more.

    Raises:
        BadRequest: it is no such form, or cut off, or has too many parts.
    """
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise BadRequest("The Content-Type multipart/form-data has no boundary, or one that is no boundary.")
    mark = b"--" + (match[1] or match[2]).encode("latin-1")
    fields: dict[str, str] = {}
    files: list[bytes] = []
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if at == 1:
        raise BadRequest("The form does not have the boundary that its Content-Type names.")
    at += len(mark)
    parts = 0
    while not body.startswith(b"--", at):
        if not body.startswith(b"\r\n", at):
            raise BadRequest("The form is damaged: a boundary must end its line.")
        start = body.find(b"\r\n\r\n", at, at + _MOST_HEAD_BYTES)
        stop = body.find(b"\r\n" + mark, start + 2) if start >= 0 else -1
        if stop < 0:
            raise BadRequest("The form is cut off, or a part of it has no head.")
        _keep(body[at:start], body[min(start + 4, stop) : stop], fields, files)
        parts += 1
        if len(files) > most_files or parts > most_files + _MOST_FIELDS:
            raise BadRequest(f"The form has more than {most_files} files, or too many fields.")
        at = stop + 2 + len(mark)
    if not files:
        raise BadRequest("The form has no file; send one picture or several.")
    return fields, files


def _keep(head: bytes, content: bytes, fields: dict[str, str], files: list[bytes]) -> None:
    line = next((line for line in head.split(b"\r\n") if line[:20].lower() == b"content-disposition:"), b"")
    if _FILE.search(line):
        files.append(content)
        return
    name = _NAME.search(line)
    if name is None:
        raise BadRequest("The form has a part without a name.")
    if len(content) > _MOST_FIELD_BYTES:
        raise BadRequest("The form has a field that is longer than any option, and no file.")
    fields[name[1].decode("latin-1")] = content.decode("latin-1").strip()
