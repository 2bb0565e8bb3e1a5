"""The trainer of many trials at once: groups what comes into cohorts, and has them take turns on the device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Literal

import tensorflow as tf

from pipelines.compiled import forget
from pipelines.datasets import Samples
from pipelines.datasets.prepared import PreparedData, open_prepared
from pipelines.recipe.config import TrainingConfig
from pipelines.records import Event, Failure, Stepped, TrialSpec, Verdict
from pipelines.training.base import Emit, Trials
from pipelines.training.failing import broke_the_device, failure_of
from pipelines.training.feeding import Feed
from pipelines.training.fit import FitTrainer
from pipelines.training.lanes import obstacles
from pipelines.training.lanes.ending import Endings
from pipelines.training.lanes.founding import Founder
from pipelines.training.lanes.grouping import group_of
from pipelines.training.lanes.lane import Lane
from pipelines.training.lanes.rooms import Newcomer, Room, lonely, open_to
from pipelines.training.lanes.template import NotLaneable
from pipelines.training.machine import Machine, OwnProcess

_MOST_COHORTS = 32
"""Programs that are kept although nothing runs in them."""
_AT_ONCE = 2
"""Cohorts that are computed for at once: XLA's programs for CPUs use little more than one core each."""
_LIFE_S = 5.0
_LOOK_S = 1.0
_PATIENCE_S = 0.2
"""So long may lanes wait for the files of those before them: without their places they would miss an epoch."""
_LONELY = 8
"""Groups of one trial each after which another one is not worth a program of its own."""


class LanesTrainer:
    """Trains in lanes what can be, and everything else with `fit`, one at a time, in between.

    Each round is an epoch of every cohort. Places are offered as lanes become free, so that lanes never
    wait for the controller while there is something to train.
    """

    def __init__(
        self,
        fit: FitTrainer,
        *,
        data_bytes: int,
        lanes: int | Literal["auto"],
        most: int,
        trials: int,
        memory_bytes: int = 4 << 30,
        cache: Path | None = None,
        machine: Machine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the worker's means.

        Args:
            fit: Trains what cannot be trained in lanes.
            data_bytes: Memory that a trial's data may use.
            lanes: Lanes of a cohort; `auto` for as many as are fastest.
            most: Trials that may be under way at once.
            trials: Trials that are to come, as far as is known.
            memory_bytes: Memory that the worker's process may fill.
            cache: Where choices are kept for the next sweep; None for nowhere.
            machine: Knows what this process uses of the machine.
            clock: Seconds, for signs of life.
        """
        self._fit = fit
        self._data_bytes = data_bytes
        self._most = max(1, most)
        self._founder = Founder(
            lanes=lanes, most=self._most, trials=trials, memory_bytes=memory_bytes, cache=cache, lives=self._live
        )
        self._machine = machine or OwnProcess()
        self._rooms: list[Room] = []
        self._refused: dict[str, str] = {}
        self._made_anew: set[str] = set()
        self._roomless: dict[str, list[Newcomer]] = {}
        self._alone: deque[tuple[TrialSpec, Emit, str]] = deque()
        self._data: dict[str, tuple[PreparedData, Samples, Samples]] = {}
        self._offered = 0
        self._endings = Endings()
        self._clock = clock
        self._lived = clock()

    def work(self, trials: Trials) -> None:
        """See `pipelines.training.base.Trainer`."""
        self._offer(trials)
        self._take(trials)
        with ThreadPoolExecutor(_AT_ONCE, "cohort") as device:
            while self._alone or self._roomless or self._busy or self._endings:
                if self._alone:
                    spec, emit, why = self._alone.popleft()
                    self._fit.train(spec, partial(self._among_others, emit), why)
                self._round(trials, device)
                self._offer(trials)
                self._take(trials)

    def _round(self, trials: Trials, device: Executor) -> None:
        """Ends an epoch of every cohort, and begins the next.

        While the device computes for one cohort, the callbacks of another have their turn: it goes on when what is
        computed for the one behind it is there. By that time new trials have come for its free lanes.
        """
        while self._roomless:  # which takes seconds, in which the device computes for others
            founded = self._found(next(iter(self._roomless)), trials)
            if founded is not None:
                self._guarded(founded, partial(self._launch, device=device))
            self._live()
            self._offer(trials)
            self._take(trials)
        before: Room | None = None
        for room in self._busy:
            self._guarded(room, self._await)
            if before is not None:
                self._endings.tell()
                self._offer(trials)
                self._take(trials)
                self._guarded(before, partial(self._launch, device=device))
            self._guarded(room, self._land)
            self._endings.tell()
            self._offer(trials)
            self._take(trials)
            self._live()
            before = room
        self._endings.tell(_PATIENCE_S)
        self._offer(trials)
        self._take(trials)
        if before is not None:
            self._guarded(before, partial(self._launch, device=device))

    def _launch(self, room: Room, device: Executor) -> None:
        """Begins an epoch of a cohort; what is to be computed for it is under way."""
        while room.waiting and room.cohort.free:
            room.cohort.admit(room.waiting.popleft())
        room.begun = bool(room.cohort.lanes) and room.cohort.begin_epoch()
        if room.begun and room.cohort.computes_alone:
            room.computing = device.submit(room.cohort.compute)

    def _await(self, room: Room) -> None:
        """Waits for what is being computed for a cohort."""
        computing, room.computing = room.computing, None
        calls = room.cohort.calls
        while computing is not None and not wait([computing], _LOOK_S).done:
            if room.cohort.calls != calls:  # one that hangs does not live
                calls = room.cohort.calls
                self._live()
        if computing is not None:
            computing.result()

    def _land(self, room: Room) -> None:
        """Ends the epoch that a cohort has begun, if it has."""
        if room.begun:
            room.begun = False
            room.cohort.end_epoch()

    def _guarded(self, room: Room, act: Callable[[Room], None]) -> None:
        """Does it. If the cohort's program breaks, its trials go on from their last states, otherwise."""
        if room not in self._rooms:
            return  # it broke before
        try:
            act(room)
        except Exception as problem:
            self._rooms.remove(room)
            keys = room.cohort.keys
            narrower = failure_of(problem) is Failure.MEMORY and self._founder.narrow(room.cohort)
            if not narrower and not self._was_spoilt(keys[0], problem):
                if len(keys) > 1:
                    self._founder.separate(keys)
                else:
                    self._refused[keys[0]] = f"its program failed ({type(problem).__name__})"
            for lane in room.lanes():
                lane.give_back(problem)
            if broke_the_device(problem):
                raise  # ends the worker; what its other cohorts train is lost with it, and goes on elsewhere

    def _was_spoilt(self, key: str, problem: Exception) -> bool:
        """Whether another program may do where one broke: what XLA kept of an earlier sweep was perhaps spoilt."""
        again = key not in self._made_anew and isinstance(problem, tf.errors.OpError) and forget()
        self._made_anew.add(key)
        return again

    def _live(self) -> None:
        """Shows that all who are here live, also those who wait for their turn."""
        for room in self._rooms:
            for lane in room.lanes():
                lane.lives()
        waiting = [(one.spec, one.emit) for ones in self._roomless.values() for one in ones]
        waiting += [(spec, emit) for spec, emit, _ in self._alone]
        if waiting and self._clock() - self._lived >= _LIFE_S:
            self._lived = self._clock()
            for spec, emit in waiting:
                emit(Stepped(spec.number, spec.attempt))

    def _among_others(self, emit: Emit, event: Event) -> Verdict:
        """Tells of a trial that trains by itself, for which the others wait."""
        self._live()
        return emit(event)

    @property
    def _busy(self) -> list[Room]:
        return [room for room in self._rooms if room.busy]

    # taking in

    def _offer(self, trials: Trials) -> None:
        """Offers what the lanes of all cohorts can take beside what they have."""
        busy, roomless = self._busy, [one for ones in self._roomless.values() for one in ones]
        programs = {id(room.cohort.program) for room in busy}
        each = self._founder.width * self._founder.twins
        places = min(self._most, each * max(1, len(programs) + len(self._roomless)))
        under_way = sum(len(room.lanes()) for room in busy) + len(roomless) + len(self._alone) + len(self._endings)
        more = places - under_way - self._offered
        if more > 0:
            self._offered += more
            trials.offer(more)

    def _take(self, trials: Trials) -> None:
        """Takes what there is, and puts it where it belongs."""
        while (taken := trials.take()) is not None:
            spec, emit = taken
            self._offered -= 1
            self._founder.trials -= 1
            found = self._looked_at(spec, emit)
            if isinstance(found, str):
                self._alone.append((spec, emit, found))
            elif not self._let_in(found):
                self._roomless.setdefault(found.group.kin, []).append(found)

    def _looked_at(self, spec: TrialSpec, emit: Emit) -> Newcomer | str:
        """The trial, or why it cannot be in any cohort."""
        if spec.alone:
            return "it is tried by itself, after what befell it among others"
        try:
            config = TrainingConfig.model_validate(spec.config)
            fed = self._feed(spec.data, config)
            why = obstacles.of_training(config, fed)
        except Exception:  # `fit` meets with it too, and tells it as the trial's own end
            return ""
        if why is not None:
            return why
        group = group_of(config, spec.data)
        return self._refused.get(group.key) or Newcomer(spec, emit, config, group, fed)

    def _found(self, kin: str, trials: Trials) -> Room | None:
        """Makes a cohort for those of a kin who have none, and lets in who may be in it; or says why there is none."""
        first, why, room = self._roomless[kin][0], "", None

        def others() -> list[Newcomer]:
            self._take(trials)
            return self._roomless[kin]

        if lonely(self._rooms, _LONELY):
            why = "hardly any two trials of this sweep can share a program"
        else:
            try:
                self._forget_some()
                room = Room(self._founder.found(first, others))
                self._rooms.append(room)
            except NotLaneable as reason:
                why = self._refused[first.group.key] = str(reason)
        for one in self._roomless.pop(kin):
            if why and one.group.key == first.group.key:
                self._alone.append((one.spec, one.emit, why))
            elif not self._let_in(one):
                self._roomless.setdefault(kin, []).append(one)
        return room

    def _let_in(self, one: Newcomer) -> bool:
        """Gives a trial to a cohort that it may be in, if there is one."""
        room = open_to(self._rooms, one.group.key, self._founder.twins)
        if room is None:
            return False
        room.trials += 1
        room.waiting.append(Lane(one.spec, one.emit, one.config, one.group, self._machine, self._clock, self._endings))
        return True

    def _feed(self, folder: str, config: TrainingConfig) -> Feed:
        if folder not in self._data:
            data = open_prepared(Path(folder))
            self._data[folder] = (data, *data.read())
        data, train, validation = self._data[folder]
        return Feed(config, data, train, validation, self._data_bytes)

    def _forget_some(self) -> None:
        """Lets go of the oldest programs that nothing runs in."""
        idle = [room for room in self._rooms if not room.busy]
        for room in idle[: max(0, len(self._rooms) + 1 - _MOST_COHORTS)]:
            self._rooms.remove(room)
