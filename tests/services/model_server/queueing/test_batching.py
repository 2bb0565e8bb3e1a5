"""Rows go back to those who sent them, nothing waits for ever, and one bad request fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.model_server.errors import DeadlineExceeded, Overloaded, PredictionFailed
from services.model_server.queueing.batching import Batcher
from services.model_server.queueing.crowd import Crowd
from tests.services.model_server.parts import run
from tests.services.model_server.queueing.test_crowd import Clock, stay

FAR = float("inf")
DIRECT, INLINE, THREAD = 0.0, 0.0005, 0.002  # estimates that lead to each of the three ways to compute


def square(rows: NDArray[Any]) -> NDArray[Any]:
    return np.stack([rows[:, 0], rows[:, 0] ** 2], axis=1)


def batcher(
    compute: Callable[[NDArray[Any]], NDArray[Any]] = square, seconds: float = INLINE, **options: Any
) -> Batcher:
    options = {"max_batch": 4, "queue_rows": 10_000} | options
    return Batcher(compute, estimate_s=lambda _: seconds, **options)


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(1, 11), min_size=1, max_size=12),
    max_batch=st.integers(1, 9),
    seconds=st.sampled_from([DIRECT, INLINE, THREAD]),
)
def test_every_caller_gets_its_own_rows_in_order(counts: list[int], max_batch: int, seconds: float) -> None:
    sizes: list[int] = []

    async def work() -> list[NDArray[Any]]:
        queue = batcher(seconds=seconds, max_batch=max_batch, on_batch=sizes.append)
        starts = np.cumsum([0, *counts])
        requests = [np.arange(a, a + n, dtype=np.float64)[:, None] for a, n in zip(starts, counts, strict=False)]
        answers = await asyncio.gather(*(queue.submit(rows, FAR) for rows in requests))
        assert queue.waiting_rows == 0
        queue.close()
        return [
            np.concatenate([rows, rows**2], axis=1) == answer for rows, answer in zip(requests, answers, strict=True)
        ]

    assert all(same.all() for same in run(work()))
    assert max(sizes) <= max_batch
    assert sum(sizes) == sum(counts)


def test_requests_that_wait_together_are_computed_together() -> None:
    sizes: list[int] = []

    async def work() -> None:
        queue = batcher(max_batch=64, on_batch=sizes.append)
        await asyncio.gather(*(queue.submit(np.ones((3, 1)), FAR) for _ in range(5)))

    run(work())
    assert sizes == [15]


def test_a_cheap_call_of_an_idle_model_is_answered_on_the_spot() -> None:
    async def work() -> None:
        coroutine = batcher(seconds=DIRECT).submit(np.ones((1, 1)), FAR)
        with pytest.raises(StopIteration):  # it ends without having waited for anything
            coroutine.send(None)

    run(work())


def test_samples_of_different_shapes_do_not_share_a_batch() -> None:
    async def work() -> list[NDArray[Any]]:
        queue = batcher(lambda rows: rows.sum(axis=1), max_batch=64)
        return list(await asyncio.gather(*(queue.submit(np.ones(shape), FAR) for shape in ((2, 3), (1, 5)))))

    first, second = run(work())
    assert first.tolist() == [3, 3]
    assert second.tolist() == [5]


@pytest.mark.parametrize("seconds", [DIRECT, INLINE, THREAD])
def test_a_request_that_fails_does_not_fail_those_in_its_batch(seconds: float) -> None:
    def compute(rows: NDArray[Any]) -> NDArray[Any]:
        if (rows < 0).any():
            raise ValueError("negative")
        return rows

    async def work() -> list[Any]:
        queue = batcher(compute, seconds, max_batch=64)
        requests = [np.full((1, 1), value) for value in (1.0, -1.0, 2.0)]
        answers = await asyncio.gather(*(queue.submit(rows, FAR) for rows in requests), return_exceptions=True)
        queue.close()
        return list(answers)

    good, bad, also_good = run(work())
    assert (good.item(), also_good.item()) == (1.0, 2.0)
    assert isinstance(bad, PredictionFailed)


class Gate:
    """A model that computes when the test lets it."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.calls: list[int] = []

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        self.calls.append(len(rows))
        self.entered.set()
        assert self.leave.wait(20)
        return rows


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_full_queue_refuses_and_takes_again_when_it_has_room() -> None:
    async def work() -> None:
        gate = Gate()
        queue = batcher(gate, THREAD, max_batch=4, queue_rows=6)
        running = asyncio.create_task(queue.submit(np.ones((3, 1)), FAR))
        await until(gate.entered.is_set)
        waiting = [asyncio.create_task(queue.submit(np.ones((count, 1)), FAR)) for count in (3, 2)]
        await until(lambda: queue.waiting_rows == 5)
        with pytest.raises(Overloaded, match="5 rows wait, 6 may"):
            await queue.submit(np.ones((2, 1)), FAR)
        gate.leave.set()
        await asyncio.gather(running, *waiting)
        assert (await queue.submit(np.ones((2, 1)), FAR)).shape == (2, 1)
        queue.close()

    run(work())


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    async def work() -> NDArray[Any]:
        return await batcher(max_batch=4, queue_rows=2).submit(np.ones((9, 1)), FAR)

    assert run(work()).shape == (9, 2)


@pytest.mark.parametrize("seconds", [INLINE, THREAD])
def test_while_a_large_request_is_computed_small_ones_are_let_in_and_answered(seconds: float) -> None:
    sizes: list[int] = []

    async def work() -> None:
        queue = batcher(seconds=seconds, max_batch=4, queue_rows=8, on_batch=sizes.append)
        large = asyncio.ensure_future(queue.submit(np.arange(8000.0)[:, None], FAR))
        await until(lambda: len(sizes) >= 2)
        for number in range(10):
            answers = await asyncio.gather(*(queue.submit(np.full((2, 1), number + place), FAR) for place in range(3)))
            assert [answer[:, 1].tolist() for answer in answers] == [
                [(number + place) ** 2.0] * 2 for place in range(3)
            ]
        assert not large.done()
        np.testing.assert_array_equal((await large)[:, 1], np.arange(8000.0) ** 2)
        assert queue.waiting_rows == 0
        queue.close()

    run(work())


def test_large_requests_are_refused_where_others_of_their_kind_fill_the_queue_and_small_ones_are_not() -> None:
    async def work() -> None:
        gate = Gate()
        queue = batcher(gate, THREAD, max_batch=4, queue_rows=16)
        running = asyncio.create_task(queue.submit(np.ones((1, 1)), FAR))
        await until(gate.entered.is_set)
        waiting = [asyncio.create_task(queue.submit(np.ones((count, 1)), FAR)) for count in (100, 4, 4, 4, 4)]
        await until(lambda: queue.waiting_rows == 116)
        with pytest.raises(Overloaded, match="100 rows of large requests wait, 16 may"):
            await queue.submit(np.ones((5, 1)), FAR)
        with pytest.raises(Overloaded, match="16 rows wait, 16 may"):
            await queue.submit(np.ones((1, 1)), FAR)
        gate.leave.set()
        await asyncio.gather(running, *waiting)
        assert (await queue.submit(np.ones((100, 1)), FAR)).shape == (100, 1)
        queue.close()

    run(work())


def test_a_large_request_whose_time_is_over_leaves_its_place_to_the_next() -> None:
    async def work() -> None:
        clock = Clock()
        queue, go = held(0.001, Crowd(0), clock, queue_rows=16)
        running = asyncio.ensure_future(queue.submit(np.ones((4, 1)), FAR))
        await until(lambda: queue._busy)
        late = asyncio.ensure_future(queue.submit(np.ones((40, 1)), clock.now + 0.05))
        with pytest.raises(DeadlineExceeded):
            await late
        go.set()
        await running
        await until(lambda: queue.waiting_rows == 0)
        assert len(await queue.submit(np.ones((40, 1)), FAR)) == 40
        queue.close()

    run(work())


def test_the_deadline_ends_the_wait_and_what_expired_is_never_computed() -> None:
    async def work() -> None:
        now = 0.0
        gate = Gate()
        queue = batcher(gate, THREAD, clock=lambda: now)
        running = asyncio.create_task(queue.submit(np.ones((1, 1)), 100.0))
        await until(gate.entered.is_set)
        with pytest.raises(DeadlineExceeded):
            await queue.submit(np.ones((3, 1)), 0.01)  # ends although the model is still busy
        gate.leave.set()
        await running
        await queue.submit(np.ones((2, 1)), 100.0)
        assert gate.calls == [1, 2]
        assert queue.waiting_rows == 0
        queue.close()

    run(work())


def test_rows_of_a_caller_that_has_gone_are_not_computed() -> None:
    async def work() -> None:
        gate = Gate()
        queue = batcher(gate, THREAD)
        running = asyncio.create_task(queue.submit(np.ones((1, 1)), FAR))
        await until(gate.entered.is_set)
        gone = asyncio.create_task(queue.submit(np.ones((3, 1)), FAR))
        await until(lambda: queue.waiting_rows == 3)
        gone.cancel()
        gate.leave.set()
        await running
        await asyncio.gather(gone, return_exceptions=True)
        await until(lambda: queue.waiting_rows == 0)
        assert gate.calls == [1]
        queue.close()

    run(work())


def test_closing_lets_what_is_queued_be_answered() -> None:
    async def work() -> None:
        gate = Gate()
        queue = batcher(gate, THREAD)
        running = asyncio.create_task(queue.submit(np.ones((1, 1)), FAR))
        await until(gate.entered.is_set)
        waiting = asyncio.create_task(queue.submit(np.ones((2, 1)), FAR))
        await until(lambda: queue.waiting_rows == 2)
        queue.close()
        gate.leave.set()
        assert (await running).shape == (1, 1)
        assert (await waiting).shape == (2, 1)

    run(work())


def held(seconds: float, crowd: Crowd, clock: Clock, **options: Any) -> tuple[Batcher, threading.Event]:
    """A queue whose model computes when it is let, and estimates `seconds` for every row."""
    go = threading.Event()

    def compute(rows: NDArray[Any]) -> NDArray[Any]:
        go.wait(20)
        return rows

    options = {"max_batch": 4, "queue_rows": 10_000} | options
    return Batcher(compute, estimate_s=lambda rows: seconds * rows, clock=clock, crowd=crowd, **options), go


def test_a_request_that_would_come_too_late_is_refused_when_it_comes() -> None:
    async def work() -> None:
        clock = Clock()
        queue, go = held(1.0, Crowd(0), clock)
        waits = [asyncio.ensure_future(queue.submit(np.ones((4, 1)), FAR)) for _ in range(3)]
        await until(lambda: queue.waiting_rows == 8)  # four rows are being computed for 4 s
        late = asyncio.ensure_future(queue.submit(np.ones((1, 1)), clock.now + 12.5))
        with pytest.raises(Overloaded, match="for about 12 s") as refused:
            await late
        assert refused.value.retry_after_s == 12
        in_time = asyncio.ensure_future(queue.submit(np.ones((1, 1)), clock.now + 13.5))
        await until(lambda: queue.waiting_rows == 9)
        go.set()
        await asyncio.gather(*waits, in_time)

    run(work())


def test_while_a_crowd_stays_only_those_are_let_in_who_wait_little() -> None:
    async def work() -> None:
        clock = Clock()
        crowd = Crowd(2, clock)
        queue, go = held(1.0, crowd, clock, max_batch=1)
        stay(crowd, clock)
        first = asyncio.ensure_future(queue.submit(np.ones((1, 1)), FAR))
        await until(lambda: queue.waiting_rows == 0)
        second = asyncio.ensure_future(queue.submit(np.ones((1, 1)), FAR))  # waits for 1 s, as long as it takes
        await until(lambda: queue.waiting_rows == 1)
        with pytest.raises(Overloaded):
            await queue.submit(np.ones((1, 1)), FAR)
        go.set()
        await asyncio.gather(first, second)

    run(work())


def test_a_crowd_that_stays_is_noticed_by_the_queue() -> None:
    async def work() -> None:
        clock, changes = Clock(), list[bool]()
        queue, go = held(1.0, Crowd(3, clock, changes.append), clock, max_batch=1)
        go.set()

        async def ask() -> None:
            await queue.submit(np.ones((1, 1)), FAR)
            clock.now += 0.02

        await asyncio.gather(*(ask() for _ in range(20)))
        assert changes == [True]

    run(work())


def test_batches_that_take_longer_than_they_were_thought_to_are_taken_into_account() -> None:
    async def work() -> None:
        clock = Clock()

        def compute(rows: NDArray[Any]) -> NDArray[Any]:
            clock.now += 8.0
            return rows

        queue = Batcher(compute, max_batch=1, queue_rows=99, estimate_s=lambda _: 1.0, clock=clock)
        for _ in range(30):
            await queue.submit(np.ones((1, 1)), FAR)
        assert queue._admission.seconds(1) == pytest.approx(8.0, rel=0.05)

    run(work())


def test_of_requests_that_come_together_the_small_ones_share_a_call_and_a_large_one_does_not() -> None:
    sizes: list[int] = []

    async def work() -> None:
        queue = Batcher(
            square, max_batch=64, queue_rows=99, estimate_s=lambda rows: (5 + rows) * 1e-6,
            on_batch=sizes.append, alone=lambda: False,
        )  # fmt: skip
        large = queue.submit(np.ones((20, 1)), FAR)
        await asyncio.gather(*(queue.submit(np.ones((1, 1)), FAR) for _ in range(3)), return_exceptions=False)
        await large

    run(work())
    assert sizes == [3, 20]


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=12),
    by_function=st.lists(st.booleans(), min_size=12, max_size=12),
    max_batch=st.integers(3, 40),
    alone=st.booleans(),
)
def test_functions_and_coroutines_share_calls_and_each_gets_its_own_rows(
    counts: list[int], by_function: list[bool], max_batch: int, alone: bool
) -> None:
    async def work() -> None:
        queue = batcher(seconds=DIRECT if alone else INLINE, max_batch=max_batch)
        starts = np.cumsum([0, *counts])
        told: dict[int, Any] = {}
        tasks = {}
        for number, (start, count) in enumerate(zip(starts, counts, strict=False)):
            rows = np.arange(start, start + count, dtype=np.float64)[:, None]
            taken = by_function[number] and queue.soon(rows, FAR, partial(told.__setitem__, number))
            if not taken:
                assert number not in told
                tasks[number] = asyncio.ensure_future(queue.submit(rows, FAR))
        told |= dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
        for _ in range(3 * len(counts)):
            await asyncio.sleep(0)
        assert queue.waiting_rows == 0
        for number, (start, count) in enumerate(zip(starts, counts, strict=False)):
            np.testing.assert_array_equal(told[number][:, 1], np.arange(start, start + count) ** 2.0)

    run(work())


def test_what_would_take_longer_than_a_turn_is_not_taken_by_function() -> None:
    told: list[Any] = []

    async def work() -> None:
        slow = batcher(seconds=THREAD)
        assert not slow.soon(np.ones((1, 1)), FAR, told.append)
        assert not batcher(inline=False).soon(np.ones((1, 1)), FAR, told.append)
        full = batcher(max_batch=4)
        assert full.soon(np.ones((3, 1)), FAR, told.append)
        assert not full.soon(np.ones((2, 1)), FAR, told.append)
        assert full.soon(np.ones((1, 1)), FAR, told.append)
        await asyncio.sleep(0)

    run(work())
    assert [len(outputs) for outputs in told] == [3, 1]


def test_one_that_fails_by_function_fails_alone() -> None:
    def picky(rows: NDArray[Any]) -> NDArray[Any]:
        if (rows < 0).any():
            raise ValueError("negative")
        return square(rows)

    told: list[Any] = []

    async def work() -> None:
        queue = batcher(picky)
        for value in (1.0, -1.0, 3.0):
            assert queue.soon(np.full((1, 1), value), FAR, told.append)
        await asyncio.sleep(0)
        at_once = batcher(picky, seconds=DIRECT)
        assert at_once.soon(np.full((1, 1), -1.0), FAR, told.append)

    run(work())
    assert [type(outcome) for outcome in told] == [np.ndarray, PredictionFailed, np.ndarray, PredictionFailed]
    assert "negative" in str(told[1])


def test_one_whose_time_is_over_at_its_turn_is_told_so_by_function() -> None:
    told: list[Any] = []

    async def work() -> None:
        clock = Clock()
        queue = batcher(clock=clock)
        assert queue.soon(np.ones((1, 1)), clock() + 1, told.append)
        clock.now += 2
        await asyncio.sleep(0)

    run(work())
    assert [type(outcome) for outcome in told] == [DeadlineExceeded]


def test_one_that_ended_up_in_a_thread_is_told_once_and_leaves_no_timer() -> None:
    told: list[Any] = []

    async def work() -> None:
        cheap = Batcher(square, max_batch=8, queue_rows=100, estimate_s=lambda rows: 0.0005 * rows)
        assert cheap.soon(np.ones((1, 1)), asyncio.get_running_loop().time() + 1e6, told.append)
        job = cheap._line.small[0]
        await cheap.submit(np.ones((7, 1)), FAR)  # together they are too much for the loop
        assert job.timer is not None
        assert job.timer.cancelled()
        cheap.close()

    run(work())
    assert [len(outputs) for outputs in told] == [1]
