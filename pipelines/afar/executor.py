"""The controller's side: an executor of trials whose workers share no disk with it, on any executor that carries words.

The sweep sees the paths of its own disk. Files that workers send are there before the event that names them is heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.afar.parts import Arrivals, cut
from pipelines.afar.places import is_name
from pipelines.afar.record import NoRecord, Record
from pipelines.afar.words import FarTask, FilePart, RunKnown, RunWanted
from pipelines.errors import HomeError
from pipelines.executors.base import Executor, Handler, Loss
from pipelines.home import disk_is_full
from pipelines.records import (
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    FileWritten,
    PictureDrawn,
    TrialSpec,
)
from pipelines.training.states import FILES, newest_state_file

_MOST_FILES_BYTES = 400 << 20
"""Of what an attempt is sent beside its state: both fit into one message."""


@dataclass
class _Away:
    """An attempt that is with a worker, its folders as they are called on the wire.

    Attributes:
        fresh: Whether this is all that the journal has of the trial, so that the times of its epochs are known.
        times: When each epoch ended, as the journal has it.
    """

    worker: int
    spec: TrialSpec
    uid: str
    fresh: bool
    times: dict[int, int] = field(default_factory=dict)


class FarExecutor(Executor):
    """Hands trials to workers on other machines, and takes in what they send. It is its executor's handler."""

    def __init__(self, inner: Executor, root: Path, record: Record | None = None) -> None:
        """Takes everything that it needs; nothing is started yet.

        Args:
            inner: Carries words to workers made by `FarWorker`.
            root: The study's folder.
            record: Of the runs; none where left out.
        """
        self._inner = inner
        self._root = root
        self._record: Record = record or NoRecord()
        self._arrivals = Arrivals(root)
        self._handler: Handler | None = None
        self._away: dict[int, _Away] = {}

    # what the sweep calls

    def start(self, handler: Handler) -> None:
        """Starts the workers."""
        self._handler = handler
        self._inner.start(self)

    def hand_over(self, handler: Handler) -> None:
        """See `Executor`."""
        self._handler = handler
        self._inner.hand_over(self)

    def assign(self, worker: int, task: TrialSpec) -> None:
        """Sends an attempt, with the state that it goes on from."""
        spec = replace(
            task,
            data=Path(task.data).name,
            folder=self._name(task.folder),
            states=self._name(task.states) if task.states else "",
            tells_states=bool(task.states),
        )
        uid = self._record.uid(task.number) if task.states else ""
        self._away[task.number] = _Away(worker, spec, uid, fresh=task.attempt == 1)
        state = newest_state_file(Path(task.states), task.attempt) if task.states else None
        parts: tuple[FilePart, ...] = ()
        if state is not None:
            files = [(state, f"{spec.states}/{state.name}"), *self._files_before(task, state)]
            parts = tuple(part for path, name in files for part in cut(path, name, task.number, task.attempt))
        self._inner.assign(worker, FarTask(spec, uid, parts))

    def wait(self, timeout_s: float) -> None:
        """Delivers what has come."""
        self._inner.wait(timeout_s)

    def tell(self, worker: int, answer: Any) -> None:
        """Sends an answer."""
        self._inner.tell(worker, answer)

    def end(self, worker: int, reason: str) -> None:
        """Ends a worker."""
        self._inner.end(worker, reason)

    def log_tail(self, worker: int) -> str:
        """The last lines that a worker has printed."""
        return self._inner.log_tail(worker)

    def close(self) -> None:
        """Ends all workers."""
        self._inner.close()

    # what the executor of words calls

    def on_room(self, worker: int, places: int) -> None:
        """See `pipelines.executors.base.Handler`."""
        self._heard_by.on_room(worker, places)

    def on_rest(self, worker: int, tasks: int) -> None:
        """See `pipelines.executors.base.Handler`."""
        self._heard_by.on_rest(worker, tasks)

    def on_message(self, worker: int, message: Any) -> Any:
        """Takes in files and answers what concerns them; all else is the sweep's, with paths of this disk."""
        if isinstance(message, FilePart):
            self._take_in(worker, message)
            return None
        if isinstance(message, RunWanted):
            return self._run_of(message)
        if isinstance(message, CheckpointWritten | FileWritten | PictureDrawn):
            path = self._root / message.path
            delivered = isinstance(message, CheckpointWritten) and message.delivered_bytes is not None
            away = self._away_with(worker, message)
            if away is None or not is_name(message.path, replace(away.spec, folder="trials")):
                return self._heard_by.on_message(worker, message)  # of an attempt that was given up
            if not delivered and not path.is_file():
                return None  # an earlier attempt's, which never came
            message = replace(message, path=str(path))
        answer = self._heard_by.on_message(worker, message)
        away = self._away_with(worker, message)
        if away is not None and isinstance(message, EpochEnded) and not message.retold:
            away.times.setdefault(message.epoch, self._record.last_ms())
        if away is not None and isinstance(message, Ended):
            self._forget(away)
        return answer

    def on_lost(self, worker: int, loss: Loss) -> None:
        """What was on its way from it will never be whole."""
        for away in [each for each in self._away.values() if each.worker == worker]:
            self._forget(away)
        self._heard_by.on_lost(worker, loss)

    @property
    def _heard_by(self) -> Handler:
        assert self._handler is not None, "start comes before wait"
        return self._handler

    def _files_before(self, task: TrialSpec, state: Path) -> list[tuple[Path, str]]:
        """What callbacks had written in the attempt that left this state, with what it is called on the wire."""
        attempt = int(state.name.split("-")[1])
        folder = Path(task.folder).with_name(f"{task.number:05d}-{attempt}") / FILES
        found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".writing-"))
        if sum(path.stat().st_size for path in found) > _MOST_FILES_BYTES:
            return []
        return [(path, self._name(str(path))) for path in found]

    def _name(self, path: str) -> str:
        return Path(path).relative_to(self._root).as_posix()

    def _away_with(self, worker: int, message: Event | FilePart | RunWanted) -> _Away | None:
        away = self._away.get(message.trial)
        known = away is not None and (away.worker, away.spec.attempt) == (worker, message.attempt)
        return away if known else None

    def _take_in(self, worker: int, part: FilePart) -> None:
        away = self._away_with(worker, part)
        if away is None or not is_name(part.name, away.spec):
            return
        try:
            self._arrivals.take(part)
        except OSError as error:
            if not part.name.startswith("states/"):  # without a state, its trial begins anew if its node is lost
                raise self._unwritable(error) from error
            self._arrivals.forget(away.spec.states)

    def _unwritable(self, error: OSError) -> HomeError:
        why = "the disk is full" if disk_is_full(error) else error.strerror or str(error)
        return HomeError(f"Cannot write what workers send to {self._root}: {why}.")

    def _run_of(self, wanted: RunWanted) -> RunKnown | None:
        away = self._away.get(wanted.trial)
        if away is None or away.spec.attempt != wanted.attempt:
            return None
        run_id = self._record.run_id(away.uid)
        if run_id is None:
            return None
        time_ms = away.times.get(wanted.epoch) if away.fresh else None
        if time_ms is None:
            time_ms = self._record.time_ms(away.uid, wanted.epoch) or 0
        return RunKnown(wanted.trial, wanted.attempt, wanted.epoch, run_id, time_ms)

    def _forget(self, away: _Away) -> None:
        del self._away[away.spec.number]
        for folder in (away.spec.folder, away.spec.states):
            if folder:
                with suppress(OSError):
                    self._arrivals.forget(folder)


def variables_for_nodes(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the controller's environment whoever speaks to the tracking server, or its store, needs to be let in.

    Those that name files of this machine stay here.
    """
    wanted, files = ("MLFLOW_TRACKING_", "MLFLOW_S3_", "AWS_", "AZURE_STORAGE_"), ("_BUNDLE", "_FILE", "_PATH")
    return {name: value for name, value in environment.items() if name.startswith(wanted) and not name.endswith(files)}
