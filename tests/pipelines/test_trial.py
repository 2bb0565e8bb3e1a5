"""A trial's life, fed with events: no TensorFlow, no server, no process."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import TrainingConfig
from pipelines.history import RunHistory, read_runs
from pipelines.records import CheckpointWritten, EpochEnded, Event, Started, TrialResult, TrialSpec, TrialState, Verdict
from pipelines.tracking.entries import FileKept, Logged
from pipelines.tracking.journal import Journal, read_all
from pipelines.tracking.run import Run
from pipelines.trial import Curves, TrialLife, flat_params, keep_picture
from tests.pipelines.scripted import BEGUN_MS, checkpoint, ended, epoch, metrics, spec_for, started

UID = "uid-00007"


class StubJudge:
    """Stops a trial at the epochs that it is told."""

    def __init__(self, *stops: int) -> None:
        self.stops = stops
        self.asked: list[tuple[int, int, float]] = []

    def should_stop(self, number: int, epoch: int, value: float) -> bool:
        self.asked.append((number, epoch, value))
        return epoch in self.stops


class Bench:
    """A trial on a journal, and what the journal says of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal.jsonl")
        self.spec = spec_for(folder / "trials", 7)
        self.judge = StubJudge()

    def life(self, spec: TrialSpec | None = None, curves: Curves | None = None) -> TrialLife:
        life = TrialLife(spec or self.spec, {"lr": 0.01}, Run(self.journal, UID), self.judge, curves)
        life.begin("tiny", "parent", {"regatta.study_uid": "uid"})
        return life

    def run(self) -> RunHistory:
        return read_runs(read_all(self.journal.path))[UID]

    def points(self, metric: str = "val_loss") -> list[tuple[int, float]]:
        """Every point as it was logged, in the order of the journal: a double one shows."""
        return [
            (entry.step, entry.metrics[metric])
            for entry in read_all(self.journal.path)
            if isinstance(entry, Logged) and metric in entry.metrics
        ]

    def kept(self) -> list[tuple[str, str]]:
        entries = [entry for entry in read_all(self.journal.path) if isinstance(entry, FileKept)]
        return [(Path(entry.path).name, entry.folder) for entry in entries]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


def feed(life: TrialLife, *events: Event) -> list[Verdict]:
    return [life.on_event(event) for event in events]


def train(life: TrialLife, spec: TrialSpec, losses: list[float], *, best: int | None, **how: Any) -> TrialResult:
    """A whole training that kept the checkpoint of epoch `best`."""
    feed(life, started(spec), *(epoch(spec, number, value) for number, value in enumerate(losses)))
    if best is not None:
        feed(life, checkpoint(spec, best))
    last = ended(spec, **how)
    feed(life, last)
    return life.close(last)


def test_a_training_in_good_order_is_complete_with_the_best_epoch_as_its_value(bench: Bench) -> None:
    result = train(bench.life(), bench.spec, [0.9, 0.4, 0.6], best=1)
    run = bench.run()

    assert (result.state, result.value, result.epoch, result.reason) == (TrialState.COMPLETE, 0.4, 1, None)
    assert run.status == "FINISHED"
    assert run.tags["regatta.state"] == "COMPLETE"
    assert "regatta.reason" not in run.tags
    assert bench.points() == [(0, 0.9), (1, 0.4), (2, 0.6)]
    assert run.summary == {
        "best.loss": pytest.approx(0.36),
        "best.val_loss": 0.4,
        "best.val_accuracy": 0.5,
        "best.epoch": 1.0,
        "seconds": 1.5,
    }


def test_value_checkpoint_and_digest_come_from_the_same_epoch(bench: Bench) -> None:
    result = train(bench.life(), bench.spec, [0.9, 0.4, 0.6], best=1)

    assert result.checkpoint is not None
    assert Path(result.checkpoint).read_bytes() == b"trial 7, attempt 1, epoch 1"
    assert bench.run().tags["regatta.checkpoint_sha256"] == result.checkpoint_sha256
    assert ("best.keras", "checkpoint") in bench.kept()
    assert bench.run().checkpoint(bench.folder) == Path(result.checkpoint)


def test_the_objective_may_be_one_that_should_grow(bench: Bench) -> None:
    spec = spec_for(bench.folder / "trials", 7, objective="val_accuracy", direction="maximize")
    life = bench.life(spec)
    for number, value in enumerate([0.5, 0.8, 0.7]):
        feed(life, EpochEnded(7, 1, number, metrics(1.0, val_accuracy=value), BEGUN_MS))
    feed(life, checkpoint(spec, 1))

    result = life.close(ended(spec))

    assert (result.state, result.value, result.epoch) == (TrialState.COMPLETE, 0.8, 1)


def test_a_pruned_trial_is_a_finished_run_that_says_so(bench: Bench) -> None:
    bench.judge = StubJudge(1)
    life = bench.life()

    verdicts = feed(life, started(bench.spec), epoch(bench.spec, 0, 0.9), epoch(bench.spec, 1, 0.8))
    feed(life, checkpoint(bench.spec, 1))
    result = life.close(ended(bench.spec, pruned=True))

    assert verdicts == [Verdict.GO_ON, Verdict.GO_ON, Verdict.STOP]
    assert bench.judge.asked == [(7, 0, 0.9), (7, 1, 0.8)]
    assert result.state is TrialState.PRUNED
    assert bench.run().status == "FINISHED"
    assert bench.run().tags["regatta.state"] == "PRUNED"
    assert "val_loss was no better" in bench.run().tags["regatta.reason"]


def test_a_trial_that_raises_is_a_failed_run_with_its_reason_and_traceback(bench: Bench) -> None:
    result = train(bench.life(), bench.spec, [0.9], best=None, error="ValueError: no such layer")
    run = bench.run()

    assert (result.state, result.reason) == (TrialState.FAILED, "ValueError: no such layer")
    assert run.status == "FAILED"
    assert run.tags["regatta.state"] == "FAILED"
    assert run.tags["regatta.reason"] == "ValueError: no such layer"
    assert ("traceback.txt", "") in bench.kept()
    assert "Traceback" in (Path(bench.spec.folder) / "traceback.txt").read_text()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trial_without_one_finite_value_is_pruned_and_has_no_best(bench: Bench, value: float) -> None:
    result = train(bench.life(), bench.spec, [value, value], best=None)

    assert (result.state, result.value, result.epoch, result.checkpoint) == (TrialState.PRUNED, None, None, None)
    assert result.reason == "val_loss was never a finite number"
    assert [step for step, _ in bench.points()] == [0, 1]
    assert bench.run().summary == {"seconds": 1.5}


def test_an_epoch_that_is_no_number_is_never_the_best(bench: Bench) -> None:
    result = train(bench.life(), bench.spec, [0.9, math.nan, 0.5, -math.inf], best=2)

    assert (result.state, result.value, result.epoch) == (TrialState.COMPLETE, 0.5, 2)


def test_of_equal_epochs_the_first_is_the_best(bench: Bench) -> None:
    result = train(bench.life(), bench.spec, [0.5, 0.5, 0.5], best=0)

    assert (result.state, result.epoch) == (TrialState.COMPLETE, 0)


@pytest.mark.parametrize(("kept", "found"), [(None, "none"), (0, "one of epoch 0")])
def test_a_trial_whose_checkpoint_is_not_of_its_best_epoch_fails_and_says_so(
    bench: Bench, kept: int | None, found: str
) -> None:
    result = train(bench.life(), bench.spec, [0.9, 0.4], best=kept)

    assert result.state is TrialState.FAILED
    assert result.reason == f"the best epoch is 1, but its checkpoint is missing ({found})"
    assert bench.run().status == "FAILED"


def test_an_epoch_without_the_objective_is_none_for_the_best(bench: Bench) -> None:
    life = bench.life()
    feed(life, EpochEnded(7, 1, 0, {"loss": 1.0, "learning_rate": 0.1}, BEGUN_MS))

    assert life.close(ended(bench.spec)).value is None
    assert bench.points("loss") == [(0, 1.0)]


def test_events_of_an_older_attempt_are_refused_and_told_to_stop(bench: Bench) -> None:
    old, new = bench.spec, spec_for(bench.folder / "trials", 7, attempt=2)
    life = bench.life()
    life.retry(new, "its process was ended by SIGKILL")

    verdicts = feed(life, epoch(old, 0, 0.1), checkpoint(old, 0), ended(old))

    assert verdicts == [Verdict.STOP] * 3
    assert bench.points() == []
    assert life.seconds == 0.0
    assert bench.judge.asked == []


def test_a_retried_trial_logs_each_epoch_once_and_says_what_was_lost(bench: Bench) -> None:
    new = spec_for(bench.folder / "trials", 7, attempt=2)
    life = bench.life()
    feed(life, started(bench.spec), epoch(bench.spec, 0, 0.9), epoch(bench.spec, 1, 0.3), checkpoint(bench.spec, 1))
    life.retry(new, "its process was ended by SIGKILL")

    result = train(life, new, [0.9, 0.3, 0.2], best=2)
    run = bench.run()

    assert bench.points() == [(0, 0.9), (1, 0.3), (2, 0.2)]
    assert (result.attempt, result.state, result.value, result.epoch) == (2, TrialState.COMPLETE, 0.2, 2)
    assert run.tags["regatta.attempt"] == "2"
    assert run.tags["regatta.lost.1"] == "its process was ended by SIGKILL"
    assert Path(result.checkpoint or "").read_bytes() == b"trial 7, attempt 2, epoch 2"


def test_the_best_of_a_lost_attempt_is_not_taken_over(bench: Bench) -> None:
    new = spec_for(bench.folder / "trials", 7, attempt=2)
    life = bench.life()
    feed(life, epoch(bench.spec, 0, 0.1), checkpoint(bench.spec, 0))
    life.retry(new, "gone")

    result = train(life, new, [0.5], best=0)

    assert (result.value, result.epoch) == (0.5, 0)
    assert Path(result.checkpoint or "").read_bytes() == b"trial 7, attempt 2, epoch 0"


def test_a_trial_given_up_is_failed_with_the_reason(bench: Bench) -> None:
    life = bench.life()
    feed(life, epoch(bench.spec, 0, 0.9))

    result = life.give_up("worker lost: SIGKILL")

    assert (result.state, result.reason) == (TrialState.FAILED, "worker lost: SIGKILL")
    assert bench.run().status == "FAILED"


def test_a_trial_taken_up_by_a_later_controller_logs_only_what_is_new(bench: Bench) -> None:
    feed(bench.life(), epoch(bench.spec, 0, 0.9), epoch(bench.spec, 1, 0.8))
    again = spec_for(bench.folder / "trials", 7, attempt=2)
    life = bench.life(again, bench.run().points())

    train(life, again, [0.9, 0.8, 0.7], best=2)

    assert bench.points() == [(0, 0.9), (1, 0.8), (2, 0.7)]
    assert life.curves["val_loss"] == [(0, 0.9), (1, 0.8), (2, 0.7)]


def test_an_interrupted_trial_is_killed_and_says_how_to_go_on(bench: Bench) -> None:
    bench.life().interrupt()

    assert bench.run().status == "KILLED"
    assert "resumes with the same command" in bench.run().tags["regatta.reason"]


def test_a_trial_that_was_interrupted_and_is_complete_now_says_nothing_of_it(bench: Bench) -> None:
    bench.life().interrupt()
    again = spec_for(bench.folder / "trials", 7, attempt=2)

    train(bench.life(again), again, [0.5], best=0)

    assert bench.run().status == "FINISHED"
    assert bench.run().as_trial("val_loss", None).reason is None


def test_the_picture_may_be_kept_after_the_run_is_closed(bench: Bench) -> None:
    train(bench.life(), bench.spec, [0.5], best=0)

    keep_picture(Run(bench.journal, UID), Path(bench.spec.folder), b"\x89PNG")

    assert ("loss_curve.png", "") in bench.kept()
    assert (Path(bench.spec.folder) / "loss_curve.png").read_bytes() == b"\x89PNG"
    assert bench.run().status == "FINISHED"


def test_files_of_a_model_checkpoint_callback_are_kept_beside_the_best(bench: Bench) -> None:
    life = bench.life()
    path = Path(bench.spec.folder) / "checkpoints" / "01-0.50.keras"

    feed(life, CheckpointWritten(7, 1, None, "callback", str(path), "0" * 64))

    assert bench.kept() == [("01-0.50.keras", "checkpoints")]


def test_folders_that_a_path_template_names_are_kept_too(bench: Bench) -> None:
    life = bench.life()
    saved = Path(bench.spec.folder) / "checkpoints"

    for name in ("e01/model.keras", "e02/model.keras"):
        feed(life, CheckpointWritten(7, 1, None, "callback", str(saved / name), "0" * 64))

    assert bench.kept() == [("model.keras", "checkpoints/e01"), ("model.keras", "checkpoints/e02")]


def test_a_run_begins_with_all_that_is_needed_to_train_it_again(bench: Bench) -> None:
    life = bench.life()
    feed(life, Started(7, 1, BEGUN_MS, {"regatta.device": "GPU:0"}))
    tags = bench.run().tags

    assert TrainingConfig.model_validate(json.loads(tags["regatta.config"])) == TrainingConfig.model_validate(
        bench.spec.config
    )
    assert json.loads(tags["regatta.sampled"]) == {"lr": 0.01}
    assert {name: tags[f"regatta.{name}"] for name in ("trial", "attempt", "state", "seed", "study_uid", "device")} == {
        "trial": "7", "attempt": "1", "state": "RUNNING", "seed": "100", "study_uid": "uid", "device": "GPU:0",
    }  # fmt: skip
    assert bench.run().parent == "parent"


def test_params_are_flat_and_all_text() -> None:
    assert flat_params({"a": {"b": {"c": 1e-3}, "d": [1, 2]}, "e": True, "f": None, "g": "relu"}) == {
        "a.b.c": "0.001",
        "a.d": "[1, 2]",
        "e": "true",
        "f": "null",
        "g": "relu",
    }
