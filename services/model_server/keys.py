"""API keys: which are right, compared in constant time, and read again when their file changes."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path

from services.model_server.errors import SettingsError
from services.model_server.settings import Settings

_LOOK_EVERY_S = 1.0


class ApiKeys:
    """The keys of MODEL_SERVER_API_KEY and MODEL_SERVER_API_KEY_FILE. Holds digests only."""

    def __init__(self, key: str | None, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the keys.

        Raises:
            SettingsError: the file cannot be read, or has no key.
        """
        self._fixed = [] if key is None else [_digest(key.encode())]
        self._file, self._clock = file, clock
        self._looked, self._mark = clock(), (0, 0, 0)
        self._digests = list(self._fixed)
        if file is not None:
            self._mark = _mark(file)
            self._digests += _read(file)

    def accept(self, sent: str) -> bool:
        """Says whether a key that a client sent is right."""
        if self._file is not None and self._clock() - self._looked >= _LOOK_EVERY_S:
            self._look(self._file)
        # Digests have one length, and all are compared: the time must not tell how much of which key was right.
        digest, found = _digest(sent.encode("latin-1", "replace")), False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found

    def _look(self, file: Path) -> None:
        """Reads the file again if it changed; one that is gone or empty changes nothing."""
        self._looked = self._clock()
        mark = _mark(file)
        if mark != self._mark:
            try:
                self._digests = self._fixed + _read(file)
            except SettingsError:
                return
            self._mark = mark


def api_keys(settings: Settings) -> ApiKeys | None:
    """Returns the keys that requests must carry, None if they need none.

    Raises:
        SettingsError: the file of the keys cannot be read, or has no key.
    """
    key, file = settings.api_key, settings.api_key_file
    if key is None and file is None:
        return None
    return ApiKeys(None if key is None else key.get_secret_value(), file)


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
