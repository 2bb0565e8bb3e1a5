"""Gives memory back to the system. glibc keeps what was freed for the thread that had it, and threads come and go."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any


def give_back() -> None:
    """Returns free pages of all threads to the system. Takes milliseconds, without the interpreter's lock."""
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # no glibc: musl, macOS and Windows keep less, or nothing
        return None
