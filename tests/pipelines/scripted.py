"""Parts for tests of the controller: recipes, specs, and workers whose every word is written down beforehand."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from inspect import GEN_CREATED, getgeneratorstate
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.prepared import PreparedData
from pipelines.executors.base import Answer, Executor, Handler, Loss, LossKind, OneByOne, Worker
from pipelines.inputs import InputFacts
from pipelines.recipe.config import SweepConfig
from pipelines.records import CheckpointWritten, Ended, EpochEnded, Event, Started, Stop, TrialSpec

BEGUN_MS = 1_700_000_000_000
RATE = "optimizer.learning_rate"


def recipe(trials: int = 6, **changes: Any) -> SweepConfig:
    """A small recipe; `changes` replace its parts."""
    return SweepConfig.model_validate(
        {
            "study": "tiny",
            "seed": 100,
            "epochs": 4,
            "search_space": {RATE: {"type": "float", "low": 1e-3, "high": 1e-1, "log": True}},
            "sampler": "random",
            "pruner": "none",
            "budget": {"trials": trials},
            "execution": {"executor": "inline"},
            **changes,
        }
    )


def prepared(folder: Path) -> PreparedData:
    """Data that nobody trains on."""
    facts = InputFacts((8, 8), 0.0, 16.0, tuple(str(digit) for digit in range(10)))
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 8), ("validation", 2)):
        np.save(folder / f"{part}-x.npy", np.full((count, 8, 8), 3, np.uint8))
        np.save(folder / f"{part}-y.npy", np.arange(count, dtype=np.int64))
    return PreparedData(folder, "d" * 64, "5" * 64, facts, {"train": 8, "validation": 2})


def spec_for(folder: Path, number: int = 0, attempt: int = 1, **changes: Any) -> TrialSpec:
    """An attempt of a trial of `recipe`."""
    config = recipe().training()
    spec = TrialSpec(number, attempt, config, "data", str(folder / f"{number}-{attempt}"), "val_loss", "minimize")
    return TrialSpec(**{**vars(spec), **changes})


@dataclass(frozen=True)
class Lost:
    """Instead of a word: the worker dies."""

    reason: str = "its process was ended by SIGKILL"
    kind: LossKind = LossKind.DIED


@dataclass(frozen=True)
class Silence:
    """Instead of a word: nothing, until the executor is told to end the worker."""


Word = Event | Lost | Silence
Talk = Generator[Word, Any, None]
"""What a worker says about one attempt; what `yield` gives back is the controller's answer."""
Script = Callable[[TrialSpec], Talk]


def metrics(val_loss: float, **others: float) -> dict[str, float]:
    return {"loss": val_loss * 0.9, "val_loss": val_loss, "val_accuracy": 0.5, "learning_rate": 0.01, **others}


def started(spec: TrialSpec) -> Started:
    return Started(spec.number, spec.attempt, BEGUN_MS, {"regatta.device": "CPU:0"})


def epoch(spec: TrialSpec, number: int, val_loss: float) -> EpochEnded:
    return EpochEnded(spec.number, spec.attempt, number, metrics(val_loss), BEGUN_MS + number)


def checkpoint(spec: TrialSpec, number: int) -> CheckpointWritten:
    """Writes a file that stands for the model at the end of an epoch."""
    path = Path(spec.folder) / "best.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = f"trial {spec.number}, attempt {spec.attempt}, epoch {number}".encode()
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return CheckpointWritten(spec.number, spec.attempt, number, "best", str(path), digest)


def ended(spec: TrialSpec, *, pruned: bool = False, error: str | None = None, **more: Any) -> Ended:
    trace = None if error is None else f"Traceback (most recent call last):\n{error}\n"
    return Ended(spec.number, spec.attempt, BEGUN_MS + 99, pruned, error, trace, 1.5, **more)


def val_losses(spec: TrialSpec) -> list[float]:
    """A curve that falls, and that follows from the config alone: a repeated attempt gives it again."""
    rate = float(spec.config["optimizer"]["learning_rate"])
    return [abs(math.log10(rate) + 2.0) + 1.0 / (number + 1) for number in range(int(spec.config["epochs"]))]


def trains(spec: TrialSpec, losses: Sequence[float] | None = None) -> Talk:
    """A training in good order, which ends early where the controller says so."""
    yield started(spec)
    told, best, best_epoch = False, math.inf, None
    values = val_losses(spec) if losses is None else losses
    for number, value in enumerate(values):
        if value < best:
            best, best_epoch = value, number
        answer = yield epoch(spec, number, value)
        if isinstance(answer, Stop) and (answer.trial, answer.attempt) == (spec.number, spec.attempt):
            if answer.pause and number + 1 < len(values):
                yield ended(spec, paused=True)
                return
            told = not answer.pause
            if told:
                break
    if best_epoch is not None:
        yield checkpoint(spec, best_epoch)
    yield ended(spec, pruned=told)


def raises(spec: TrialSpec) -> Talk:
    """A training whose own code is wrong."""
    yield started(spec)
    yield ended(spec, error="ValueError: no such layer")


def dies(spec: TrialSpec, after: int = 2) -> Talk:
    """A training whose worker is killed after some epochs."""
    yield started(spec)
    for number, value in enumerate(val_losses(spec)[:after]):
        yield epoch(spec, number, value)
    yield Lost()


def by_trial(scripts: Mapping[Any, Script], otherwise: Script = trains) -> Script:
    """A script of its own for some trials (by number) or attempts (by number and attempt)."""
    return lambda spec: scripts.get((spec.number, spec.attempt), scripts.get(spec.number, otherwise))(spec)


class ScriptedExecutor(Executor):
    """Workers that talk by a script, in turn: each `wait` lets each of their trials say one word. No processes, no
    chance. A worker that has several trials rests when all of them have come to the end of their scripts."""

    def __init__(self, script: Script, workers: int = 1, places: int = 1) -> None:
        self.assigned: list[TrialSpec] = []
        self.closed = False
        self.most = 0
        self._script = script
        self._places = places
        self._fresh: list[int] = []
        self._workers = workers
        self._room: dict[int, int] = {}
        self._given: Counter[int] = Counter()
        self._talks: dict[tuple[int, int], Talk] = {}  # by worker and trial
        self._answers: dict[tuple[int, int], Any] = {}
        self._silent: set[tuple[int, int]] = set()
        self._over: set[tuple[int, int]] = set()  # it has said that it ended
        self._ended: dict[int, str] = {}
        self._handler: Handler | None = None

    def start(self, handler: Handler) -> None:
        self._handler = handler
        self._fresh = list(range(self._workers))

    def hand_over(self, handler: Handler) -> None:
        self.start(handler)

    def assign(self, worker: int, task: TrialSpec) -> None:
        assert self._room[worker] > 0, "only a worker that has room may get a task"
        self._room[worker] -= 1
        self._given[worker] += 1
        self.assigned.append(task)
        self._talks[worker, task.number], self._answers[worker, task.number] = self._script(task), None
        self._over.discard((worker, task.number))
        self.most = max(self.most, len(self._talks) - len(self._over))

    def wait(self, timeout_s: float) -> None:
        assert self._handler is not None
        fresh, self._fresh = self._fresh, []
        for worker in fresh:
            self._room[worker] = self._places
            self._handler.on_room(worker, self._places)
        for place, talk in list(self._talks.items()):
            worker, _ = place
            if place not in self._talks:
                continue  # its worker was lost with one before it
            if worker in self._ended:
                self._lose(worker, Loss(self._ended.pop(worker), LossKind.ENDED))
                continue
            if place in self._silent:
                continue
            try:
                begun = getgeneratorstate(talk) != GEN_CREATED  # what it was told before is heard at its second word
                word = talk.send(self._answers[place] if begun else None)
            except StopIteration:
                self._finish(place)
                continue
            if isinstance(word, Lost):
                self._lose(worker, Loss(word.reason, word.kind))
            elif isinstance(word, Silence):
                self._silent.add(place)
            else:
                if begun:
                    self._answers[place] = None
                self._over.update({place} if isinstance(word, Ended) else ())
                answer = self._handler.on_message(worker, word)
                self._answers[place] = answer or self._answers[place]

    def tell(self, worker: int, answer: Stop) -> None:
        self._answers[worker, answer.trial] = answer

    def end(self, worker: int, reason: str) -> None:
        self._ended[worker] = reason

    def log_tail(self, worker: int) -> str:
        return f"the last words of worker {worker}"

    def _finish(self, place: tuple[int, int]) -> None:
        assert self._handler is not None
        worker, _ = place
        del self._talks[place]
        self._over.discard(place)
        if not any(other == worker for other, _ in self._talks):
            self._handler.on_rest(worker, self._given[worker])
        self._room[worker] += 1
        self._handler.on_room(worker, 1)

    def _lose(self, worker: int, loss: Loss) -> None:
        assert self._handler is not None
        for place in [place for place in self._talks if place[0] == worker]:
            self._talks.pop(place).close()
            self._silent.discard(place)
            self._over.discard(place)
        self._room[worker] = 0
        self._handler.on_lost(worker, loss)
        self._fresh.append(worker)

    def close(self) -> None:
        self.closed = True
        self._talks.clear()


class ScriptedDesk:
    """A desk in the test's own process: what comes to it is there beforehand, and what is said is kept."""

    def __init__(self, *tasks: Any, answer: Callable[[Any], Sequence[Any]] = lambda message: ()) -> None:
        self.tasks = deque(tasks)
        self.answer = answer
        self.said: list[Any] = []
        self.places: list[int] = []

    def take(self) -> Any | None:
        return self.tasks.popleft() if self.tasks else None

    def say(self, message: Any) -> Sequence[Any]:
        self.said.append(message)
        return self.answer(message)

    def offer(self, places: int) -> None:
        self.places.append(places)


def as_worker(script: Script) -> Worker:
    """A script as a worker of a real executor."""

    def work(spec: TrialSpec, answer: Answer) -> None:
        talk, reply = script(spec), None
        while True:
            try:
                word = talk.send(reply)
            except StopIteration:
                return
            assert isinstance(word, Event), "a worker in this process cannot die"
            reply = answer(word)

    return OneByOne(work)
