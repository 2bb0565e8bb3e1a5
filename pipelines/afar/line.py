"""The wire of a worker on a node, for the two who use it: the trainer's thread, and the one that brings files."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.afar.parts import cut
from pipelines.afar.words import FarTask, RunKnown
from pipelines.executors.base import Desk


class Line:
    """The worker's desk; whoever says something, answers get to whom they are meant for."""

    def __init__(self, desk: Desk) -> None:
        """Takes the desk."""
        self.desk = desk
        self._lock = threading.Lock()
        self._answers: list[Any] = []
        self._runs: dict[tuple[int, int, int], RunKnown] = {}

    def take(self) -> FarTask | None:
        """The next task that has come."""
        with self._lock:
            found: FarTask | None = self.desk.take()
            return found

    def offer(self, places: int) -> None:
        """Says that there is room."""
        with self._lock:
            self.desk.offer(places)

    def say(self, message: Any) -> None:
        """Says something. Answers are kept for whom they concern."""
        with self._lock:
            for answer in self.desk.say(message):
                if isinstance(answer, RunKnown):
                    self._runs[answer.trial, answer.attempt, answer.epoch] = answer
                else:
                    self._answers.append(answer)

    def answers(self) -> Sequence[Any]:
        """Answers to the trainer that it has not heard yet, the oldest first."""
        with self._lock:
            answers, self._answers = self._answers, []
        return answers

    def run(self, trial: int, attempt: int, epoch: int) -> RunKnown | None:
        """The run of an attempt, if it was told by now; once."""
        with self._lock:
            return self._runs.pop((trial, attempt, epoch), None)

    def send(self, path: Path, name: str, trial: int, attempt: int) -> None:
        """Sends a file; others may speak between two parts of it."""
        for part in cut(path, name, trial, attempt):
            self.say(part)
