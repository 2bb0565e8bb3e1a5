"""What the tests that train share: small prepared data, and a trainer in this one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets.digits import Digits
from pipelines.datasets.prepared import PreparedData, prepare
from pipelines.recipe.config import TrainingConfig
from pipelines.records import Event, TrialSpec, Verdict


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """The digits, prepared: 1 149 samples to train on and 288 to validate with."""
    return prepare(Digits(), None, tmp_path_factory.mktemp("prepared"))


@dataclass
class Trained:
    """What a training told."""

    spec: TrialSpec
    events: list[Event] = field(default_factory=list)

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind, in order."""
        return [event for event in self.events if type(event) is kind]


Train = Callable[..., Trained]


@pytest.fixture
def train(keras: Any, digits: PreparedData, tmp_path: Path) -> Train:
    """Trains a config, given as a recipe has it, and returns what it told; `verdict` answers each event.

    Each call is the next attempt, `on` another trainer if need be; with `states` it goes on where one before it was.
    """
    from pipelines.training.fit import FitTrainer

    trainer = FitTrainer(1 << 30)  # one for all trials of a test, as in a worker
    attempts = iter(range(1, 100))

    def trains(
        verdict: Callable[[Event], Verdict] = lambda event: Verdict.GO_ON,
        *,
        objective: str = "val_loss",
        direction: str = "minimize",
        data: Path = digits.folder,
        states: Path | None = None,
        on: Any = None,
        **config: Any,
    ) -> Trained:
        small = {"model": {"units": [16]}, "epochs": 3, "batch_size": 64, "seed": 3}
        raw = TrainingConfig.model_validate({**small, **config}).model_dump(mode="json")
        attempt = next(attempts)
        folder = tmp_path / f"attempt-{attempt}"
        told = Trained(TrialSpec(5, attempt, raw, str(data), str(folder), objective, direction, str(states or "")))

        def emit(event: Event) -> Verdict:
            told.events.append(event)
            return verdict(event)

        (on or trainer).train(told.spec, emit)
        return told

    return trains
