"""API keys: which are right, compared in constant time, and read again when their file changes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.model_server.errors import SettingsError
from services.model_server.settings import Settings

_LOOK_EVERY_S = 0.5


class ApiKeys:
    """The keys of MODEL_SERVER_API_KEY and MODEL_SERVER_API_KEY_FILE. Holds digests only.

    One for an application: a key that has ended has ended at all of its addresses.
    """

    def __init__(self, key: str | None, file: Path | None, log: Callable[..., Any] = lambda *_, **__: None) -> None:
        """Reads the keys.

        Args:
            key: One that is always right; None for none.
            file: Holds more of them, one in each line; None for none.
            log: Told of every change, and of a file that cannot be used; of no key.

        Raises:
            SettingsError: the file cannot be read, or has no key.
        """
        self._fixed = [] if key is None else [_digest(key.encode())]
        self._file, self._log = file, log
        self._mark = (0, 0, 0)
        self._trouble = ""  # what the log said last of a file that cannot be used
        self._digests = list(self._fixed)
        if file is not None:
            self._mark = _mark(file)
            self._digests += _read(file)

    def accept(self, sent: str) -> bool:
        """Says whether a key that a client sent is right."""
        # Digests have one length, and all are compared: the time must not tell how much of which key was right.
        digest, found = _digest(sent.encode("latin-1", "replace")), False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found

    async def watch(self) -> None:
        """Looks at the file twice a second until it is cancelled, whether somebody asks or not.

        A change must not wait for the next request: by then the file may be gone, and what it said never be known.
        """
        while self._file is not None:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Reads the file again if it changed; one that is gone or empty changes nothing, and is told."""
        if self._file is None:
            return
        mark = _mark(self._file)  # before it is read: what changes in between is seen the next time
        if mark == self._mark and not self._trouble:
            return
        try:
            digests = self._fixed + _read(self._file)
        except SettingsError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._log("api_keys_not_read", level="warning", reason=self._trouble, still_right=len(self._digests))
            return
        if self._trouble or digests != self._digests:
            self._log("api_keys_changed", keys=len(digests))
        self._mark, self._digests, self._trouble = mark, digests, ""


def api_keys(settings: Settings, log: Callable[..., Any] = lambda *_, **__: None) -> ApiKeys | None:
    """Returns the keys that requests must carry, None if they need none; `log` is told what becomes of their file.

    Raises:
        SettingsError: the file of the keys cannot be read, or has no key.
    """
    key, file = settings.api_key, settings.api_key_file
    if key is None and file is None:
        return None
    return ApiKeys(None if key is None else key.get_secret_value(), file, log)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _mark(file: Path) -> tuple[int, int, int]:
    try:
        facts = file.stat()
    except OSError:
        return 0, 0, 0
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _read(file: Path) -> list[bytes]:
    try:
        keys = [line.strip() for line in file.read_bytes().splitlines()]
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError([f"MODEL_SERVER_API_KEY_FILE is {str(file)!r}, which cannot be read: {reason}."]) from None
    digests = [_digest(key) for key in keys if key]
    if not digests:
        raise SettingsError([f"MODEL_SERVER_API_KEY_FILE is {str(file)!r}, which has no key; put one in each line."])
    return digests
