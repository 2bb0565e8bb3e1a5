"""A worker that trains each trial three ways and writes down what each epoch took."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.prepared import open_prepared
from pipelines.executors.base import Answer, OneByOne
from pipelines.recipe.config import TrainingConfig
from pipelines.records import Ended, EpochEnded, Event, TrialSpec
from pipelines.worker import TrialWorker, WorkerSettings

WAYS = ("keras", "alone", "whole")
"""Keras's `fit` on the same model and data and nothing else; our trainer, to which nobody listens and which keeps no
states; and a trial of a sweep."""
TIMES = "times.json"


class TimedWorker(OneByOne):
    """Made in the worker's process."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._worker = TrialWorker(settings)
        super().__init__(self._time)

    def _time(self, spec: TrialSpec, answer: Answer) -> None:
        found: dict[str, Any] = {}
        ways: dict[str, Callable[[], Any]] = {
            "keras": lambda: self._keras(spec),
            "alone": lambda: self._alone(spec),
            "whole": lambda: self._whole(spec, answer, found),
        }
        # in turn, so that what a machine does beside it and caches do hit all of them alike; the whole trial is last,
        # as the controller hands out the next one when it ends
        order = [WAYS[(spec.number + place) % 2] for place in range(2)] + ["whole"]
        for way in order:
            found[way] = ways[way]()
        Path(spec.folder).mkdir(parents=True, exist_ok=True)
        (Path(spec.folder) / TIMES).write_text(json.dumps(found), encoding="utf-8")

    def _keras(self, spec: TrialSpec) -> list[float]:
        import keras

        from pipelines.training.feeding import Feed
        from pipelines.training.fit import build_model

        config = TrainingConfig.model_validate(spec.config)
        data = open_prepared(Path(spec.data))
        fed = Feed(config, data, *data.read(), 1 << 30)
        ends: list[float] = []
        model = build_model(config, data.facts, fed.steps)
        model.fit(
            fed.training(0),
            steps_per_epoch=fed.steps,
            epochs=config.epochs,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
            ],
            shuffle=False,
            verbose=0,
            **fed.validating(),
        )
        keras.backend.clear_session()
        return ends

    def _alone(self, spec: TrialSpec) -> list[float]:
        ends: list[float] = []

        def nobody(event: Event) -> None:
            if isinstance(event, EpochEnded):
                ends.append(time.perf_counter())

        self._worker(_Desk(replace(spec, states="", folder=f"{spec.folder}-alone"), nobody))
        return ends

    def _whole(self, spec: TrialSpec, answer: Answer, found: dict[str, Any]) -> list[float]:
        ends: list[float] = []
        tracking, computing = [0.0], [0.0]
        trains = threading.get_ident()

        def timed(event: Event) -> Any:
            begun, computed = time.perf_counter(), time.thread_time()
            if isinstance(event, EpochEnded):
                ends.append(begun)
            if isinstance(event, Ended):
                found["phases"] = dict(event.phases)
            reply = answer(event)
            if threading.get_ident() == trains:  # the pulse talks beside the training
                tracking[-1] += time.perf_counter() - begun
                computing[-1] += time.thread_time() - computed
            if isinstance(event, EpochEnded):
                tracking.append(0.0)
                computing.append(0.0)
            return reply

        self._worker(_Desk(spec, timed))
        found["tracking"], found["computing"] = tracking[:-1], computing[:-1]
        return ends


class _Desk:
    """A desk with one trial on it."""

    def __init__(self, spec: TrialSpec, answer: Answer) -> None:
        self._spec: TrialSpec | None = spec
        self._answer = answer

    def take(self) -> TrialSpec | None:
        spec, self._spec = self._spec, None
        return spec

    def say(self, message: Event) -> Sequence[Any]:
        return [self._answer(message)]

    def offer(self, places: int) -> None:
        """It has no more."""
