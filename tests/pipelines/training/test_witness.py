from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.training.base import Emit
from tests.pipelines.small_training import STEPS, Heard, attempt, build, fit, model, surroundings

NEVER_BETTER = {"min_delta": 1e9}


def witnessed(callbacks: Mapping[str, Any], emit: Emit, folder: Path) -> list[Any]:
    from pipelines.training.witness import witnessed  # imports Keras

    return witnessed(callbacks, attempt(folder), emit, folder)


def heard(
    keras: Any, tmp_path: Path, callbacks: Mapping[str, Any], epochs: int = 8, rate: float = 0.01, made: Any = None
) -> Heard:
    """Trains with callbacks, given as a recipe has them or built, and returns what is told of them."""
    around, events = surroundings(tmp_path / "checkpoints", epochs), Heard()
    settings = {label: one for label, one in callbacks.items() if isinstance(one, dict)}
    built = {**callbacks, **build(settings, around)}
    made = made or model(keras, optimizer=keras.optimizers.Adam(rate))
    fit(made, witnessed(built, events, around.folder), epochs)
    return events


def test_early_stopping_is_told_with_its_reason_and_what_it_restored(keras: Any, tmp_path: Path) -> None:
    stopper = {"name": "early_stopping", "patience": 3, "restore_best_weights": True, **NEVER_BETTER}
    events = heard(keras, tmp_path, {"stopper": stopper})
    stopped, restored = events
    assert (stopped.trial, stopped.attempt, stopped.epoch, stopped.callback, stopped.action) == (
        5, 1, 3, "stopper", "stopped",
    )  # fmt: skip
    assert stopped.text == "stopped at epoch 3: val_loss had not improved for 3 epochs"
    assert isinstance(stopped.value, float)
    assert 0 < stopped.value < 10  # the best loss
    assert (restored.epoch, restored.action, restored.value) == (3, "restored", 0.0)
    assert restored.text == "restored the weights of epoch 0"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"patience": 0, **NEVER_BETTER}, "stopped at epoch 1: val_loss had not improved for 1 epoch"),
        (
            {"patience": 3, "baseline": 1e-9, **NEVER_BETTER},
            "stopped at epoch 2: val_loss had not improved past the baseline 1e-09 for 3 epochs",
        ),
        (  # a baseline that was passed is no reason
            {"patience": 2, "baseline": 100, "min_delta": 5},
            "stopped at epoch 2: val_loss had not improved for 2 epochs",
        ),
        ({"patience": 2, "monitor": "loss", **NEVER_BETTER}, "stopped at epoch 2: loss had not improved for 2 epochs"),
    ],
    ids=str,
)
def test_a_stop_says_why(keras: Any, tmp_path: Path, settings: dict[str, Any], text: str) -> None:
    (stopped,) = heard(keras, tmp_path, {"one": {"name": "early_stopping", **settings}})
    assert stopped.text == text


def test_the_best_weights_are_not_restored_where_they_are_there_already(keras: Any, tmp_path: Path) -> None:
    stopper = {"name": "early_stopping", "patience": 9, "restore_best_weights": True}
    assert heard(keras, tmp_path, {"stopper": stopper}, epochs=3) == []


def test_each_reduction_is_told_with_factor_rate_and_reason(keras: Any, tmp_path: Path) -> None:
    reducer = {"name": "reduce_lr_on_plateau", "patience": 2, "factor": 0.5, "min_lr": 0.003, **NEVER_BETTER}
    events = heard(keras, tmp_path, {"reducer": reducer}, epochs=9)
    reason = "val_loss had not improved for 2 epochs"
    assert events.told("reducer") == [
        (2, f"multiplied the learning rate by 0.5, to 0.005: {reason}"),
        (4, f"multiplied the learning rate by 0.6, to 0.003: {reason}"),
    ]
    assert [act.action for act in events] == ["reduced"] * 2
    assert [act.value for act in events] == pytest.approx([0.005, 0.003])


def test_a_scheduler_is_told_where_it_changes_the_rate(keras: Any, tmp_path: Path) -> None:
    schedule = {"name": "one_cycle", "warmup_epochs": 1, "decay_epochs": 2, "start": 0.5, "alpha": 0.5}
    scheduler = {"name": "learning_rate_scheduler", "schedule": schedule}
    events = heard(keras, tmp_path, {"scheduler": scheduler}, epochs=6)
    assert [(act.epoch, act.action, act.text) for act in events] == [
        (0, "reduced", "set the learning rate to 0.005; it was 0.01"),
        (1, "raised", "set the learning rate to 0.01; it was 0.005"),
        (2, "reduced", "set the learning rate to 0.0075; it was 0.01"),
        (3, "reduced", "set the learning rate to 0.005; it was 0.0075"),
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"filepath": "{epoch:02d}.keras"}, [(0, "saved 01.keras"), (1, "saved 02.keras"), (2, "saved 03.keras")]),
        ({"filepath": "in/best.keras"}, [(epoch, "saved in/best.keras") for epoch in range(3)]),
        (
            {"filepath": "{epoch}-{batch}.keras", "save_freq": STEPS},
            [(0, "saved 1-3.keras"), (1, "saved 2-3.keras"), (2, "saved 3-3.keras")],
        ),
        (
            {"filepath": "{batch}-{epoch}.weights.h5", "save_freq": 1, "save_weights_only": True},
            [
                (0, "saved 1-1.weights.h5, 2-1.weights.h5, 3-1.weights.h5"),
                (1, "saved 1-2.weights.h5, 2-2.weights.h5, 3-2.weights.h5"),
                (2, "saved 1-3.weights.h5, 2-3.weights.h5, 3-3.weights.h5"),
            ],
        ),
        ({"filepath": "{epoch}.keras", "save_best_only": True, "initial_value_threshold": 1e-9}, []),
    ],
    ids=str,
)
def test_files_are_told_as_they_are_written(
    keras: Any, tmp_path: Path, settings: dict[str, Any], told: list[tuple[int, str]]
) -> None:
    events = heard(keras, tmp_path, {"saver": {"name": "model_checkpoint", **settings}}, epochs=3)
    assert events.told("saver") == told
    assert {act.action for act in events} <= {"saved"}
    assert [act.value for act in events] == [text.count(",") + 1 for _, text in told]


def test_who_of_several_savers_wrote_is_known(keras: Any, tmp_path: Path) -> None:
    callbacks = {
        "by_batch": {"name": "model_checkpoint", "filepath": "b/{epoch}.keras", "save_freq": STEPS},
        "by_epoch": {"name": "model_checkpoint", "filepath": "e/{epoch}.keras"},
    }
    events = heard(keras, tmp_path, callbacks, epochs=2)
    assert [(act.callback, act.text) for act in events] == [
        ("by_batch", "saved b/1.keras"),
        ("by_epoch", "saved e/1.keras"),
        ("by_batch", "saved b/2.keras"),
        ("by_epoch", "saved e/2.keras"),
    ]


def test_what_is_written_within_an_epoch_is_not_put_down_to_who_writes_when_one_ends(
    keras: Any, tmp_path: Path
) -> None:
    callbacks = {
        "by_batch": {"name": "model_checkpoint", "filepath": "{epoch}-{batch}.keras", "save_freq": STEPS},
        "by_epoch": {"name": "model_checkpoint", "filepath": "{epoch}.keras"},  # into the same folder
    }
    events = heard(keras, tmp_path, callbacks, epochs=2)
    assert [(act.callback, act.text) for act in events] == [
        ("by_batch", "saved 1-3.keras"),
        ("by_epoch", "saved 1.keras"),
        ("by_batch", "saved 2-3.keras"),
        ("by_epoch", "saved 2.keras"),
    ]


@pytest.mark.parametrize("first", ["own", "saver"])
def test_a_file_that_bears_a_checkpoint_s_name_is_that_of_the_checkpoint(
    keras: Any, tmp_path: Path, first: str
) -> None:
    class Writes(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            (tmp_path / "checkpoints").mkdir(exist_ok=True)
            (tmp_path / "checkpoints" / "notes.txt").write_text("x" * self.model.optimizer.iterations.numpy())

    saver = {"name": "model_checkpoint", "filepath": "{epoch}-{batch}.keras", "save_freq": STEPS}
    callbacks = {"own": Writes(), "saver": saver}
    events = heard(keras, tmp_path, {first: callbacks[first], **callbacks}, epochs=2)
    assert events.told("own") == [(0, "saved notes.txt"), (1, "saved notes.txt")]
    assert events.told("saver") == [(0, "saved 1-3.keras"), (1, "saved 2-3.keras")]


def test_many_files_at_once_are_counted(keras: Any, tmp_path: Path) -> None:
    class Writes(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            (tmp_path / "checkpoints").mkdir()
            for number in range(5):
                (tmp_path / "checkpoints" / f"{number}.txt").write_text("x")

    (saved,) = heard(keras, tmp_path, {"own": Writes()}, epochs=1)
    assert (saved.text, saved.value) == ("saved 0.txt, 1.txt, 2.txt and 2 more", 5.0)


def test_a_loss_that_is_no_number_is_told_with_its_batch(keras: Any, tmp_path: Path) -> None:
    made = model(keras, optimizer=keras.optimizers.SGD(1e38))
    events = heard(keras, tmp_path, {"guard": {"name": "terminate_on_nan"}}, made=made)
    (stopped,) = events.of("guard")
    assert (stopped.epoch, stopped.action) == (0, "stopped")
    assert re.fullmatch(r"stopped at epoch 0: the loss was (nan|inf) in batch [12]", stopped.text)


def test_of_two_that_would_stop_the_first_is_told(keras: Any, tmp_path: Path) -> None:
    stopper = {"name": "early_stopping", "patience": 1, **NEVER_BETTER}
    events = heard(keras, tmp_path, {"one": stopper, "two": stopper})
    assert [act.callback for act in events] == ["one"]


def test_a_schedule_in_the_optimizer_is_no_callbacks_doing(keras: Any, tmp_path: Path) -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.9)
    made = model(keras, optimizer=keras.optimizers.SGD(schedule))
    assert heard(keras, tmp_path, {"stopper": {"name": "early_stopping", "patience": 9}}, 3, made=made) == []


def test_what_a_callback_of_ones_own_does_is_told_too(keras: Any, tmp_path: Path) -> None:
    class Own(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.notes: list[str] = []

        def on_train_begin(self, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 0.5

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.model.optimizer.learning_rate = 0.25

        def on_test_end(self, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 0.125

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            (tmp_path / "checkpoints").mkdir(exist_ok=True)
            (tmp_path / "checkpoints" / "mine.txt").write_text("x" * (epoch + 1))
            self.notes.append(f"looked at epoch {epoch}")
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs: Any = None) -> None:
            self.model.set_weights([weight * 0 for weight in self.model.get_weights()])

    events = heard(keras, tmp_path, {"mine": Own()})
    assert [(act.epoch, act.action, act.text) for act in events.of("mine")] == [
        (0, "raised", "set the learning rate to 0.5; it was 0.01"),
        (0, "moved", "set the learning rate to 0.125"),
        (0, "saved", "saved mine.txt"),
        (0, "note", "looked at epoch 0"),
        (1, "raised", "set the learning rate to 0.25; it was 0.125"),
        (1, "moved", "set the learning rate to 0.125"),
        (1, "saved", "saved mine.txt"),
        (1, "note", "looked at epoch 1"),
        (1, "stopped", "stopped at epoch 1"),
        (1, "restored", "put other weights into the model at the end"),
    ]


def test_a_rate_that_moves_with_every_batch_is_told_once_an_epoch(keras: Any, tmp_path: Path) -> None:
    class Cycling(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 0.1 / (batch + 1)

    others = {"guard": {"name": "terminate_on_nan"}, "stopper": {"name": "early_stopping", "patience": 9}}
    events = heard(keras, tmp_path, {**others, "cycling": Cycling()}, epochs=2)
    assert [(act.epoch, act.callback, act.action, act.text) for act in events] == [
        (epoch, "cycling", "moved", "set the learning rate 3 times in the epoch, lastly to 0.03333") for epoch in (0, 1)
    ]
    assert [act.value for act in events] == pytest.approx([0.1 / 3] * 2)


def test_who_of_two_moves_the_rate_in_batches_is_known(keras: Any, tmp_path: Path) -> None:
    class Sets(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.rate = rate

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                self.model.optimizer.learning_rate = self.rate

    events = heard(keras, tmp_path, {"one": Sets(0.5), "two": Sets(0.25)}, epochs=1)
    assert [(act.callback, act.value) for act in events] == [("one", 0.5), ("two", 0.25)]


def test_the_mean_of_weights_tells_what_it_took(keras: Any, tmp_path: Path) -> None:
    events = heard(keras, tmp_path, {"swa": {"name": "swa", "start_from_epoch": 2}}, epochs=3)
    assert [(act.epoch, act.action, act.text) for act in events] == [
        (2, "note", "took epoch 2 into the mean, which is now over the weights of 1 epoch")
    ]


def test_a_callback_that_does_ever_more_is_counted_in_the_end(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.training import witness

    monkeypatch.setattr(witness, "MOST_EVENTS", 3)

    class Talks(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.notes: list[str] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.notes.append(f"epoch {epoch}")

    events = heard(keras, tmp_path, {"talks": Talks()}, epochs=5)
    assert events.told("talks") == [
        (0, "epoch 0"), (1, "epoch 1"), (2, "epoch 2"), (4, "did 2 more things, which are not listed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "hooked"),
    [
        ({"name": "early_stopping"}, False),
        ({"name": "reduce_lr_on_plateau"}, False),
        ({"name": "model_checkpoint"}, False),
        ({"name": "swa"}, False),
        ({"name": "diagnostics"}, False),
        ({"name": "model_checkpoint", "filepath": "{epoch}.keras", "save_freq": 5}, True),
        ({"name": "terminate_on_nan"}, True),
    ],
    ids=str,
)
def test_batches_are_watched_only_where_the_callback_acts_in_them(
    keras: Any, tmp_path: Path, settings: dict[str, Any], hooked: bool
) -> None:
    opening, _, witness = witnessed(build({"one": settings}, surroundings(tmp_path)), Heard(), tmp_path)
    default = keras.callbacks.Callback
    assert (type(witness).on_train_batch_end is not default.on_train_batch_end) == hooked
    for observer in (opening, witness):
        for hook in ("on_batch_begin", "on_batch_end", "on_test_batch_end"):
            assert getattr(type(observer), hook) is getattr(default, hook)


def test_callbacks_stay_in_their_order_with_a_witness_behind_each(keras: Any, tmp_path: Path) -> None:
    built = build({"b": {"name": "early_stopping"}, "a": {"name": "terminate_on_nan"}}, surroundings(tmp_path))
    found = witnessed(built, Heard(), tmp_path)
    assert found[1::2] == list(built.values())
    assert len(found) == 5
    assert witnessed({}, Heard(), tmp_path) == []


def curves_of(keras: Any, callbacks: Sequence[Any]) -> tuple[Any, Any]:
    made = model(keras, lambda: [keras.layers.Dense(4, "relu"), keras.layers.Dropout(0.5)])
    return fit(made, callbacks, 4), made.get_weights()


def test_witnesses_change_nothing(keras: Any, tmp_path: Path) -> None:
    def built() -> dict[str, Any]:
        settings = {
            "reducer": {"name": "reduce_lr_on_plateau", "patience": 1, **NEVER_BETTER},
            "stopper": {"name": "early_stopping", "patience": 2, "restore_best_weights": True, **NEVER_BETTER},
        }
        return build(settings, surroundings(tmp_path))

    plain, weights = curves_of(keras, list(built().values()))
    watched, same = curves_of(keras, witnessed(built(), Heard(), tmp_path))
    assert watched == plain
    assert all(np.array_equal(one, other) for one, other in zip(weights, same, strict=True))
