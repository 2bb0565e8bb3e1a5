"""Arrays out of a .npz file, whatever other threads read meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_READINGS = 20
_reading = threading.Lock()


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file by their names; nothing in it is unpickled.

    NumPy reads the header of an array as Python source. CPython 3.11 and 3.12 count the depth of such source once for
    all threads, so that one of two threads that read source at once may get a SystemError for nothing
    (python/cpython#106905). Models load in threads, and a champion must not be refused for that: one thread reads at a
    time here, and reads anew where a library's thread was in its way.

    Raises:
        OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile: It is not there, or not such a file.
    """
    for left in reversed(range(_READINGS)):
        try:
            with _reading, path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except SystemError:
            if not left:
                raise
    raise AssertionError("the last reading returns or raises")
