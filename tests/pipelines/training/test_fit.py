from __future__ import annotations

import errno
import hashlib
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.callbacks.early_stopping import EarlyStopping
from pipelines.datasets.prepared import PreparedData
from pipelines.records import (
    CallbackActed,
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    Failure,
    FileWritten,
    MachineSampled,
    PictureDrawn,
    Started,
    Verdict,
)

Train = Callable[..., Any]
SCORING = {"name": "class", "path": "tests.pipelines.training.lanes.own_parts:Scoring", "adds": ["val_right"]}


def stop_at(epoch: int) -> Callable[[Event], Verdict]:
    return lambda event: Verdict.STOP if isinstance(event, EpochEnded) and event.epoch == epoch else Verdict.GO_ON


def metrics(trained: Any) -> list[dict[str, float]]:
    return [dict(event.metrics) for event in trained.of(EpochEnded)]


def validation_loss(keras: Any, digits: PreparedData, path: str) -> float:
    model = keras.saving.load_model(path)  # as anybody would, in safe mode
    _, validation = digits.read()
    found = model.evaluate(np.asarray(validation.x, np.float32), validation.y, verbose=0, return_dict=True)
    return float(found["loss"])


def test_a_training_tells_its_start_every_epoch_its_checkpoint_and_its_end(train: Train) -> None:
    trained = train(epochs=3)
    assert [type(event) for event in trained.events] == [
        Started, FileWritten, EpochEnded, EpochEnded, EpochEnded, CheckpointWritten, MachineSampled, Ended,
    ]  # fmt: skip
    assert {(event.trial, event.attempt) for event in trained.events} == {(5, trained.spec.attempt)}
    assert [event.epoch for event in trained.of(EpochEnded)] == [0, 1, 2]
    for logged in metrics(trained):
        assert set(logged) == {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
        assert all(math.isfinite(value) for value in logged.values())
        assert 0 <= logged["val_accuracy"] <= 1
    (ended,) = trained.of(Ended)
    assert (ended.error, ended.traceback, ended.pruned, ended.paused, ended.failure) == (None, None, False, False, None)
    assert set(ended.phases) == {"build", "states", "fit", "checkpoints", "tracking"}
    assert 0 < sum(ended.phases.values()) <= ended.seconds
    times = [event.time_ms for event in trained.events if not isinstance(event, CheckpointWritten | FileWritten)]
    assert times == sorted(times)


def test_the_start_tells_what_only_the_worker_knows(train: Train, keras: Any) -> None:
    (started,) = train(epochs=1).of(Started)
    assert started.facts["regatta.parameters"] == str((64 + 1) * 16 + (16 + 1) * 10)
    assert "CPU" in started.facts["regatta.device"]
    assert started.facts["regatta.keras"] == keras.__version__
    assert all(isinstance(value, str) for value in started.facts.values())


def test_kerass_summary_of_the_model_is_a_file_of_the_run(train: Train) -> None:
    (written,) = train(epochs=1).of(FileWritten)
    text = Path(written.path).read_text()
    assert written.folder == ""
    assert "hidden_1" in text
    assert "Total params: 1,210" in text


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"class_weight": {"3": 5.0}, "loss": "categorical_crossentropy"},
        {"dataset": "diabetes", "metrics": ["mae", "r2"]},
        {"dataset": "breast_cancer", "class_weight": "balanced"},
        {"callbacks": {"own": SCORING}},
    ],
    ids=str,
)
def test_data_from_disk_gives_the_curve_of_data_in_memory_to_the_last_digit(
    train: Train, keras: Any, tmp_path: Path, config: dict[str, Any]
) -> None:
    from pipelines.datasets.prepared import prepare
    from pipelines.recipe.config import TrainingConfig
    from pipelines.training.fit import FitTrainer

    spec = TrainingConfig.model_validate(config)
    data = prepare(spec.dataset, None, tmp_path / "data", spec.task)
    held = train(data=data.folder, batch_size=100, **config)
    events: list[Event] = []

    def emit(event: Event) -> Verdict:
        events.append(event)
        return Verdict.GO_ON

    FitTrainer(0).train(held.spec, emit)

    streamed = [dict(event.metrics) for event in events if isinstance(event, EpochEnded)]
    (started,) = [event for event in events if isinstance(event, Started)]
    assert streamed == metrics(held)
    assert started.facts["regatta.data"] == "streamed from disk"
    assert held.of(Started)[0].facts["regatta.data"] == "in memory"


def test_weights_of_classes_change_what_is_learned_and_not_what_is_measured(train: Train) -> None:
    plain, same, heavy = (train(class_weight=weight) for weight in (None, {"0": 1.0}, {"0": 20.0}))
    assert metrics(plain) == metrics(same) != metrics(heavy)
    first, other = metrics(plain)[0], metrics(heavy)[0]
    assert other["loss"] > first["loss"]  # the loss that is trained on counts the weights


def test_a_regression_is_learned_in_units_of_its_spread_and_measured_in_its_own(train: Train, tmp_path: Path) -> None:
    from pipelines.datasets.diabetes import Diabetes
    from pipelines.datasets.prepared import prepare

    data = prepare(Diabetes(), None, tmp_path / "data")
    last = metrics(
        train(data=data.folder, dataset="diabetes", metrics=["mse", "r2"], epochs=8, optimizer={"name": "sgd"})
    )[-1]
    variance = data.facts.target_deviation**2
    assert last["val_loss"] == pytest.approx(last["val_mse"] / variance, rel=1e-4)
    assert 0.2 < last["val_r2"] < 1  # plain SGD at 0.01 would leave a target of hundreds in no time


def test_points_of_the_plane_have_their_decision_surface_drawn_at_every_epoch(train: Train, tmp_path: Path) -> None:
    from pipelines.datasets.playground import Circle
    from pipelines.datasets.prepared import prepare

    data = prepare(Circle(samples=60), None, tmp_path / "data")
    drawn = train(data=data.folder, dataset={"name": "circle", "samples": 60}, model={"units": [4]}).of(PictureDrawn)
    assert [(event.epoch, event.key) for event in drawn] == [(epoch, "decision_surface") for epoch in range(3)]
    assert all(Path(event.path).read_bytes().startswith(b"\x89PNG") for event in drawn)
    chosen = {"surface": {"name": "decision_surface", "every": 2}}
    again = train(data=data.folder, dataset={"name": "circle", "samples": 60}, callbacks=chosen).of(PictureDrawn)
    assert [event.epoch for event in again] == [0, 2]


def test_a_small_model_learns_the_digits(train: Train) -> None:
    found = metrics(train(epochs=4, batch_size=16, optimizer={"name": "adam", "learning_rate": 0.01}))
    assert found[-1]["val_accuracy"] > 0.9
    assert found[-1]["val_loss"] < found[0]["val_loss"]


def test_the_same_config_gives_the_same_curve_bit_by_bit(train: Train) -> None:
    first, between, again = train(), train(seed=4), train()
    assert metrics(first) == metrics(again) != metrics(between)


def test_both_ways_to_build_a_model_give_the_same_curve(train: Train) -> None:
    sequential, functional = (train(epochs=2, model={"units": [8], "api": api}) for api in ("sequential", "functional"))
    assert metrics(sequential) == metrics(functional)


@pytest.mark.parametrize(
    ("objective", "direction", "best"),
    [("val_loss", "minimize", 2), ("loss", "maximize", 0), ("accuracy", "minimize", 0)],
)
def test_the_checkpoint_is_that_of_the_best_epoch_and_scores_its_very_loss(
    train: Train, keras: Any, digits: PreparedData, objective: str, direction: str, best: int
) -> None:
    trained = train(objective=objective, direction=direction)
    (written,) = trained.of(CheckpointWritten)
    assert (written.kind, written.epoch) == ("best", best)
    assert Path(written.path) == Path(trained.spec.folder) / "best.keras"
    assert hashlib.sha256(Path(written.path).read_bytes()).hexdigest() == written.sha256
    assert validation_loss(keras, digits, written.path) == pytest.approx(metrics(trained)[best]["val_loss"], abs=1e-6)


def test_the_checkpoint_keeps_the_optimizers_state_of_that_epoch(train: Train, keras: Any) -> None:
    trained = train(objective="loss", direction="maximize")
    (written,) = trained.of(CheckpointWritten)
    steps = -(-1149 // 64)
    assert int(keras.saving.load_model(written.path).optimizer.iterations) == steps * (written.epoch + 1) == steps


def test_a_verdict_to_stop_ends_after_that_epoch_with_every_callback_told(
    train: Train, keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    class Noting(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self, label: str) -> None:
            super().__init__()
            self.label = label

        def on_train_end(self, logs: Any = None) -> None:
            ended.append(self.label)

    monkeypatch.setattr(EarlyStopping, "build", lambda spec, around: Noting(spec.monitor))
    callbacks = {
        "one": {"name": "early_stopping", "monitor": "loss"},
        "two": {"name": "early_stopping", "monitor": "val_loss"},
    }
    trained = train(stop_at(1), epochs=9, callbacks=callbacks)
    assert [event.epoch for event in trained.of(EpochEnded)] == [0, 1]
    (written,) = trained.of(CheckpointWritten)
    assert written.epoch == 1
    (last,) = trained.of(Ended)
    assert trained.events[-1] is last
    assert (last.pruned, last.error) == (True, None)
    assert ended == ["loss", "val_loss"]


def test_a_stop_that_comes_with_the_last_epoch_has_stopped_nothing(train: Train) -> None:
    (ended,) = train(stop_at(1), epochs=2).of(Ended)
    assert not ended.pruned


OWN = """
def fails_at_one(epoch, rate):
    if epoch == 1:
        raise RuntimeError("the schedule broke\\n  with a second line")
    return rate

def not_a_number(epoch, rate):
    return "fast"
"""


@pytest.mark.parametrize(
    ("function", "epochs", "error"),
    [
        ("own_schedules:fails_at_one", [0], "RuntimeError: the schedule broke"),
        ("own_schedules:not_a_number", [], "ValueError: "),
    ],
)
def test_what_a_trial_raises_ends_it_alone(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, epochs: list[int], error: str
) -> None:
    (tmp_path / "own_schedules.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    schedule = {"learning_rate_scheduler": {"schedule": {"name": "function", "function": function}}}
    trained = train(callbacks=schedule)
    assert [event.epoch for event in trained.of(EpochEnded)] == epochs
    (ended,) = trained.of(Ended)
    assert trained.events[-1] is ended
    assert ended.error.startswith(error)
    assert "\n" not in ended.error
    assert ended.traceback.startswith("Traceback")
    assert not ended.pruned
    assert train(epochs=1).of(Ended)[0].error is None  # the trainer lives and trains as ever


def out_of_memory(epoch: int, rate: float) -> float:
    raise MemoryError


def disk_full(epoch: int, rate: float) -> float:
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise ValueError("the schedule could not be read") from error


@pytest.mark.parametrize(
    ("function", "failure"),
    [(out_of_memory, Failure.MEMORY), (disk_full, Failure.DISK)],
    ids=["memory", "disk"],
)
def test_an_error_is_told_with_its_kind(
    train: Train, monkeypatch: pytest.MonkeyPatch, function: Any, failure: Failure
) -> None:
    from pipelines.schedules.epochs import StepDecay

    monkeypatch.setattr(StepDecay, "build", lambda spec, epochs: function)
    trained = train(callbacks={"learning_rate_scheduler": {"schedule": "step"}})
    assert [type(event) for event in trained.events][-2:] == [MachineSampled, Ended]
    (ended,) = trained.of(Ended)
    assert (ended.failure, ended.pruned) == (failure, False)


def test_data_that_is_gone_ends_the_trial_alone(train: Train, tmp_path: Path) -> None:
    trained = train(data=tmp_path / "gone")
    sampled, ended = trained.events
    assert isinstance(sampled, MachineSampled)
    assert isinstance(ended, Ended)
    assert ended.error is not None
    assert ended.error.startswith("FileNotFoundError")
    assert ended.failure is Failure.ERROR


def test_a_config_that_is_none_ends_the_trial_alone(train: Train) -> None:
    from pipelines.training.fit import FitTrainer

    events: list[Event] = []

    def emit(event: Event) -> Verdict:
        events.append(event)
        return Verdict.GO_ON

    FitTrainer(1 << 30).train(replace(train(epochs=1).spec, config={"epochs": 0}), emit)
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert "ValidationError" in str(ended.error)
    assert not any(isinstance(event, Started) for event in events)


EXPLODING = {"name": "sgd", "learning_rate": 1e30}


@pytest.mark.parametrize("callbacks", [{}, {"terminate_on_nan": None}], ids=str)
def test_a_training_that_explodes_ends_after_that_epoch_without_a_best_one(
    train: Train, callbacks: dict[str, Any]
) -> None:
    trained = train(optimizer=EXPLODING, model={"units": [8], "activation": "linear"}, callbacks=callbacks)
    (logged,) = metrics(trained)
    assert not math.isfinite(logged["loss"])
    assert trained.of(CheckpointWritten) == []
    (ended,) = trained.of(Ended)
    assert (ended.pruned, ended.failure, ended.error) == (True, Failure.NOT_FINITE, None)


def test_a_training_that_explodes_late_keeps_the_best_epoch_before(train: Train) -> None:
    values = [1e-3, 1e30]
    rate = {"name": "piecewise", "boundary_epochs": [2], "values": values}
    model = {"units": [8], "activation": "linear"}
    trained = train(epochs=6, optimizer={"name": "sgd", "learning_rate": rate}, model=model)
    assert [math.isfinite(logged["loss"]) for logged in metrics(trained)] == [True, True, False]
    assert trained.of(Ended)[0].failure is Failure.NOT_FINITE
    assert trained.of(CheckpointWritten)[0].epoch == 1


NEVER_BETTER = {"min_delta": 1e9}


def test_early_stopping_stops(train: Train) -> None:
    trained = train(epochs=9, callbacks={"early_stopping": {"patience": 2, **NEVER_BETTER}})
    assert [event.epoch for event in trained.of(EpochEnded)] == [0, 1, 2]
    (ended,) = trained.of(Ended)
    assert not ended.pruned  # it was the trial's own decision
    assert trained.of(CheckpointWritten)[0].epoch == 2


def test_weights_that_early_stopping_restores_do_not_spoil_the_checkpoint(
    train: Train, keras: Any, digits: PreparedData
) -> None:
    restoring = {"early_stopping": {"patience": 2, "restore_best_weights": True, **NEVER_BETTER}}
    trained = train(epochs=9, callbacks=restoring)  # restores epoch 0, which is not the objective's best
    (written,) = trained.of(CheckpointWritten)
    assert written.epoch == 2
    assert validation_loss(keras, digits, written.path) == pytest.approx(metrics(trained)[2]["val_loss"], abs=1e-6)


def test_a_running_mean_of_the_weights_does_not_spoil_the_checkpoint(
    train: Train, keras: Any, digits: PreparedData
) -> None:
    trained = train(optimizer={"name": "adam", "use_ema": True, "ema_momentum": 0.9})
    (written,) = trained.of(CheckpointWritten)
    (loss,) = [logged["val_loss"] for logged in metrics(trained)][written.epoch : written.epoch + 1]
    assert validation_loss(keras, digits, written.path) == pytest.approx(loss, abs=1e-6)


def test_a_scheduled_rate_shows_in_the_epoch_it_was_used_in(train: Train) -> None:
    scheduler = {"learning_rate_scheduler": {"schedule": {"name": "step", "factor": 0.5, "every": 2}}}
    trained = train(epochs=5, optimizer={"name": "adam", "learning_rate": 0.004}, callbacks=scheduler)
    rates = [logged["learning_rate"] for logged in metrics(trained)]
    assert rates == pytest.approx([0.004, 0.004, 0.002, 0.002, 0.001], rel=1e-5)


def test_a_reduced_rate_shows_in_the_epoch_after(train: Train) -> None:
    reducer = {"reduce_lr_on_plateau": {"patience": 1, "factor": 0.5, **NEVER_BETTER}}
    trained = train(epochs=4, optimizer={"name": "adam", "learning_rate": 0.004}, callbacks=reducer)
    rates = [logged["learning_rate"] for logged in metrics(trained)]
    assert rates == pytest.approx([0.004, 0.004, 0.002, 0.001], rel=1e-5)


def test_the_rate_shows_without_any_callback(train: Train) -> None:
    trained = train(epochs=2, optimizer={"name": "sgd", "learning_rate": 0.25})
    assert [logged["learning_rate"] for logged in metrics(trained)] == [0.25, 0.25]


def test_files_of_a_checkpoint_callback_are_reported(train: Train, keras: Any, digits: PreparedData) -> None:
    trained = train(epochs=2, callbacks={"model_checkpoint": {"filepath": "each/{epoch:02d}-{val_loss:.2f}.keras"}})
    written = [event for event in trained.of(CheckpointWritten) if event.kind == "callback"]
    losses = [logged["val_loss"] for logged in metrics(trained)]
    folder = Path(trained.spec.folder) / "checkpoints" / "each"
    assert [Path(event.path) for event in written] == [
        folder / f"{epoch:02d}-{loss:.2f}.keras" for epoch, loss in enumerate(losses, start=1)
    ]
    for event, loss in zip(written, losses, strict=True):
        assert event.epoch is None
        assert hashlib.sha256(Path(event.path).read_bytes()).hexdigest() == event.sha256
        assert validation_loss(keras, digits, event.path) == pytest.approx(loss, abs=1e-6)
    assert [event.kind for event in trained.of(CheckpointWritten)].count("best") == 1
    assert isinstance(trained.events[-1], Ended)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"filepath": "best.weights.h5", "save_weights_only": True, "save_best_only": True}, ["best.weights.h5"]),
        ({"filepath": "{epoch}-{batch}.keras", "save_freq": 18}, ["1-18.keras", "2-18.keras"]),
        ({"filepath": "{epoch}.keras", "save_best_only": True, "initial_value_threshold": 1e-9}, []),
        ({"filepath": "{epoch}/model.keras"}, ["1/model.keras", "2/model.keras"]),
    ],
    ids=str,
)
def test_each_way_to_checkpoint_gives_its_files(train: Train, settings: dict[str, Any], names: list[str]) -> None:
    trained = train(epochs=2, callbacks={"model_checkpoint": settings})
    assert trained.of(Ended)[0].error is None
    folder = Path(trained.spec.folder) / "checkpoints"
    found = [str(Path(one.path).relative_to(folder)) for one in trained.of(CheckpointWritten) if one.kind == "callback"]
    assert found == names


def test_the_order_of_callbacks_is_that_of_the_recipe(
    train: Train, keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def build(spec: EarlyStopping, around: Any) -> Any:
        return keras.callbacks.LambdaCallback(on_train_begin=lambda logs: begun.append(spec.monitor))

    monkeypatch.setattr(EarlyStopping, "build", build)
    for order in (["loss", "val_loss"], ["val_loss", "loss"]):
        begun.clear()
        train(epochs=1, callbacks={f"watch_{name}": {"name": "early_stopping", "monitor": name} for name in order})
        assert begun == order


def test_a_metric_that_a_callback_adds_is_there_for_those_before_it_in_the_recipe(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_metric.py").write_text(
        "import keras\n\nclass Falling(keras.callbacks.Callback):\n"
        "    def on_epoch_end(self, epoch, logs=None):\n        logs['val_own'] = 5.0 - epoch\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    trained = train(
        epochs=5,
        callbacks={
            "early_stopping": {"monitor": "val_own", "mode": "max", "patience": 2},
            "mine": {"name": "class", "path": "own_metric:Falling", "adds": ["val_own"]},
        },
    )
    assert trained.of(Ended)[0].error is None
    assert [event.metrics["val_own"] for event in trained.of(EpochEnded)] == [5.0, 4.0, 3.0]


def test_a_callback_can_score_the_validation_samples(train: Train) -> None:
    trained = train(epochs=2, callbacks={"own": SCORING})

    assert trained.of(Ended)[0].error is None
    for event in trained.of(EpochEnded):
        assert event.metrics["val_right"] == pytest.approx(event.metrics["val_accuracy"], abs=1e-6)


def test_a_checkpoint_is_written_on_the_way_where_the_last_is_old(train: Train, keras: Any, tmp_path: Path) -> None:
    from pipelines.training.values import ModelValues
    from pipelines.training.watching import BestEpochKeeper

    events: list[Any] = []

    def emit(event: Event) -> Verdict:
        events.append(event)
        return Verdict.GO_ON

    spec = replace(train(epochs=1).spec, folder=str(tmp_path / "kept"), objective="loss")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    keeper = BestEpochKeeper(spec, emit, ModelValues(model), every_s=0.0)
    for epoch, loss in enumerate([3.0, 2.0, math.nan, 2.5]):
        keeper.on_epoch_end(epoch, {"loss": loss})
    assert [event.epoch for event in events] == [0, 1]
    keeper.finish()
    assert [event.epoch for event in events] == [0, 1]  # what is on disk is the best already


def test_the_file_of_a_loss_of_one_s_own_is_loaded_where_its_code_is_not(
    train: Train, keras: Any, digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_loss_here.py").write_text(
        "from keras.losses import sparse_categorical_crossentropy\n\n\ndef far(y_true, y_pred):\n"
        "    return sparse_categorical_crossentropy(y_true, y_pred)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = train(epochs=2, loss={"name": "function", "function": "own_loss_here:far"})
    usual = train(epochs=2)

    assert own.of(Ended)[0].error is None
    assert metrics(own) == metrics(usual)
    assert own.of(Started)[0].facts["regatta.loss"] == "own_loss_here:far"
    monkeypatch.delitem(sys.modules, "own_loss_here")
    (tmp_path / "own_loss_here.py").unlink()
    (kept,) = [one for one in own.of(CheckpointWritten) if one.kind == "best"]
    loaded = keras.saving.load_model(kept.path)
    assert not loaded.compiled
    _, validation = digits.read()
    expected = keras.saving.load_model(usual.of(CheckpointWritten)[0].path).predict(validation.x, verbose=0)
    assert loaded.predict(validation.x, verbose=0) == pytest.approx(expected, abs=1e-6)


def test_the_readmes_own_data_model_and_callback_train(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    from pipelines.datasets.prepared import prepare
    from pipelines.recipe.config import TrainingConfig

    text = (repository / "README.md").read_text()
    (own,) = re.findall(r"```python\n# my_code.py\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_code.py").write_text(own)
    monkeypatch.syspath_prepend(tmp_path)
    parts = {
        "dataset": {"name": "function", "function": "my_code:samples", "arguments": {"count": 400}},
        "model": {"name": "function", "function": "my_code:make", "arguments": {"width": 8}},
        "callbacks": {"mine": {"name": "class", "path": "my_code:MyCallback", "arguments": {"threshold": 99.0}}},
    }
    config = TrainingConfig.model_validate(parts)
    data = prepare(config.dataset, None, tmp_path / "data", config.task)

    trained = train(data=data.folder, **parts)

    assert trained.of(Ended)[0].error is None
    assert [event.epoch for event in trained.of(EpochEnded)] == [0]
    assert [(act.callback, act.action, act.text) for act in trained.of(CallbackActed)] == [
        ("mine", "note", "good enough at epoch 0"),
        ("mine", "stopped", "stopped at epoch 0"),
    ]
