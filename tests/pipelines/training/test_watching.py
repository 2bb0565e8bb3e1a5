from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.optimizers import Length, Optimizer
from pipelines.records import CheckpointWritten, EpochEnded, Event, Verdict
from tests.pipelines.small_training import STEPS, attempt, build, data, fit, model, surroundings


def trained(
    keras: Any, tmp_path: Path, callbacks: dict[str, Any], epochs: int = 6, every_s: float = 20.0, **model_: Any
) -> tuple[list[float], list[float], CheckpointWritten]:
    """A training as `fit.py` has it: the losses and rates that it reported, and its checkpoint."""
    from pipelines.training.values import ModelValues
    from pipelines.training.watching import BestEpochKeeper, Reporter
    from pipelines.training.witness import witnessed

    events: list[Event] = []

    def emit(event: Event) -> Verdict:
        events.append(event)
        return Verdict.GO_ON

    spec = attempt(tmp_path)
    made = model(keras, **model_)
    keeper, reporter = BestEpochKeeper(spec, emit, ModelValues(made), every_s), Reporter(spec, emit)
    built = build(callbacks, surroundings(tmp_path / "checkpoints", epochs))
    fit(made, [*witnessed(built, spec, emit, tmp_path / "checkpoints"), keeper, reporter], epochs)
    keeper.finish()
    ended = [event for event in events if isinstance(event, EpochEnded)]
    written = [event for event in events if isinstance(event, CheckpointWritten)]
    losses = [event.metrics["val_loss"] for event in ended]
    return losses, [event.metrics["learning_rate"] for event in ended], written[-1]


def loss_in_plain_keras(keras: Any, path: str) -> float:
    x, y = data()
    return float(keras.saving.load_model(path).evaluate(x, y, verbose=0)[0])


SWAPPING = {"name": "swap_ema_weights"}
AVERAGING = {"name": "swa", "start_from_epoch": 1}
STOPPING = {"name": "early_stopping", "patience": 1, "min_delta": 1e9}


def hidden(keras: Any) -> list[Any]:
    layers = keras.layers
    return [layers.Dense(6, "relu"), layers.BatchNormalization(momentum=0.5), layers.Dropout(0.25)]


@pytest.mark.parametrize("every_s", [0.0, 20.0])  # written when an epoch ends, and after the training
@pytest.mark.parametrize(
    "callbacks",
    [
        {"swap": SWAPPING},
        {"swap": SWAPPING, "stopper": STOPPING},  # ends before Keras tidies up its means
        {"stopper": {**STOPPING, "restore_best_weights": True}, "swap": SWAPPING},
        {"swa": AVERAGING},
        {"swa": {**AVERAGING, "every": 2}},
        {"stopper": {**STOPPING, "restore_best_weights": True, "patience": 3}, "swa": AVERAGING},
        {"swa": AVERAGING, "probe": {"name": "diagnostics"}},
    ],
    ids=str,
)
def test_the_kept_checkpoint_scores_what_its_epoch_was_validated_with(
    keras: Any, tmp_path: Path, callbacks: dict[str, Any], every_s: float
) -> None:
    optimizer = keras.optimizers.Adam(0.01, use_ema="swap" in callbacks, ema_momentum=0.9)
    losses, _, written = trained(
        keras, tmp_path, callbacks, every_s=every_s, layers=lambda: hidden(keras), optimizer=optimizer
    )
    assert written.epoch == losses.index(min(losses)) > 0
    assert loss_in_plain_keras(keras, written.path) == pytest.approx(min(losses), abs=1e-6)


def test_swapping_validates_other_weights_than_those_that_are_trained(keras: Any, tmp_path: Path) -> None:
    def losses(callbacks: dict[str, Any]) -> list[float]:
        optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)
        return trained(keras, tmp_path, callbacks, optimizer=optimizer)[0]

    plain = losses({})
    assert losses({"swap": SWAPPING}) != plain
    assert losses({"swa": {"name": "swa", "start_from_epoch": 5}})[:5] == plain[:5]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.25, [0.25] * 4),
        ({"name": "step", "initial_learning_rate": 0.5, "decay_epochs": 1}, [0.5, 0.25, 0.125, 0.0625]),
        ({"name": "piecewise", "boundary_epochs": [2], "values": [0.5, 0.25]}, [0.5, 0.5, 0.25, 0.25]),
        ({"name": "warmup", "warmup_target": 0.5, "warmup_epochs": 2}, [0.0, 0.25, 0.5, 0.5]),
        ({"name": "constant", "value": 0.25}, [0.25] * 4),
    ],
    ids=str,
)
def test_the_rate_that_each_epoch_begins_with_is_reported_whoever_moves_it(
    keras: Any, tmp_path: Path, rate: Any, expected: list[float]
) -> None:
    from pydantic import TypeAdapter

    settings = {"name": "sgd", "learning_rate": rate}
    optimizer = TypeAdapter(Optimizer).validate_python(settings).build(Length(STEPS, 4))
    _, rates, _ = trained(keras, tmp_path, {}, epochs=4, optimizer=optimizer)
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (
            {"name": "learning_rate_scheduler", "schedule": {"name": "step", "every": 1}},
            [0.5, 0.25, 0.125, 0.0625],
        ),
        ({"name": "reduce_lr_on_plateau", "patience": 1, "factor": 0.5, "min_delta": 1e9}, [0.5, 0.5, 0.25, 0.125]),
    ],
    ids=str,
)
def test_a_rate_that_a_callback_moves_is_reported_in_the_epoch_it_is_used_in(
    keras: Any, tmp_path: Path, callback: dict[str, Any], expected: list[float]
) -> None:
    _, rates, _ = trained(keras, tmp_path, {"mover": callback}, epochs=4, optimizer=keras.optimizers.SGD(0.5))
    assert rates == pytest.approx(expected)
