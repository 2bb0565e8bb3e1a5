"""Where one MLflow server ends: how many runs, points and checkpoints a second it takes, however they come.

Fills a journal with runs that nobody trained, and has the real sender deliver it; then has checkpoints brought as nodes
bring them, from several connections at once. And how many words a second the controller's end of the lines takes, from
workers that do nothing but talk.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.executors.base import Answer, Loss, OneByOne, Worker
from pipelines.executors.processes import ProcessesExecutor
from pipelines.records import EpochEnded
from pipelines.stack import tracking_server
from pipelines.tracking import make_tracker
from pipelines.tracking.entries import CheckpointKept, Logged, RunBegun, RunEnded
from pipelines.tracking.journal import Journal
from pipelines.tracking.sender import Sender
from tests.benchmarks.parts import arguments, scratch, table, where

METRICS = ("accuracy", "loss", "val_accuracy", "val_loss", "learning_rate")
BEGUN_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Shape:
    """How much there is to be delivered."""

    runs: int
    epochs: int

    @property
    def points(self) -> int:
        """Of all metrics."""
        return self.runs * self.epochs * len(METRICS)


def write(journal: Journal, shape: Shape, study: str) -> list[str]:
    """Writes runs as a sweep does; returns what they are called."""
    journal.append(RunBegun(study, study, "sweep", BEGUN_MS))
    uids = [f"{study}-{number:05d}" for number in range(shape.runs)]
    for uid in uids:
        tags = {"regatta.trial": uid[-5:], "regatta.config": "{}" * 400}
        journal.append(RunBegun(uid, study, uid[-9:], BEGUN_MS, study, tags, {"learning_rate": "0.001"}))
        for epoch in range(shape.epochs):
            values = {name: 1.0 / (epoch + 1 + place) for place, name in enumerate(METRICS)}
            journal.append(Logged(uid, BEGUN_MS + epoch, epoch, values))
        journal.append(RunEnded(uid, BEGUN_MS + shape.epochs, "FINISHED"))
    return uids


def deliver(server: str, shape: Shape, study: str, root: Path) -> tuple[float, dict[str, str]]:
    """Seconds that the delivery took, and the server's ids of the runs."""
    path = root / study / "journal.jsonl"
    with closing(Journal(path)) as journal:
        uids, written = write(journal, shape, study), journal.written
    with closing(Sender(path, make_tracker(server), server)) as sender:
        begun = time.perf_counter()
        sender.start()
        while not sender.flush(written, 20.0):
            print(f"  {sender.delivered} of {written} entries are delivered {sender.problem or ''}", flush=True)
        took = time.perf_counter() - begun
        assert not sender.refused, sender.refused
        return took, {uid: str(sender.run_id(uid)) for uid in uids}


def bring(server: str, runs: dict[str, str], kilobytes: int, connections: int, root: Path) -> float:
    """Seconds that it took until each run had a checkpoint, brought as a node does it."""
    tracker = make_tracker(server)
    path = root / "best.keras"
    path.write_bytes(os.urandom(kilobytes << 10))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def one(uid: str) -> None:
        entry = CheckpointKept(uid, BEGUN_MS, path.name, "checkpoint", 0, digest, {"val_loss": 0.5}, True)
        tracker.keep_checkpoint(runs[uid], path, entry, suspect=False)

    begun = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(one, runs))
    return time.perf_counter() - begun


def talk(words: int, task: int, say: Answer) -> None:
    """A worker that tells epochs as fast as it can."""
    values = dict.fromkeys(METRICS, 0.5)
    for epoch in range(words):
        say(EpochEnded(task, 1, epoch, values, BEGUN_MS + epoch))


def make_talker(words: int) -> Worker:
    """Makes one."""
    return OneByOne(partial(talk, words))


class Listener:
    """A handler that counts."""

    def __init__(self) -> None:
        self.ready: list[int] = []
        self.rests = self.words = 0

    def on_room(self, worker: int, places: int) -> None:
        self.ready.append(worker)

    def on_rest(self, worker: int, tasks: int) -> None:
        self.rests += 1

    def on_message(self, worker: int, message: Any) -> Any:
        self.words += 1

    def on_lost(self, worker: int, loss: Loss) -> None:
        raise RuntimeError(loss.reason)


def listen(workers: int, words: int, root: Path) -> tuple[float, float]:
    """Words a second that the controller takes from so many workers, and a second of its own processor time."""
    executor, handler = ProcessesExecutor(partial(make_talker, words), [{}] * workers, logs=root / "logs"), Listener()
    executor.start(handler)
    try:
        while len(handler.ready) < workers:
            executor.wait(0.2)
        begun, computed = time.perf_counter(), time.thread_time()
        for worker in range(workers):
            executor.assign(worker, worker)
        while handler.rests < workers:
            executor.wait(0.2)
        wall, cpu = time.perf_counter() - begun, time.thread_time() - computed
    finally:
        executor.close()
    return handler.words / wall, handler.words / cpu


def main(given: Sequence[str] | None = None) -> None:
    """Measures, and prints tables."""
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--server", help="address of an MLflow server; the local one, started if need be, if left out")
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=2000, help="of each of the long runs")
    parser.add_argument("--kilobytes", type=int, default=200, help="of a checkpoint")
    parser.add_argument("--words", type=int, default=20_000, help="of each worker that talks")
    parser.add_argument("--study", default=f"scale-{int(time.time())}", help="beginning of the experiments' names")
    chosen = parser.parse_args(given)
    server = chosen.server or tracking_server(wait=True)
    print(f"{server.split('@')[-1]}; {where()}", flush=True)
    rows: list[list[Any]] = []
    with scratch() as root:
        runs: dict[str, str] = {}
        for name, shape in (("short", Shape(chosen.runs, 10)), ("long", Shape(20, chosen.epochs))):
            took, ids = deliver(server, shape, f"{chosen.study}-{name}", root)
            runs = runs or ids
            rows.append([f"{name} runs", shape.runs, shape.epochs, took, shape.runs / took, shape.points / took])
        print(table(["", "runs", "epochs", "seconds", "runs/s", "points/s"], rows), flush=True)
        some = dict(list(runs.items())[: max(8, chosen.runs // 4)])
        rows = []
        for connections in (1, 4):
            took = bring(server, some, chosen.kilobytes, connections, root)
            rows.append([connections, len(some), took, len(some) / took, 1000 * took * connections / len(some)])
        print(table(["connections", "checkpoints", "seconds", "a second", "ms each"], rows), flush=True)
        rows = [[workers, *listen(workers, chosen.words, root / str(workers))] for workers in (1, 2, 8)]
        print(table(["workers that talk", "words/s", "words a CPU second"], rows), flush=True)


if __name__ == "__main__":
    main()
