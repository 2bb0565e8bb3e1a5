"""Where XLA keeps compiled programs between sweeps. Without TensorFlow, which must find it when it starts."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FLAG = "--tf_xla_persistent_cache_directory"
_MOST_BYTES = 256 << 20


def keep_in(folder: Path) -> Path:
    """Has a TensorFlow that is imported later keep its compiled programs in a folder, and returns where exactly.

    Programs for another processor or of another TensorFlow are of no use, or would crash: each has a folder of its own.
    The oldest of many are removed.
    """
    place = folder / f"xla-{_machine()}"
    place.mkdir(parents=True, exist_ok=True)
    _thin(place, _MOST_BYTES)
    flags = [flag for flag in os.environ.get("TF_XLA_FLAGS", "").split() if not flag.startswith(FLAG)]
    os.environ["TF_XLA_FLAGS"] = " ".join([*flags, f"{FLAG}={place}"])
    return place


def kept_in() -> Path | None:
    """The folder that was set; None where none was."""
    for flag in os.environ.get("TF_XLA_FLAGS", "").split():
        name, _, place = flag.partition("=")
        if name == FLAG and place:
            return Path(place)
    return None


def forget() -> bool:
    """Removes what is kept, as some of it may be spoilt; says whether there was any."""
    place = kept_in()
    found = False
    for path in place.glob("*.pb") if place is not None else ():
        with suppress(OSError):
            path.unlink()
            found = True
    return found


def _thin(place: Path, most_bytes: int) -> None:
    files = []
    for path in place.glob("*.pb"):
        with suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    held = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if held <= most_bytes:
            break
        with suppress(OSError):
            path.unlink()
        held -= size


def _machine() -> str:
    """Stands for the processor and for TensorFlow's version."""
    about = [platform.machine()]
    for package in ("tensorflow", "tensorflow-cpu"):
        with suppress(PackageNotFoundError):
            about.append(f"{package} {version(package)}")
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        about += sorted({line for line in told if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
