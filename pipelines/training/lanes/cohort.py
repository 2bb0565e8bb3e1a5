"""Trials that share a program: they go through their epochs together, each at its own epoch, and come and go."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from pipelines.training.batches import sample_order
from pipelines.training.feeding import Feed
from pipelines.training.lanes.bank import Bank
from pipelines.training.lanes.lane import Lane
from pipelines.training.lanes.lifting import both
from pipelines.training.lanes.mixing import Mixture
from pipelines.training.lanes.program import Program, Tensors

_CALL_S = 2.0
"""About so long may one call of the program take, so that the lanes show that they live."""
_FIRST_STRIDE = 64
_ONE = 0.5  # a setting of a lane without a trial, or whose optimizer has no such setting


@dataclass(frozen=True)
class _Cut:
    """What a lane had when a callback ended its epoch early."""

    values: list[np.ndarray]
    logs: dict[str, float]


@dataclass
class _Epoch:
    """What an epoch of all lanes begins with, and what comes of it.

    Attributes:
        before: All values.
        settings: Of each lane.
        order: Which samples come when.
        after: All values after the steps.
        bad: By lane, the step after which its loss was not finite, or -1.
        learned: What the metrics of the steps say.
        checked: What those of the validation say, if it was computed along with the steps.
        seconds: What computing took.
    """

    before: Tensors
    settings: Tensors
    order: tf.Tensor
    after: Tensors = field(default_factory=list)
    bad: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    learned: Mapping[str, np.ndarray] = field(default_factory=dict)
    checked: Mapping[str, np.ndarray] | None = None
    seconds: float = 0.0


class Cohort:
    """Lanes of one program. A lane whose trial ended takes another at the next epoch, without compiling anything."""

    def __init__(self, mixture: Mixture, program: Program, fed: Feed, trainer: str) -> None:
        """Takes what its lanes have in common.

        Args:
            mixture: The models.
            program: What makes the steps.
            fed: The data.
            trainer: What the runs say of it.
        """
        self.trainer = trainer
        self.program = program
        self._mixture = mixture
        self._fed = fed
        self._bank = Bank(program.width, mixture.first)
        self._lanes: list[Lane | None] = [None] * program.width
        self._step_s: float | None = None
        self._epoch: _Epoch
        self.calls = 0
        """How often the device was called; who waits can see by it that it goes on."""

    def another(self) -> Cohort:
        """More lanes of the same program."""
        return Cohort(self._mixture, self.program, self._fed, self.trainer)

    @property
    def keys(self) -> list[str]:
        """Of the groups whose trials may be in it."""
        return [*self._mixture.templates]

    @property
    def width(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    @property
    def lanes(self) -> list[Lane]:
        """Those that have a trial."""
        return [lane for lane in self._lanes if lane is not None]

    @property
    def free(self) -> int:
        """How many have none."""
        return self._lanes.count(None)

    def admit(self, lane: Lane) -> None:
        """Gives a trial a free lane."""
        place = self._lanes.index(None)
        self._lanes[place] = lane
        key = lane.group.key
        bank = self._mixture.seen_in(self._bank, key)
        lane.begin(self._mixture.templates[key], bank, place, self._fed, self.trainer)
        self._let_go()

    def state(self) -> tuple[Tensors, Tensors, tf.Tensor]:
        """Values, settings and sample order of all lanes, as the program takes them."""
        return self._bank.stacks(), self._settings(), self._order()

    def begin_epoch(self) -> bool:
        """Begins the next epoch of every lane, each its own; False: there is none.

        What is then to be computed, `compute` may do in any thread; after that comes `end_epoch`.
        """
        for lane in self.lanes:
            lane.begin_epoch()
        self._let_go()
        return bool(self.lanes)

    @property
    def computes_alone(self) -> bool:
        """Whether `compute` has something to do; where callbacks act in batches, `end_epoch` does it all."""
        return not any(lane.by_step for lane in self.lanes)

    def compute(self) -> None:
        """The steps of the epoch in few calls and, unless something may come between, its validation."""
        began = time.perf_counter()
        program, first = self.program, 0
        epoch = self._epoch = _Epoch(*self.state())
        bad = np.full(self.width, -1)
        values, metrics = epoch.before, program.fresh()
        while first < program.steps:
            count = min(self._stride(), program.steps - first)
            since = time.perf_counter()
            values, metrics, found = program.train(values, metrics, epoch.settings, epoch.order, first, count)
            bad = np.where(bad < 0, found.numpy(), bad)
            self._step_s = (time.perf_counter() - since) / count
            first += count
            self.calls += 1
        epoch.after, epoch.bad, epoch.learned = values, bad, program.results(metrics)
        if not any(lane.ends_on_nan or lane.sees_validation for lane in self.lanes):
            epoch.checked = program.results(program.validate(values, epoch.settings))
        epoch.seconds = time.perf_counter() - began

    def end_epoch(self) -> None:
        """Calls what is to be called during and after the epoch; trials that are over give their lanes back."""
        cut: dict[int, _Cut] = {}
        epoch = self._epoch if self.computes_alone else _Epoch(*self.state())
        if self.computes_alone:
            self._share(epoch.seconds)
            self._end_early(epoch, cut)
            self._bank.replace(epoch.after)
        else:
            epoch.learned = self._by_steps(epoch, cut)
        for place, stop in cut.items():
            self._bank.write(place, dict(enumerate(stop.values)))
        for place, lane in self._placed():
            lane.begin_validation(cut[place].logs if place in cut else _of(epoch.learned, place))
        checked = epoch.checked
        if checked is None:
            began = time.perf_counter()
            checked = self.program.results(self.program.validate(self._bank.stacks(), epoch.settings))
            self._share(time.perf_counter() - began)
        for place, lane in self._placed():
            lane.end_epoch(_of(checked, place))
        self._let_go()

    def _end_early(self, epoch: _Epoch, cut: dict[int, _Cut]) -> None:
        """Finds out what lanes had when a callback ended their epoch, which is seldom enough to go there once more."""
        program = self.program
        for place, lane in self._placed():
            if lane.ends_on_nan and epoch.bad[place] >= 0:
                step = int(epoch.bad[place])
                then, seen, _ = program.train(epoch.before, program.fresh(), epoch.settings, epoch.order, 0, step + 1)
                self._bank.replace(then)
                self._end_step(place, lane, step, program.results(seen), cut)

    def _by_steps(self, epoch: _Epoch, cut: dict[int, _Cut]) -> Mapping[str, np.ndarray]:
        """Computes step by step, for callbacks that act in batches; returns the logs after the last."""
        program, metrics = self.program, self.program.fresh()
        said: Mapping[str, np.ndarray] = {}
        for step in range(program.steps):
            for place, lane in self._placed():
                if lane.by_step and place not in cut:
                    lane.begin_step(step)
            began = time.perf_counter()
            values, metrics, bad = program.train(self._bank.stacks(), metrics, epoch.settings, epoch.order, step, 1)
            self._bank.replace(values)
            said, lost = program.results(metrics), bad.numpy() >= 0
            self._share(time.perf_counter() - began)
            for place, lane in self._placed():
                if place not in cut and (lane.by_step or (lane.ends_on_nan and lost[place])):
                    self._end_step(place, lane, step, said, cut)
        return said

    def _end_step(
        self, place: int, lane: Lane, step: int, said: Mapping[str, np.ndarray], cut: dict[int, _Cut]
    ) -> None:
        """Calls a lane's callbacks after a step; where they end its epoch, it keeps what it has then."""
        logs = _of(said, place)
        lane.end_step(step, logs)
        if lane.stopped_at is not None:
            cut[place] = _Cut(self._bank.read_all(place), logs)

    def _placed(self) -> list[tuple[int, Lane]]:
        return [(place, lane) for place, lane in enumerate(self._lanes) if lane is not None and not lane.over]

    def _let_go(self) -> None:
        self._lanes = [None if lane is None or lane.over else lane for lane in self._lanes]

    def _settings(self) -> Tensors:
        settings = [{} if lane is None else lane.settings for lane in self._lanes]
        kinds = [0 if lane is None else self._mixture.number(lane.group.key) for lane in self._lanes]
        return settings_of(self._mixture, settings, kinds)

    def _order(self) -> tf.Tensor:
        seeds = [0 if lane is None else lane.config.seed for lane in self._lanes]
        epochs = [0 if lane is None else lane.epoch for lane in self._lanes]
        return sample_orders(seeds, epochs, len(self._fed.train))

    def _stride(self) -> int:
        return _FIRST_STRIDE if self._step_s is None else max(1, int(_CALL_S / max(self._step_s, 1e-6)))

    def _share(self, seconds: float) -> None:
        """Divides time among the lanes that it went into."""
        lanes = self.lanes
        for lane in lanes:
            lane.share(seconds / len(lanes), among=len(lanes))


def settings_of(mixture: Mixture, settings: Sequence[Mapping[str, float]], kinds: Sequence[int]) -> Tensors:
    """What a program is told of its lanes: the settings of each, as `both` makes them, and which template it has."""
    rows = [[one.get(name, _ONE) for one in settings] for name in mixture.lifts]
    return [*both(rows), tf.constant(kinds, tf.int32)]


def _of(said: Mapping[str, np.ndarray], place: int) -> dict[str, float]:
    """The logs of one lane."""
    return {name: float(values[place]) for name, values in said.items()}


def sample_orders(seeds: Sequence[int], epochs: Sequence[int], count: int) -> tf.Tensor:
    """The order of the samples in each lane, int32 (lanes, count), by its seed and epoch."""
    with tf.device("CPU"):  # where `fit` shuffles, too; and lane by lane, which a GPU does slowly
        found: tf.Tensor = _orders(tf.constant(seeds, tf.int64), tf.constant(epochs, tf.int64), count)
    return found


@tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator,unused-ignore]
def _orders(seeds: tf.Tensor, epochs: tf.Tensor, count: int) -> tf.Tensor:
    both = tf.stack([seeds, epochs], axis=1)
    return tf.map_fn(lambda pair: sample_order(count, pair[0], pair[1]), both, fn_output_signature=tf.int32)
