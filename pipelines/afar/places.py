"""Where the files of a study are, on the controller and on each node; what both call them on the wire."""

from __future__ import annotations

import fcntl
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from pipelines.records import TrialSpec

_WORK = "regatta-work-"
_INSIDE = re.compile(rf"/{_WORK}[0-9a-f]+/(.+)$")
_NAMES = re.compile(r"trials/\d{5,}-\d+/.+|states/\d{5,}/[^/]+")


def data_folder(home: Path, name: str) -> Path:
    """Where a node has the prepared data of that name."""
    return home / "data" / name


def is_name(name: str, spec: TrialSpec) -> bool:
    """Whether a node may send a file of that name for an attempt whose folders are names."""
    inside = PurePosixPath(name)
    return (
        bool(_NAMES.fullmatch(name))
        and ".." not in inside.parts
        and any(part and inside.is_relative_to(part) for part in (spec.folder, spec.states))
    )


@dataclass(frozen=True)
class NodePlace:
    """The work folder of one worker on its node, which goes with it; and what all workers of the node share.

    Attributes:
        home: What outlives the worker.
        root: What does not.
    """

    home: Path
    root: Path

    def here(self, spec: TrialSpec) -> TrialSpec:
        """An attempt with this node's paths for names."""
        return replace(
            spec,
            data=str(data_folder(self.home, spec.data)),
            folder=str(self.root / spec.folder),
            states=str(self.root / spec.states) if spec.states else "",
        )

    def path(self, name: str) -> Path:
        """Where the file of that name is."""
        return self.root / name

    def name(self, path: str) -> str:
        """What a file is called on the wire, also one that another worker had, on whatever node."""
        found = _INSIDE.search(path)
        return found[1] if found else Path(path).relative_to(self.root).as_posix()


class Workplace:
    """Makes the work folder of a worker, and removes those that workers left which died."""

    def __init__(self, home: Path) -> None:
        """Makes it below `home`."""
        base = home / "work"
        base.mkdir(parents=True, exist_ok=True)
        self._clear(base)
        self.place = NodePlace(home, base / f"{_WORK}{secrets.token_hex(8)}")
        self._lock = _locked(self.place.root.with_suffix(".lock"))
        self.place.root.mkdir()

    def close(self) -> None:
        """Removes it."""
        shutil.rmtree(self.place.root, ignore_errors=True)
        self.place.root.with_suffix(".lock").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    @staticmethod
    def _clear(base: Path) -> None:
        for lock in base.glob(f"{_WORK}*.lock"):
            with suppress(OSError):
                held = _locked(lock)
                if held is None:
                    continue  # its worker lives
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
                held.close()


def _locked(path: Path) -> IO[str] | None:
    """The file, locked for as long as this process lives; None where another process has it."""
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle
