"""Parts for tests of trials on other machines: a worker that makes files as a trainer does, and a record of runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.afar.executor import FarExecutor
from pipelines.afar.words import NodeSettings
from pipelines.afar.worker import FarWorker
from pipelines.executors.base import Answer, Loss, OneByOne, Worker
from pipelines.executors.inline import InlineExecutor
from pipelines.records import (
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    FileWritten,
    PictureDrawn,
    Started,
    StateWritten,
    TrialSpec,
)
from pipelines.tracking.base import Tracker, Unavailable
from pipelines.tracking.entries import RunBegun
from pipelines.tracking.memory import MemoryTracker
from pipelines.training.states import StateWriter, newest_state

LOSSES = (0.5, 0.2, 0.3)


class Heard:
    """A handler that keeps what it was told, and what lay on the disk of the controller at that moment."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.contents: dict[str, bytes | None] = {}
        self.places = 0
        self.rests: list[int] = []
        self.losses: list[Loss] = []
        self.answers: Callable[[Event], Any] = lambda event: None

    def on_room(self, worker: int, places: int) -> None:
        self.places += places

    def on_rest(self, worker: int, tasks: int) -> None:
        self.rests.append(tasks)

    def on_message(self, worker: int, message: Event) -> Any:
        self.events.append(message)
        path = getattr(message, "path", None)
        if path is not None:
            self.contents[path] = Path(path).read_bytes() if Path(path).is_file() else None
        return self.answers(message)

    def on_lost(self, worker: int, loss: Loss) -> None:
        self.losses.append(loss)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def the(self, kind: type[Any]) -> Any:
        (found,) = (event for event in self.events if type(event) is kind)
        return found


class Trains:
    """Works on a `TrialSpec`: writes a summary, a state and a picture an epoch, files of callbacks, a checkpoint."""

    def __init__(
        self,
        *,
        ballast: int = 0,
        large: int = 0,
        dies_after: int | None = None,
        pauses_after: int | None = None,
    ) -> None:
        self.ballast = ballast
        self.large = large
        self.dies_after = dies_after
        self.pauses_after = pauses_after
        self.specs: list[TrialSpec] = []
        self.began_at: list[int] = []

    def __call__(self, spec: TrialSpec, say: Answer) -> None:
        self.specs.append(spec)
        folder, key = Path(spec.folder), (spec.number, spec.attempt)
        earlier = newest_state(Path(spec.states), spec.attempt) if spec.states else None
        first = 0 if earlier is None else earlier.step + 1
        self.began_at.append(first)
        say(Started(*key, 1, first_epoch=first))
        for drawn in [] if earlier is None else earlier.content["pictures"]:
            say(PictureDrawn(*key, 0, "surface", drawn))
        for number in range(first):
            say(EpochEnded(*key, number, {"val_loss": LOSSES[number], "loss": 1.0}, 900 + number, retold=True))
        say(FileWritten(*key, write(folder / "model_summary.txt", b"Dense"), ""))
        writer = StateWriter(Path(spec.states), spec.attempt) if spec.states else None
        for number in range(first, len(LOSSES)):
            picture = write(folder / "pictures" / f"surface-{number}.png", b"png %d" % number)
            say(PictureDrawn(*key, number, "surface", picture))
            say(EpochEnded(*key, number, {"val_loss": LOSSES[number], "loss": 1.0}, 1000 + number))
            write(folder / "checkpoints" / "log.csv", b"epoch\n" * (number + 1))
            if writer is not None:
                kept = {"pictures": [picture], "ballast": hashlib.sha256(b"x").digest() * (self.ballast // 32)}
                writer.write(number, partial(dict, kept))
                say(StateWritten(*key, number, str(writer.newest)))
            if number == self.dies_after:
                raise ConnectionResetError("the node is gone")
            if number == self.pauses_after:
                say(Ended(*key, 1, paused=True))
                return
        for name, content in (("last.keras", b"small"), ("deep/large.keras", b"L" * self.large)):
            path = write(folder / "checkpoints" / name, content)
            say(CheckpointWritten(*key, None, "callback", path, hashlib.sha256(content).hexdigest()))
        content = b"the best of %d-%d" % key
        path = write(folder / "best.keras", content)
        say(CheckpointWritten(*key, 1, "best", path, hashlib.sha256(content).hexdigest()))
        say(Ended(*key, 1))


def write(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


class Runs:
    """A record: the run of every trial, on a tracker in memory."""

    def __init__(self, tracker: MemoryTracker, *, known: bool = True) -> None:
        self.tracker = tracker
        self.known = known
        self.asked: list[str] = []

    def uid(self, number: int) -> str:
        return f"sweep-{number:05d}"

    def run_id(self, uid: str) -> str | None:
        self.asked.append(uid)
        if not self.known:
            return None
        return self.tracker.begin(RunBegun(uid, "study", uid, 1), "0", None, suspect=True)

    def time_ms(self, uid: str, step: int) -> int | None:
        return 7_000 + step

    def last_ms(self) -> int:
        return 5_000


class Unreachable(MemoryTracker):
    """A tracker that no node reaches."""

    def keep_checkpoint(self, *arguments: Any, **more: Any) -> None:
        raise Unavailable("no route to host")

    def keep(self, *arguments: Any, **more: Any) -> None:
        raise Unavailable("no route to host")


class Far:
    """A controller's disk, and nodes with disks of their own; workers in this process."""

    def __init__(self, folder: Path, tracker: MemoryTracker | None = None) -> None:
        self.root = folder / "controller" / "study"
        self.root.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.tracker = tracker or MemoryTracker()
        self.record = Runs(self.tracker)
        self.heard = Heard()
        self.workers: list[FarWorker] = []

    def executor(self, work: Trains, node: str = "node", **settings: Any) -> FarExecutor:
        def tracker(address: str) -> Tracker:
            return self.tracker

        def make(home: Path) -> Worker:
            return OneByOne(work)

        def worker() -> Worker:
            on_node = NodeSettings(**{"server": "http://tracking", "patience_s": 5.0, **settings})
            self.workers.append(FarWorker(on_node, make, self.folder / node, tracker))
            return self.workers[-1]

        made = FarExecutor(InlineExecutor(worker), self.root, self.record)
        made.start(self.heard)
        made.wait(0)
        return made

    def spec(self, number: int = 3, attempt: int = 1, *, states: bool = True) -> TrialSpec:
        return TrialSpec(
            number,
            attempt,
            {"epochs": len(LOSSES)},
            str(self.folder / "controller" / "data" / "digits-1"),
            str(self.root / "trials" / f"{number:05d}-{attempt}"),
            "val_loss",
            "minimize",
            str(self.root / "states" / f"{number:05d}") if states else "",
        )

    def train(self, work: Trains, spec: TrialSpec, node: str = "node", **settings: Any) -> Heard:
        executor = self.executor(work, node, **settings)
        executor.assign(0, spec)
        executor.wait(0)
        return self.heard

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
