"""A sideline: in order, bounded, and closed at once."""

from __future__ import annotations

import asyncio
import threading

from services.model_server.traffic.sideline import Sideline
from tests.services.model_server.parts import run


def test_a_lane_works_in_order_is_bounded_and_rests_between() -> None:
    async def work() -> None:
        failures: list[Exception] = []
        done: list[int] = []
        sideline = Sideline(10, failures.append)
        assert sideline.offer(6, lambda: 1, done.append)
        assert not sideline.offer(6, lambda: 2, done.append)
        assert sideline.offer(4, lambda: 3, done.append)
        assert not sideline.offer(1, lambda: 4, done.append)
        await sideline.settle()
        assert sideline.offer(10, lambda: 1 / 0, done.append)
        await sideline.settle()
        assert sideline.offer(10, lambda: 5, done.append)
        await sideline.settle()
        assert done == [1, 3, 5]
        assert [type(error) for error in failures] == [ZeroDivisionError]
        begun, go = threading.Event(), threading.Event()

        def slow() -> int:
            begun.set()
            go.wait(20)
            return 6

        sideline.offer(1, slow, done.append)
        sideline.offer(1, lambda: 7, done.append)
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, 20)
        sideline.close()
        go.set()
        await sideline.settle()
        assert not sideline.offer(1, lambda: 8, done.append)
        assert done == [1, 3, 5]

    run(work())


def test_a_lane_takes_few_pieces_of_work_however_small_they_are() -> None:
    async def work() -> None:
        sideline, go = Sideline(10**9, lambda error: None), threading.Event()
        taken = sum(sideline.offer(0, lambda: go.wait(20), lambda found: None) for _ in range(1000))
        go.set()
        await sideline.settle()
        assert taken == 64
        assert sideline.has_room(1)

    run(work())
