"""One training outside a sweep: from a recipe, or again from what a run logged, and tracked like any trial."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines import devices
from pipelines.datasets.prepared import prepare
from pipelines.errors import ConfigError, Mistake
from pipelines.executors.base import Loss, LossKind
from pipelines.executors.processes import ProcessesExecutor
from pipelines.history import read_runs
from pipelines.home import Home, StudyFolder, user_data_folder
from pipelines.own.digest import code_tags, own_code
from pipelines.params import telling_params
from pipelines.pictures import loss_curve
from pipelines.recipe.config import Execution, Objective, SweepConfig, TrainingConfig
from pipelines.recipe.kept import need_code, read_kept
from pipelines.recipe.reading import check_with_data
from pipelines.records import Ended, EpochEnded, Event, Failure, TrialResult, TrialSpec
from pipelines.repetition import Recorded, Repetition
from pipelines.stack import tracking_server
from pipelines.telling import say
from pipelines.tracking import make_tracker
from pipelines.tracking.addresses import run_address, without_secrets
from pipelines.tracking.journal import Journal, read_all
from pipelines.tracking.run import Run
from pipelines.tracking.runs import read_curve, read_run
from pipelines.tracking.sender import Sender
from pipelines.trial import TrialLife, keep_picture
from pipelines.worker import TrialWorker, WorkerSettings, environment

if TYPE_CHECKING:
    from rich.console import Console

_DELIVERY_S = 120.0


@dataclass(frozen=True)
class Training:
    """What to train.

    Attributes:
        experiment: Where its run goes.
        config: The training config.
        objective: What makes an epoch the best.
        threads: Cores to use; sums come out the same only with the same number.
        again: What was recorded of the run that this repeats, or None.
        execution: How much memory of which kind it may use.
    """

    experiment: str
    config: TrainingConfig
    objective: Objective
    threads: int
    again: Recorded | None = None
    execution: Execution = field(default_factory=Execution)


@dataclass(frozen=True)
class Trained:
    """What came of it."""

    result: TrialResult
    run_id: str | None
    address: str | None
    folder: str
    again: Repetition | None = None

    def to_json(self) -> dict[str, Any]:
        """The summary of `train --json`."""
        result = self.result
        return {
            "run_id": self.run_id,
            "state": result.state.value,
            "epoch": result.epoch,
            "value": result.value,
            "checkpoint": result.checkpoint,
            "reason": result.reason,
            **({} if self.again is None else {"again": self.again.to_json()}),
        }


def from_recipe(recipe: SweepConfig) -> Training:
    """The base training config of a recipe; what varies in it is left aside."""
    config = TrainingConfig.model_validate(recipe.training())
    return Training(recipe.study, config, recipe.objective, devices.cores(), execution=recipe.execution)


def from_run(run_id: str) -> Training:
    """What a run of Regatta's trained, read back from the tracking server.

    Raises:
        TrackingError: There is no such run.
        ConfigError: The run is none of a training, or of another version of Regatta.
    """
    server = tracking_server(wait=True)
    logged = read_run(server, run_id)
    whose = f"run '{run_id}'"
    try:
        kept = json.loads(logged.tags["regatta.config"])
        config = read_kept(TrainingConfig, kept, whose)
        objective = read_kept(Objective, json.loads(logged.tags["regatta.objective"]), whose)
    except KeyError as missing:
        text = f"{whose} is no training of Regatta's: it has no tag {missing}. Give the id of a trial's run"
        raise ConfigError("train", [Mistake("--run", text)]) from None
    except ValueError as error:
        text = f"the config that {whose} logged is no JSON: {error}"
        raise ConfigError("train", [Mistake("--run", text)]) from None
    need_code(TrainingConfig, kept, whose)
    threads = int(logged.tags.get("regatta.threads", devices.cores()))
    epoch = logged.metrics.get("best.epoch")
    recorded = Recorded(
        run_id,
        objective.metric,
        objective.sense,
        logged.metrics.get(f"best.{objective.metric}"),
        None if epoch is None else int(epoch),
        read_curve(server, run_id, objective.metric),
        logged.tags,
    )
    return Training(logged.experiment, config, objective, threads, recorded)


def train(training: Training, console: Console) -> Trained:
    """Trains once and tracks it.

    Raises:
        RegattaError: The data cannot be had, or the run cannot be recorded.
    """
    home = Home.from_environment()
    folder = home.training(f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    with ExitStack() as open_rooms:
        open_rooms.enter_context(folder.locked())
        data = prepare(training.config.dataset, user_data_folder(), home.data, training.config.task)
        check_with_data(training.config, data.facts, training.experiment)
        server = tracking_server(wait=False)
        sender = Sender(folder.journal, make_tracker(server), server)
        journal = Journal(folder.journal, on_append=sender.wake)
        open_rooms.callback(journal.close)
        open_rooms.callback(sender.close)
        sender.start()
        objective = training.objective
        config = training.config.model_dump(mode="json")
        spec = TrialSpec(0, 1, config, str(data.folder), str(folder.trial(0, 1)), objective.metric, objective.sense)
        run = Run(journal, secrets.token_hex(6))
        life = TrialLife(spec, {}, run, _NeverStops())
        tags = {
            "regatta.kind": "training",
            "regatta.dataset_sha256": data.sha256,
            "regatta.split_sha256": data.split_sha256,
            **code_tags(own_code(config)),
        }
        tags |= {"regatta.again": training.again.run_id} if training.again else {}
        life.begin(training.experiment, None, tags, telling_params(config, training.config.said()))
        found = devices.gpus()
        executor = ProcessesExecutor(
            partial(
                TrialWorker,
                WorkerSettings(training.threads, training.execution.gpu_memory_mb, training.execution.data_memory_mb),
            ),
            [environment(training.threads, found[0] if found else None)],
            logs=folder.logs,
        )
        open_rooms.callback(executor.close)
        result = _Follower(executor, life, console, training.config.epochs).run()
        if life.curves:
            picture = loss_curve(life.curves, title=f"{training.experiment} training", best_epoch=result.epoch)
            keep_picture(run, folder.trial(0, 1), picture)
        if not sender.flush(journal.written, _DELIVERY_S):
            told = f"The run is safe in {folder.journal}, but {without_secrets(server)} has not taken all of it."
            say(console, told, "yellow")
        run_id, experiment_id = sender.run_id(run.uid), sender.experiment_id(training.experiment)
        address = run_address(server, experiment_id, run_id) if run_id and experiment_id else None
        return Trained(result, run_id, address, str(folder.root), _held_against(training.again, life, folder))


def _held_against(recorded: Recorded | None, life: TrialLife, folder: StudyFolder) -> Repetition | None:
    """What came out now beside what was recorded; what the worker knows of its run stands in the journal."""
    if recorded is None:
        return None
    tags = read_runs(read_all(folder.journal))[life.run.uid].tags
    return Repetition(recorded, dict(life.curves.get(recorded.metric, ())), tags)


class _NeverStops:
    """The judge of a training that competes with nobody."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """Nobody compares it."""

    def should_stop(self, number: int, epoch: int, value: float) -> bool:
        """Never."""
        return False


class _Follower:
    """Follows one training in one worker to its end."""

    def __init__(self, executor: ProcessesExecutor, life: TrialLife, console: Console, epochs: int) -> None:
        self._executor = executor
        self._life = life
        self._console = console
        self._epochs = epochs
        self._begun = False
        self._results: list[TrialResult] = []

    def run(self) -> TrialResult:
        """Trains, and returns what came of it."""
        self._executor.start(self)
        try:
            while not self._results:
                self._executor.wait(0.2)
        except BaseException:
            self._life.interrupt()
            raise
        return self._results[0]

    def on_room(self, worker: int, places: int) -> None:
        """Hands out the training, once."""
        if not self._begun:
            self._begun = True
            self._executor.assign(worker, self._life.spec)

    def on_rest(self, worker: int, tasks: int) -> None:
        """Fails a training that ended without a word."""
        if not self._results:
            self.on_lost(worker, Loss("it stopped working on the training and did not say why"))

    def on_message(self, worker: int, message: Event) -> None:
        """Notes an event."""
        self._life.on_event(message)
        if isinstance(message, EpochEnded):
            metrics = "  ".join(f"{name} {value:.4g}" for name, value in message.metrics.items())
            place = f"epoch {message.epoch} ({message.epoch + 1} of {self._epochs})"
            say(self._console, f"{place}  {metrics}")
        if isinstance(message, Ended):
            self._results.append(self._life.close(message))

    def on_lost(self, worker: int, loss: Loss) -> None:
        """Fails the training: there is nobody who would want it tried again unasked."""
        if self._begun:
            failure = Failure.MEMORY if loss.kind is LossKind.MEMORY else Failure.LOST
            self._results.append(
                self._life.give_up(failure, f"worker lost: {loss.reason}", self._executor.log_tail(worker))
            )
