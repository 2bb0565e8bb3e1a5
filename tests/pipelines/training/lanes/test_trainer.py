"""The trainer of many trials at once: who gets a lane and when, and what becomes of those whose program breaks."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.records import CheckpointWritten, Ended, EpochEnded, Event, Failure, Started, Verdict
from tests.pipelines.training.lanes.parity import Config, Parity, Queue, Told

SGD, ADAM, RMSPROP = ({"optimizer": {"name": name}} for name in ("sgd", "adam", "rmsprop"))
OWN = """
import keras

class ActsInValidation(keras.callbacks.Callback):
    def on_test_batch_end(self, batch, logs=None):
        pass

class Raises(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise RuntimeError("upside down")
"""


@pytest.fixture
def parity(keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parity:
    """What trains. Nothing is compiled: it would take most of the time, and who gets a lane does not depend on it."""
    from pipelines.training.lanes import founding
    from pipelines.training.lanes.widths import Choice

    monkeypatch.setattr(founding, "first_choice", lambda model, most, **more: Choice(most, compiled=False))
    return Parity(tmp_path)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Config]:
    """What a recipe says of a callback of `OWN`."""
    (tmp_path / "own_of_lanes.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_of_lanes", raising=False)
    return lambda name: {"callbacks": {"mine": {"name": "class", "path": f"own_of_lanes:{name}"}}}


class Noted(Told):
    """An attempt whose events are also noted with those of others, in the order in which they are told."""

    def __init__(self, told: Told, notes: list[tuple[int, str]]) -> None:
        super().__init__(told.spec)
        self.notes = notes

    def __call__(self, event: Event) -> Verdict:
        self.notes.append((event.trial, type(event).__name__))
        return super().__call__(event)


class Offers(Queue):
    """Trials that wait, and a look at what is offered: never more than there is room for."""

    def __init__(self, waiting: Sequence[Told], most: int) -> None:
        super().__init__()
        self.waiting.extend(waiting)
        self.allowed = most
        self.offered: list[int] = []

    def offer(self, places: int) -> None:
        super().offer(places)
        self.offered.append(places)
        busy = sum(not is_over(told) for told in self.under_way)
        assert busy + self.room <= self.allowed, (busy, self.room)


class Programs:
    """What programs were made while it watches, and how many epochs their cohorts made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pipelines.training.lanes import founding
        from pipelines.training.lanes.cohort import Cohort
        from pipelines.training.lanes.program import Program

        self.widths: list[int] = []
        self.rounds = 0
        begin = Cohort.begin_epoch

        def make(*args: Any, width: int, **kwargs: Any) -> Program:
            self.widths.append(width)
            return Program(*args, width=width, **kwargs)

        def count(cohort: Any) -> bool:
            self.rounds += 1
            return begin(cohort)

        monkeypatch.setattr(founding, "Program", make)
        monkeypatch.setattr(Cohort, "begin_epoch", count)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, keras: Any) -> Programs:
    return Programs(monkeypatch)


def made_trainer(parity: Parity, *, lanes: Any = 4, most: int = 64, trials: int = 12, **more: Any) -> Any:
    from pipelines.training.lanes.trainer import LanesTrainer

    return LanesTrainer(
        parity.fit_trainer, data_bytes=1 << 30, memory_bytes=1 << 40, lanes=lanes, most=most, trials=trials, **more
    )


def all_told(parity: Parity, configs: Sequence[Config], **about: Any) -> list[Told]:
    """Attempts that nobody has made yet, of trials from 0 on."""
    return [parity.told({"seed": number, **config}, number=number, **about) for number, config in enumerate(configs)]


def is_over(told: Told) -> bool:
    return bool(told.events) and isinstance(told.events[-1], Ended)


def next_attempt(told: Told) -> Told:
    """The same trial, once more."""
    spec = replace(told.spec, attempt=told.spec.attempt + 1, folder=f"{told.spec.folder}-again")
    return Told(spec)


def rounds_of(lengths: Sequence[int], lanes: int) -> int:
    """Epochs until trials of these lengths are done, where a lane that is free takes the next trial at once."""
    free = [0] * lanes
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


# who gets a lane and when


def test_a_lane_that_is_free_takes_the_next_trial_at_the_next_epoch_without_another_program(
    parity: Parity, programs: Programs
) -> None:
    lengths = [1, 4, 2, 3, 5, 1, 2, 4, 1, 3, 2, 2]
    told = all_told(parity, [{"epochs": length} for length in lengths])
    queue = Offers(told, most=4)

    made_trainer(parity, most=4).work(queue)

    assert [one.epochs for one in told] == [list(range(length)) for length in lengths]
    assert all(one.in_a_lane and one.ended.error is None for one in told)
    assert queue.most == 4
    assert programs.widths == [4]
    assert programs.rounds == rounds_of(lengths, 4)


def test_what_is_offered_is_what_all_cohorts_can_take_and_never_more_than_may_be_under_way(
    parity: Parity, programs: Programs
) -> None:
    kinds = (SGD, ADAM, RMSPROP)
    told = all_told(parity, [kinds[number % 3] for number in range(18)])
    queue = Offers(told, most=6)

    made_trainer(parity, lanes=2, most=6).work(queue)

    assert all(one.in_a_lane and one.epochs == [0, 1, 2] for one in told)
    assert programs.widths == [2, 2, 2]
    assert queue.offered[0] == 2  # one cohort's worth, as nothing is known of others yet
    assert queue.most == 6


def test_trials_at_once_are_not_more_than_may_be_although_lanes_are(parity: Parity, programs: Programs) -> None:
    told = all_told(parity, [{}] * 5)
    queue = Offers(told, most=2)

    made_trainer(parity, lanes=8, most=2).work(queue)

    assert queue.most == 2
    assert programs.widths == [2]


def test_a_trainer_without_trials_only_says_how_much_room_it_has(parity: Parity) -> None:
    queue = Offers([], most=64)
    trainer = made_trainer(parity, lanes=4)
    trainer.work(queue)
    trainer.work(queue)
    assert queue.offered == [4]


def test_a_program_is_kept_for_trials_that_come_later(parity: Parity, programs: Programs) -> None:
    trainer, queue = made_trainer(parity), Offers([], most=64)
    for _ in range(2):
        told = all_told(parity, [{}, {}])
        queue.waiting.extend(told)
        trainer.work(queue)
        assert all(one.in_a_lane for one in told)
    assert programs.widths == [4]


# who gets none


def test_what_cannot_be_trained_in_a_lane_is_trained_by_fit_between_the_others_and_says_why(
    parity: Parity, own: Callable[[str], Config]
) -> None:
    told = all_told(parity, [SGD, {**SGD, **own("ActsInValidation")}, SGD, ADAM])

    made_trainer(parity).work(Offers(told, most=64))

    assert [one.in_a_lane for one in told] == [True, False, True, True]
    assert told[1].trainer == "fit: the callback 'mine' acts in the batches of the validation"
    assert all(one.epochs == [0, 1, 2] and one.ended.error is None for one in told)


def test_data_that_is_larger_than_it_may_be_is_trained_on_by_fit(parity: Parity, programs: Programs) -> None:
    from pipelines.training.lanes.trainer import LanesTrainer

    told = all_told(parity, [{}])
    LanesTrainer(parity.fit_trainer, data_bytes=1, lanes=4, most=4, trials=1).work(Offers(told, most=4))
    assert "execution.data_memory_mb" in told[0].trainer
    assert programs.widths == []


def test_where_hardly_two_trials_can_share_a_program_the_others_are_trained_by_fit(
    parity: Parity, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.training.lanes import trainer

    monkeypatch.setattr(trainer, "_LONELY", 2)
    told = all_told(parity, [{"epochs": 1, "model": {"units": [units]}} for units in (3, 4, 5, 3, 4, 5)])

    # one place at a time: it is not known that two more of each are to come
    made_trainer(parity, lanes=1, most=1).work(Offers(told, most=1))

    assert [one.in_a_lane for one in told] == [True, True, False, True, True, True]
    assert told[2].trainer == "fit: hardly any two trials of this sweep can share a program"


def test_a_worker_that_trains_none_in_lanes_says_why_in_each_run(parity: Parity, programs: Programs) -> None:
    from pipelines.training import make_trainer

    told = all_told(parity, [{}, {}])

    make_trainer(1 << 30, lanes="off", why="hardly two could share a program").work(Offers(told, most=1))

    assert {one.trainer for one in told} == {"fit: hardly two could share a program"}
    assert programs.widths == []


def test_a_trial_that_is_to_be_alone_shares_no_program(parity: Parity, programs: Programs) -> None:
    (told,) = all_told(parity, [{}])
    told.spec = replace(told.spec, alone=True)

    made_trainer(parity).work(Offers([told], most=64))

    assert told.trainer == "fit: it is tried by itself, after what befell it among others"
    assert told.epochs == [0, 1, 2]
    assert programs.widths == []


def test_a_config_that_is_none_ends_its_own_trial_alone(parity: Parity) -> None:
    told = all_told(parity, [{}, {}])
    config = {**told[0].spec.config, "batch_size": -1}
    told[0].spec = replace(told[0].spec, config=config)

    made_trainer(parity).work(Offers(told, most=64))

    assert "batch_size" in str(told[0].ended.traceback)
    assert told[0].ended.failure is Failure.ERROR
    assert told[1].epochs == [0, 1, 2]


def test_trials_that_wait_for_one_that_trains_alone_show_that_they_live(
    parity: Parity, own: Callable[[str], Config]
) -> None:
    notes: list[tuple[int, str]] = []
    told = [Noted(one, notes) for one in all_told(parity, [own("ActsInValidation"), own("ActsInValidation"), {}, {}])]

    made_trainer(parity, clock=half_minutes()).work(Offers(told, most=64))

    of_first = notes[notes.index((0, "Started")) : notes.index((0, "Ended"))]
    assert {number for number, word in of_first if word == "Stepped"} == {1, 2, 3}
    assert {number for number, word in of_first if word == "Started"} == {0}


def test_trials_that_wait_for_programs_to_be_made_show_that_they_live(parity: Parity) -> None:
    notes: list[tuple[int, str]] = []
    told = [Noted(one, notes) for one in all_told(parity, [SGD, ADAM, RMSPROP])]

    made_trainer(parity, most=3, lanes=3, clock=half_minutes()).work(Offers(told, most=3))

    before = notes[: notes.index((0, "Started"))]
    assert {number for number, word in before if word == "Stepped"} == {0, 1, 2}


def half_minutes() -> Callable[[], float]:
    """A clock of which each look is half a minute later than the one before, so that a sign of life is always due."""
    seconds = iter(range(0, 1 << 20, 30))
    return lambda: float(next(seconds))


# programs that break


def breaks(monkeypatch: pytest.MonkeyPatch, problem: Callable[[], Exception], *, after: int) -> None:
    """Has a program raise, once, when it was called so often."""
    from pipelines.training.lanes.program import Program

    calls, train = iter(range(1 << 20)), Program.train

    def counted(program: Any, *args: Any) -> Any:
        if next(calls) == after:
            raise problem()
        return train(program, *args)

    monkeypatch.setattr(Program, "train", counted)


def test_trials_of_a_program_that_breaks_go_on_from_their_states_by_fit(
    parity: Parity, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, lambda: RuntimeError("the device is gone"), after=2)
    monkeypatch.setattr("pipelines.training.attempt._WORTH_KEEPING_S", 0.0)
    trainer = made_trainer(parity, lanes=2, most=3)
    *told, later = [
        parity.told({"seed": number, "epochs": 4}, number=number, states=f"states-{number}") for number in range(3)
    ]
    queue = Offers([*told, later], most=3)
    trainer.work(queue)

    assert [one.epochs for one in told] == [[0, 1], [0, 1]]
    assert later.trainer == "fit: its program failed (RuntimeError)"
    for one in told:
        assert one.ended.failure is Failure.LOST
        assert str(one.ended.error).startswith("RuntimeError: the device is gone")
        assert "Traceback" in str(one.ended.traceback)

    again = [next_attempt(one) for one in told]
    queue.waiting.extend(again)
    trainer.work(queue)

    for one, before in zip(again, told, strict=True):
        assert one.trainer == "fit: its program failed (RuntimeError)"
        assert one.ended.error is None
        assert one.epochs == [0, 1, 2, 3]
        retold = [event.epoch for event in one.of(EpochEnded) if event.retold]
        assert retold in ([0], before.epochs)  # the first is kept, the second where that takes no time
    assert programs.widths == [2]


def test_a_program_for_which_the_memory_was_too_small_is_made_anew_with_fewer_lanes(
    parity: Parity, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    breaks(monkeypatch, lambda: tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), after=1)
    trainer = made_trainer(parity, lanes=8, most=8)
    told = all_told(parity, [{}] * 8)
    queue = Offers(told, most=8)
    trainer.work(queue)
    assert {one.ended.failure for one in told} == {Failure.LOST}

    again = [next_attempt(one) for one in told]
    queue.waiting.extend(again)
    trainer.work(queue)

    assert all(one.in_a_lane and one.ended.error is None for one in again)
    assert programs.widths == [8, 2]


def test_a_program_of_one_lane_for_which_the_memory_is_too_small_is_no_program(
    parity: Parity, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    breaks(monkeypatch, lambda: tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), after=0)
    trainer = made_trainer(parity, lanes=1, most=1)
    (told,) = all_told(parity, [{}])
    queue = Offers([told], most=1)
    trainer.work(queue)
    again = next_attempt(told)
    queue.waiting.append(again)
    trainer.work(queue)

    assert again.trainer == "fit: its program failed (ResourceExhaustedError)"
    assert again.epochs == [0, 1, 2]


def test_a_trial_that_cannot_begin_takes_no_worker_with_it(parity: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training.lanes.template import Template

    begin, calls = Template.beginning, iter(range(1 << 20))

    def fails_once(template: Any, *args: Any) -> Any:
        if next(calls) == 1:
            raise ValueError("no such seed")
        return begin(template, *args)

    monkeypatch.setattr(Template, "beginning", fails_once)
    told = all_told(parity, [{}] * 3)

    made_trainer(parity).work(Offers(told, most=64))

    assert all(is_over(one) for one in told)
    assert str(told[1].ended.error).startswith("ValueError: no such seed")


@pytest.mark.parametrize("when", ["made", "run"])
def test_a_kept_program_that_is_spoilt_is_compiled_anew(
    parity: Parity, programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: str
) -> None:
    import tensorflow as tf

    from pipelines import compiled
    from pipelines.training.lanes.program import Program

    monkeypatch.setenv("TF_XLA_FLAGS", "")
    torn = compiled.keep_in(tmp_path / "kept") / "program.pb"
    torn.write_bytes(b"torn")
    name = {"made": "traces", "run": "train"}[when]
    works = getattr(Program, name)

    def reads_what_is_kept(program: Any, *args: Any) -> Any:
        if torn.exists():
            raise tf.errors.InternalError(None, None, "the kept program cannot be read")
        return works(program, *args)

    monkeypatch.setattr(Program, name, reads_what_is_kept)
    told = all_told(parity, [{}, {}])
    trainer, queue = made_trainer(parity), Offers(told, most=64)
    trainer.work(queue)
    if when == "run":  # its trials are with it by then: another attempt goes on with them
        assert {one.ended.failure for one in told} == {Failure.LOST}
        told = [next_attempt(one) for one in told]
        queue.waiting.extend(told)
        trainer.work(queue)

    assert not torn.exists()
    assert all(one.in_a_lane and one.ended.error is None for one in told)


# the controller's word


def test_a_pause_ends_all_lanes_with_their_states_and_they_go_on_from_there(parity: Parity) -> None:
    pause = {"epochs": 5, "verdicts": {1: Verdict.PAUSE}}
    told = [parity.told({"seed": number, **pause}, number=number, states=f"states-{number}") for number in range(4)]
    trainer, queue = made_trainer(parity), Offers(told, most=64)
    trainer.work(queue)

    for number, one in enumerate(told):
        assert one.epochs == [0, 1]
        assert (one.ended.paused, one.ended.error) == (True, None)
        assert not one.of(CheckpointWritten)
        assert list((parity.folder / f"states-{number}").glob("*.bin"))

    again = [next_attempt(one) for one in told]
    queue.waiting.extend(again)
    trainer.work(queue)
    for one, before in zip(again, told, strict=True):
        assert one.of(Started)[0].first_epoch == 2
        assert [(event.epoch, event.retold) for event in one.of(EpochEnded)] == [
            (epoch, epoch < 2) for epoch in range(5)
        ]
        assert [event.metrics for event in one.of(EpochEnded)][:2] == [event.metrics for event in before.of(EpochEnded)]
        assert (one.ended.paused, one.ended.error) == (False, None)


@pytest.mark.parametrize("in_a_lane", [True, False])
def test_a_trial_that_is_to_pause_before_it_began_does_not_begin(parity: Parity, in_a_lane: bool) -> None:
    told = parity.told({}, states="states")

    def always_pause(event: Event) -> Verdict:
        told(event)
        return Verdict.PAUSE

    if in_a_lane:
        waiting = Offers([told], most=64)
        take = waiting.take
        waiting.take = lambda: (found := take()) and (found[0], always_pause)  # type: ignore[method-assign]
        made_trainer(parity).work(waiting)
    else:
        parity.fit_trainer.train(told.spec, always_pause)

    assert told.epochs == []
    assert told.ended.paused


def test_one_that_is_told_to_stop_leaves_its_lane_to_the_next(parity: Parity, programs: Programs) -> None:
    configs: list[Config] = [{"epochs": 4} for _ in range(4)]
    configs[1] = {"epochs": 4, "verdicts": {0: Verdict.STOP}}
    told = all_told(parity, configs)

    made_trainer(parity, lanes=3, most=3).work(Offers(told, most=3))

    assert [len(one.epochs) for one in told] == [4, 1, 4, 4]
    assert [one.ended.pruned for one in told] == [False, True, False, False]
    assert told[1].best.is_file()
    assert programs.widths == [3]
    assert programs.rounds == 5


def test_a_trial_whose_own_callback_raises_ends_alone_and_its_lane_is_taken(
    parity: Parity, own: Callable[[str], Config]
) -> None:
    told = all_told(parity, [{}, own("Raises"), {}, {}])
    alone = all_told(parity, [{}, {}, {}, {}])

    made_trainer(parity, lanes=3, most=3).work(Offers(told, most=3))
    made_trainer(parity, lanes=3, most=3).work(Offers(alone, most=3))

    assert told[1].ended.failure is Failure.ERROR
    assert str(told[1].ended.error).startswith("RuntimeError: upside down")
    assert told[1].epochs == [0]
    for number in (0, 2):  # bit for bit: nothing of it reached its neighbours
        assert told[number].curve == alone[number].curve
    assert told[3].epochs == [0, 1, 2]
