"""A trial's life, fed with events: no TensorFlow, no server, no process."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.history import RunHistory, read_runs
from pipelines.params import dataset_input, flat_params, telling_params
from pipelines.recipe.config import TrainingConfig
from pipelines.records import (
    CallbackActed,
    CheckpointWritten,
    EpochEnded,
    Event,
    Failure,
    FileWritten,
    MachineSampled,
    PictureDrawn,
    Started,
    TrialResult,
    TrialSpec,
    TrialState,
    Verdict,
)
from pipelines.tracking.entries import CheckpointKept, FileKept, Logged, PictureKept
from pipelines.tracking.journal import Journal, read_all
from pipelines.tracking.run import Run
from pipelines.trial import Curves, TrialLife, Wanted, keep_picture
from tests.pipelines.scripted import BEGUN_MS, checkpoint, ended, epoch, metrics, spec_for, started

UID = "uid-00007"


class StubJudge:
    """Stops a trial at the epochs that it is told."""

    def __init__(self, *stops: int) -> None:
        self.stops = stops
        self.asked: list[tuple[int, int, float]] = []
        self.reported: list[tuple[int, int, float]] = []

    def report(self, number: int, epoch: int, value: float) -> None:
        self.reported.append((number, epoch, value))

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
        life.begin("tiny", "parent", {"regatta.study_uid": "uid"}, {"epochs": "4"})
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

    def pictures(self) -> list[tuple[str, str, int]]:
        """The attempt that drew it, series and step of every picture that is kept."""
        entries = [entry for entry in read_all(self.journal.path) if isinstance(entry, PictureKept)]
        return [(Path(entry.path).parts[-3], entry.key, entry.step) for entry in entries]

    def last(self) -> Logged:
        """What is logged as the run is closed."""
        return [entry for entry in read_all(self.journal.path) if isinstance(entry, Logged)][-1]

    def listed(self, spec: TrialSpec | None = None) -> Any:
        return json.loads((Path((spec or self.spec).folder) / "callback_events.json").read_text())


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
        "objective": 0.4,
        "best.val_loss": 0.4,
        "best.val_accuracy": 0.5,
        "best.epoch": 1.0,
        "seconds": 1.5,
        "tracking_seconds": 0.0,
        "system/checkpoint_bytes": 27.0,
    }


def test_value_checkpoint_and_digest_come_from_the_same_epoch(bench: Bench) -> None:
    result = train(bench.life(), bench.spec, [0.9, 0.4, 0.6], best=1)

    assert result.checkpoint is not None
    assert Path(result.checkpoint).read_bytes() == b"trial 7, attempt 1, epoch 1"
    assert bench.run().tags["regatta.checkpoint_sha256"] == result.checkpoint_sha256
    (kept,) = (entry for entry in read_all(bench.journal.path) if isinstance(entry, CheckpointKept))
    assert (kept.name, kept.step, kept.sha256) == ("checkpoint", 1, result.checkpoint_sha256)
    assert kept.metrics == metrics(0.4)
    logged = [entry for entry in read_all(bench.journal.path) if isinstance(entry, Logged) and entry.step == 1]
    assert kept.time_ms == logged[0].time_ms  # with it, these are the very points of the run
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
    assert result.reason == f"loss was {'not a number' if math.isnan(value) else 'infinite'} in epoch 0"
    assert result.failure is Failure.NOT_FINITE
    assert bench.run().tags["regatta.failure"] == "not_finite"
    assert [step for step, _ in bench.points()] == [0, 1]
    assert bench.run().summary == {"seconds": 1.5, "tracking_seconds": 0.0}


def test_an_objective_that_no_callback_put_into_the_epoch_is_said_to_be_missing(bench: Bench) -> None:
    life = bench.life()
    without = {name: value for name, value in metrics(0.1).items() if name != bench.spec.objective}
    feed(life, EpochEnded(7, 1, 0, without, BEGUN_MS + 1))

    result = life.close(ended(bench.spec))

    assert result.state is TrialState.PRUNED
    assert result.reason == f"{bench.spec.objective} was missing (no callback put it into the logs) in epoch 0"


@pytest.mark.parametrize("broken", ["loss", "val_loss"])
def test_an_epoch_that_is_no_number_prunes_its_trial_and_is_never_the_best(bench: Bench, broken: str) -> None:
    life = bench.life()
    feed(life, epoch(bench.spec, 0, 0.9))
    feed(life, EpochEnded(7, 1, 1, metrics(0.1) | {broken: math.nan}, BEGUN_MS + 1), checkpoint(bench.spec, 0))

    result = life.close(ended(bench.spec, pruned=True, failure=Failure.NOT_FINITE))

    assert (result.state, result.reason) == (TrialState.PRUNED, f"{broken} was not a number in epoch 1")
    assert result.value in (0.9, 0.1)
    assert [asked[1] for asked in bench.judge.asked] == [0]  # the study is spared what no pruner can compare


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

    result = life.give_up(Failure.LOST, "worker lost: SIGKILL", "its last words")

    assert (result.state, result.reason) == (TrialState.FAILED, "worker lost: SIGKILL")
    assert bench.run().status == "FAILED"
    assert bench.run().tags["regatta.failure"] == "lost_worker"
    assert ("log_tail.txt", "") in bench.kept()
    assert (Path(bench.spec.folder) / "log_tail.txt").read_text() == "its last words"


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
    assert bench.run().tags["regatta.reason"] == "the sweep was interrupted; the trial goes on with the same command"


def test_a_trial_that_was_interrupted_and_is_complete_now_says_nothing_of_it(bench: Bench) -> None:
    bench.life().interrupt()
    again = spec_for(bench.folder / "trials", 7, attempt=2)

    train(bench.life(again), again, [0.5], best=0)

    assert bench.run().status == "FINISHED"
    assert bench.run().as_trial("val_loss", None).reason is None


def test_the_picture_may_be_kept_after_the_run_is_closed(bench: Bench) -> None:
    train(bench.life(), bench.spec, [0.5], best=0)

    keep_picture(Run(bench.journal, UID), Path(bench.spec.folder), b"<svg/>")

    assert ("loss_curve.svg", "") in bench.kept()
    assert (Path(bench.spec.folder) / "loss_curve.svg").read_bytes() == b"<svg/>"
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


def act(spec: TrialSpec, epoch: int, label: str, action: str, text: str, value: float | None = None) -> CallbackActed:
    return CallbackActed(spec.number, spec.attempt, epoch, label, action, text, value)


def test_what_callbacks_did_is_in_the_run(bench: Bench) -> None:
    life = bench.life()
    feed(
        life,
        act(bench.spec, 1, "reducer", "reduced", "multiplied the learning rate by 0.5, to 0.005", 0.005),
        act(bench.spec, 2, "stopper", "stopped", "stopped at epoch 2: val_loss had not improved for 2 epochs", 0.4),
        act(bench.spec, 2, "stopper", "restored", "restored the weights of epoch 0", 0.0),
    )

    train(life, bench.spec, [0.4, 0.5, 0.6], best=0)

    assert ("callback_events.json", "") in bench.kept()
    assert bench.listed() == [
        {
            "epoch": 1,
            "callback": "reducer",
            "action": "reduced",
            "text": "multiplied the learning rate by 0.5, to 0.005",
            "value": 0.005,
        },
        {
            "epoch": 2,
            "callback": "stopper",
            "action": "stopped",
            "text": "stopped at epoch 2: val_loss had not improved for 2 epochs",
            "value": 0.4,
        },
        {
            "epoch": 2,
            "callback": "stopper",
            "action": "restored",
            "text": "restored the weights of epoch 0",
            "value": 0.0,
        },
    ]
    logged = bench.last()
    of_callbacks = ("reducer", "stopper")
    assert {name: value for name, value in logged.metrics.items() if name.startswith(of_callbacks)} == {
        "reducer.reductions": 1.0,
        "reducer.learning_rate": 0.005,
        "stopper.stopped_epoch": 2.0,
        "stopper.restored_epoch": 0.0,
    }
    assert {name: text for name, text in logged.tags.items() if "callback" in name} == {
        "regatta.callback.reducer": "multiplied the learning rate by 0.5, to 0.005",
        "regatta.callback.stopper": (
            "stopped at epoch 2: val_loss had not improved for 2 epochs; restored the weights of epoch 0"
        ),
    }


def test_a_run_whose_callbacks_did_nothing_says_nothing_of_them(bench: Bench) -> None:
    train(bench.life(), bench.spec, [0.5], best=0)

    assert bench.kept() == []
    assert not [name for name in (*bench.last().tags, *bench.last().metrics) if "callback" in name]


def test_what_a_lost_attempt_did_is_not_told_twice(bench: Bench) -> None:
    old, new = bench.spec, spec_for(bench.folder / "trials", 7, attempt=2)
    life = bench.life()
    feed(
        life, act(old, 0, "saver", "saved", "saved 01.keras", 1.0), act(old, 1, "saver", "saved", "saved 02.keras", 1.0)
    )
    life.retry(new, "gone")
    late = feed(life, act(old, 2, "saver", "saved", "saved 03.keras", 1.0))
    feed(life, act(new, 0, "saver", "saved", "saved 01.keras", 1.0))

    train(life, new, [0.5], best=0)

    assert late == [Verdict.STOP]
    assert [entry["text"] for entry in bench.listed(new)] == ["saved 01.keras"]
    assert bench.last().metrics["saver.saved"] == 1.0


def test_a_failed_trial_keeps_what_its_callbacks_did(bench: Bench) -> None:
    life = bench.life()
    feed(life, act(bench.spec, 0, "saver", "saved", "saved 01.keras", 1.0))

    life.give_up(Failure.LOST, "worker lost: SIGKILL")

    assert bench.run().tags["regatta.callback.saver"] == "saved 01.keras"


def test_files_that_belong_to_a_run_are_kept_where_they_say(bench: Bench) -> None:
    life = bench.life()

    feed(
        life,
        FileWritten(7, 1, str(Path(bench.spec.folder) / "model_summary.txt")),
        FileWritten(7, 1, str(Path(bench.spec.folder) / "a.csv"), "tables"),
        FileWritten(7, 2, str(Path(bench.spec.folder) / "other.csv"), "tables"),
    )

    assert bench.kept() == [("model_summary.txt", ""), ("a.csv", "tables")]


def drawn(spec: TrialSpec, *epochs: int, key: str = "surface") -> list[Event]:
    folder = Path(spec.folder) / "pictures"
    return [PictureDrawn(spec.number, spec.attempt, epoch, key, str(folder / f"{key}-{epoch}.png")) for epoch in epochs]


def test_pictures_are_kept_by_series_and_epoch(bench: Bench) -> None:
    life = bench.life()

    feed(life, *drawn(bench.spec, 0, 1), *drawn(bench.spec, 1, key="other"))

    assert bench.pictures() == [("7-1", "surface", 0), ("7-1", "surface", 1), ("7-1", "other", 1)]


def test_a_later_attempt_draws_no_epoch_a_second_time(bench: Bench) -> None:
    new = spec_for(bench.folder / "trials", 7, attempt=2)
    life = bench.life()
    feed(life, *drawn(bench.spec, 0, 1))
    life.retry(new, "gone")

    feed(life, *drawn(bench.spec, 2), *drawn(new, 0, 1, 2))

    assert bench.pictures() == [("7-1", "surface", 0), ("7-1", "surface", 1), ("7-2", "surface", 2)]


def test_a_later_controller_keeps_the_pictures_that_may_be_missing(bench: Bench) -> None:
    feed(bench.life(), *drawn(bench.spec, 0), epoch(bench.spec, 0, 0.9), epoch(bench.spec, 1, 0.8))
    again = spec_for(bench.folder / "trials", 7, attempt=2)
    life = bench.life(again, bench.run().points())

    feed(life, *drawn(again, 0, 1, 2))

    assert bench.pictures() == [("7-1", "surface", 0), ("7-2", "surface", 1), ("7-2", "surface", 2)]


def test_only_a_trial_that_may_win_has_a_rank(bench: Bench) -> None:
    train(bench.life(), bench.spec, [0.1, 0.2], best=0, pruned=True)
    assert bench.run().summary["best.val_loss"] == 0.1
    assert "objective" not in bench.run().summary

    life = bench.life()
    life.give_up(Failure.LOST, "worker lost")
    assert "objective" not in bench.run().summary

    wanted = Wanted(("val_loss",), lambda values: {"val_loss": values["val_loss"] - 0.05})
    life = TrialLife(bench.spec, {}, Run(bench.journal, UID), bench.judge, wanted=wanted)
    train(life, bench.spec, [0.1], best=0)
    assert bench.run().tags["regatta.feasible"] == "false"
    assert "objective" not in bench.run().summary


def test_a_trial_without_a_value_of_every_objective_has_no_rank(bench: Bench) -> None:
    bench.life()
    life = TrialLife(bench.spec, {}, Run(bench.journal, UID), bench.judge, wanted=Wanted(("val_loss", "val_auc")))
    train(life, bench.spec, [0.1], best=0)

    assert bench.run().summary["best.val_loss"] == 0.1
    assert "objective" not in bench.run().summary


def test_what_looks_into_a_model_is_a_curve_and_no_result(bench: Bench) -> None:
    life = bench.life()
    feed(life, EpochEnded(7, 1, 0, metrics(0.5, **{"diagnostics/dense/dead": 0.25}), BEGUN_MS))

    train(life, bench.spec, [], best=0)

    assert bench.points("diagnostics/dense/dead") == [(0, 0.25)]
    assert not [name for name in bench.run().summary if "diagnostics" in name]
    assert bench.run().summary["best.val_loss"] == 0.5


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


def test_the_params_of_a_run_are_those_that_somebody_chose() -> None:
    config = {"model": {"units": [8], "l2": 0.0, "activation": "relu"}, "epochs": 20, "callbacks": {}}
    found = telling_params(config, {"model": {"units": [3]}}, {"epochs": 1, "callbacks": {"gone": {"patience": 1}}})
    assert found == {"model.units": "[8]", "epochs": "20"}


def test_an_item_of_a_list_that_varies_by_itself_is_a_param_to_compare_trials_by() -> None:
    config = {"model": {"units": [48, 16], "dropout": 0.0}, "epochs": 20}
    said = {"model": {"units": {"0": 8, "2": 8}, "dropout": {"0": 0.1}, "gone": {"0": 1}}}
    assert telling_params(config, {"model": {"units": [8, 16]}}, said) == {
        "model.units": "[48, 16]",
        "model.units.0": "48",
    }


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ({"name": "digits", "test_share": 0.2}, "digits"),
        ({"name": "csv", "path": "tables/houses.csv", "target": "price"}, "houses.csv"),
        ({"name": "fashion_mnist", "path": None}, "fashion_mnist"),
        ({"name": "function", "function": "my_code:samples", "arguments": {"count": 9}}, "my_code:samples"),
    ],
)
def test_what_a_run_learns_from_is_called_as_people_know_it(dataset: dict[str, Any], name: str) -> None:
    found = dataset_input(dataset, "ab" * 32)

    assert (found["name"], found["digest"], found["context"]) == (name, "ab" * 8, "training")
    assert json.loads(found["source"]) == {"tags": flat_params(dataset)}
    assert dataset_input(dataset, "") == {}, "of data without a digest nothing is told"


def test_params_are_flat_and_all_text() -> None:
    assert flat_params({"a": {"b": {"c": 1e-3}, "d": [1, 2]}, "e": True, "f": None, "g": "relu"}) == {
        "a.b.c": "0.001",
        "a.d": "[1, 2]",
        "e": "true",
        "f": "null",
        "g": "relu",
    }


def test_what_the_machine_gave_and_what_the_time_went_to_is_in_the_run(bench: Bench) -> None:
    life = bench.life()
    feed(life, started(bench.spec), MachineSampled(7, 1, 12, {"system/memory_mb": 700.0}, BEGUN_MS))
    feed(life, epoch(bench.spec, 0, 0.5), checkpoint(bench.spec, 0))
    phases = {"build": 0.5, "fit": 0.75, "states": 0.125, "tracking": 0.0625}
    last = ended(bench.spec, phases=phases)
    feed(life, last)
    life.retry(spec_for(bench.folder / "trials", 7, attempt=2), "gone")
    again = spec_for(bench.folder / "trials", 7, attempt=2)

    train(life, again, [0.5], best=0, phases=phases)

    summary = bench.run().summary
    assert bench.points("system/memory_mb") == [(12, 700.0)]
    spent = {"seconds": 3.0, "tracking_seconds": 0.125, "system/seconds_build": 1.0, "system/seconds_fit": 1.5}
    assert {name: summary[name] for name in spent} == spent


def test_costs_that_are_objectives_and_bounds_that_are_broken_are_told_of_the_best_epoch(bench: Bench) -> None:
    asked: list[dict[str, float]] = []

    def violations(values: Any) -> dict[str, float]:
        asked.append(dict(values))
        return {"parameters": values["parameters"] - 500.0}

    wanted = Wanted(("val_loss", "parameters"), violations)
    life = TrialLife(bench.spec, {"lr": 0.01}, Run(bench.journal, UID), bench.judge, wanted=wanted, seconds=10.0)
    life.begin("tiny", "parent", {}, {})
    feed(life, Started(7, 1, BEGUN_MS, {"regatta.parameters": "800"}))
    feed(life, epoch(bench.spec, 0, 0.5), epoch(bench.spec, 1, 0.7), checkpoint(bench.spec, 0))
    last = ended(bench.spec)
    feed(life, last)

    result = life.close(last)

    assert result.values == {"val_loss": 0.5, "parameters": 800.0}
    assert result.violations == {"parameters": 300.0}
    assert asked[-1]["val_loss"] == 0.5
    assert asked[-1]["seconds"] == 11.5
    assert bench.run().summary["best.parameters"] == 800.0
    assert bench.run().tags["regatta.feasible"] == "false"
    assert json.loads(bench.run().tags["regatta.violations"]) == {"parameters": 300.0}
