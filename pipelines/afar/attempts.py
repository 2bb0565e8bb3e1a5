"""What a node keeps of the attempts that it has under way: where they are, and which epoch is their best."""

from __future__ import annotations

import math
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.records import CheckpointWritten, EpochEnded, TrialSpec
from pipelines.training.base import Best
from pipelines.training.states import FILES


@dataclass
class FarAttempt:
    """One attempt under way.

    Attributes:
        spec: It, with this node's paths.
        uid: Of its run; empty where it has none.
        best: The best epoch so far, as the controller sees it, too.
        epoch: What was told of that.
        checkpoint: The file of the best epoch that was written last.
        large: Files that are brought to the tracking server from here, with where they go among the artifacts.

    Of the files of callbacks, it knows which versions the controller has.
    """

    spec: TrialSpec
    uid: str
    best: Best
    epoch: EpochEnded | None = None
    checkpoint: CheckpointWritten | None = None
    large: list[tuple[CheckpointWritten, str]] = field(default_factory=list)
    _sent: dict[Path, tuple[int, int]] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int]:
        """The trial and the attempt."""
        return self.spec.number, self.spec.attempt

    def note(self, event: EpochEnded) -> None:
        """An epoch ended, perhaps one of an earlier attempt."""
        value = event.metrics.get(self.spec.objective, math.nan)
        if self.best.improved_by(value, event.epoch):
            self.epoch = event

    def artifact_folder(self, path: Path) -> str:
        """Where a file of a ModelCheckpoint goes among the artifacts: in the folders that its template named."""
        saved = Path(self.spec.folder) / FILES
        inside = path.parent.relative_to(saved).as_posix() if path.is_relative_to(saved) else "."
        return "checkpoints" if inside == "." else f"checkpoints/{inside}"

    def changed_files(self, most_bytes: int) -> list[Path]:
        """Files of callbacks that the controller has not as they are now, and is sent with the state: once each.

        Without them, an attempt elsewhere would go on from the state and lack what it wrote before. They are left out
        where all of them together are larger than `most_bytes`.
        """
        folder, there = Path(self.spec.folder) / FILES, {}
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            with suppress(OSError):  # the callback has just removed it
                found = path.stat()
                if path.is_file():
                    there[path] = (found.st_mtime_ns, found.st_size)
        if sum(size for _, size in there.values()) > most_bytes:
            return []
        changed = [path for path, version in there.items() if self._sent.get(path) != version]
        self._sent = there
        return changed

    def remove(self) -> None:
        """Removes its files, and those of earlier attempts: who needs them has them by now."""
        folder = Path(self.spec.folder)
        for each in folder.parent.glob(f"{self.spec.number:05d}-*"):
            shutil.rmtree(each, ignore_errors=True)
        if self.spec.states:
            shutil.rmtree(self.spec.states, ignore_errors=True)
