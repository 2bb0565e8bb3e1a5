from __future__ import annotations

import random
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.training.packing import pack, unpack


def handed_on(before: Any, after: Any, moved: dict[str, str] | None = None) -> tuple[list[str], list[str]]:
    """Has one callback remember what another did, through bytes; returns what could not be kept, and put back."""
    from pipelines.training.remembering import memory_of, remember

    memory, unkept = memory_of(before)
    lost = remember(after, unpack(b"".join(pack(memory))), moved or {})
    return unkept, lost


@pytest.fixture
def make(keras: Any) -> Any:
    def makes(**attributes: Any) -> Any:
        callback = keras.callbacks.Callback()
        vars(callback).update(attributes)
        return callback

    return makes


@pytest.mark.parametrize("mode", ["auto", "min", "max"])
def test_early_stopping_knows_its_direction_and_its_margin_once(keras: Any, mode: str) -> None:
    def stopper() -> Any:
        found = keras.callbacks.EarlyStopping("val_loss", min_delta=0.25, mode=mode, restore_best_weights=True)
        found.on_train_begin()
        return found

    before, after = stopper(), stopper()
    before._set_monitor_op()
    before.wait, before.best, before.best_epoch, before.stopped_epoch = 3, np.float32(0.5), 7, 9
    before.best_weights = [np.arange(3.0), np.ones((2, 2))]
    assert handed_on(before, after) == ([], [])
    assert after.monitor_op is before.monitor_op
    assert after.min_delta == before.min_delta == (0.25 if mode == "max" else -0.25)
    assert (after.wait, after.best, after.best_epoch, after.stopped_epoch) == (3, np.float32(0.5), 7, 9)
    assert all(np.array_equal(one, other) for one, other in zip(after.best_weights, before.best_weights, strict=True))


def test_one_that_has_not_begun_to_watch_sets_its_direction_itself(keras: Any) -> None:
    before, after = (keras.callbacks.ReduceLROnPlateau(min_delta=0.25) for _ in range(2))
    handed_on(before, after)
    assert after.monitor_op is None
    after._set_monitor_op()
    assert after.min_delta == -0.25


def test_things_that_are_more_than_a_value_are_changed_in_place(keras: Any, make: Any) -> None:
    import tensorflow as tf

    def things(seed: int) -> dict[str, Any]:
        return {
            "rng": np.random.default_rng(seed),
            "old": np.random.RandomState(seed),
            "own": random.Random(seed),
            "seeds": keras.random.SeedGenerator(seed),
            "mean": keras.metrics.Mean(),
            "weight": keras.Variable(float(seed)),
            "plain": tf.Variable(float(seed)),
            "count": Counter("a" * seed),
            "tensor": tf.constant(float(seed)),
        }

    before, after = make(**things(3)), make(**things(4))
    before.mean.update_state(5.0)
    for stream in (before.rng, before.own):
        stream.random()
    before.old.rand()
    kept = {name: id(value) for name, value in vars(after).items()}
    assert handed_on(before, after) == ([], [])
    assert after.rng.random() == before.rng.random()
    assert after.old.rand() == before.old.rand()
    assert after.own.random() == before.own.random()
    assert np.array_equal(after.seeds.state.numpy(), before.seeds.state.numpy())
    assert float(after.mean.result()) == 5.0
    assert (float(after.weight), float(after.plain), float(after.tensor)) == (3.0, 3.0, 3.0)
    assert after.count == Counter("aaa")
    assert type(after.count) is Counter
    assert {name for name, value in vars(after).items() if id(value) == kept[name]} >= set(things(0)) - {"tensor"}


class Counting:
    """A schedule that knows how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, epoch: int, rate: float) -> float:
        self.calls += 1
        return 1.0 / self.calls

    def get_state(self) -> int:
        return self.calls

    def set_state(self, state: int) -> None:
        self.calls = state


@pytest.mark.parametrize("wrapped", [lambda made: made, partial])
def test_what_a_callback_holds_may_say_itself_what_is_to_be_kept(keras: Any, wrapped: Any) -> None:
    made = Counting(), Counting()
    before, after = (keras.callbacks.LearningRateScheduler(wrapped(one)) for one in made)
    before.schedule(0, 0.1)
    before.schedule(1, 0.1)
    assert handed_on(before, after) == ([], [])
    assert made[1].calls == 2


def test_our_schedules_know_the_rate_that_they_began_with(keras: Any) -> None:
    from pipelines.schedules.epochs import StepDecay

    before, after = (keras.callbacks.LearningRateScheduler(StepDecay(every=1, factor=0.5).build(9)) for _ in range(2))
    assert [before.schedule(epoch, 0.8) for epoch in (0, 1)] == [0.8, 0.4]
    handed_on(before, after)
    assert after.schedule(2, 0.4) == 0.2


def test_what_cannot_be_kept_or_put_back_is_named(make: Any) -> None:
    before = make(lines=iter("abc"), text="kept", rng=np.random.default_rng(1), function=len, kind=int)
    after = make(lines=iter("xyz"), text="", rng=None)
    assert handed_on(before, after) == (["lines"], ["rng"])
    assert after.text == "kept"


def test_a_state_that_cannot_be_kept_is_named_and_nothing_is_put_back(make: Any) -> None:
    def refuse(state: Any) -> None:
        raise AssertionError(state)

    before = make(get_state=lambda: {"thing": object()}, set_state=refuse)
    unkept, lost = handed_on(before, make(get_state=None, set_state=refuse))
    assert unkept == ["get_state() (a value of type builtins.object cannot be packed)"]
    assert lost == []


def test_paths_into_the_folder_of_an_attempt_lead_into_that_of_the_next(make: Any) -> None:
    before = make(
        path=Path("/runs/5-1/log.csv"),
        names=["/runs/5-1/a", ("/runs/5-1", {"one": "/runs/5-1/b"})],
        other="/runs/5-10/c",
    )
    after = make()
    handed_on(before, after, {"/runs/5-1": "/runs/5-2"})
    assert after.path == Path("/runs/5-2/log.csv")
    assert after.names == ["/runs/5-2/a", ("/runs/5-2", {"one": "/runs/5-2/b"})]
    assert after.other == "/runs/5-10/c"
