"""What takes long is read beside the event loop, in bounds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from services.model_server.errors import DeadlineExceeded, Overloaded
from services.model_server.protocols.desk import Desk
from tests.services.model_server.parts import run


def later() -> float:
    return time.perf_counter() + 30


class Held:
    """Work that ends when it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        self.go.wait(20)
        return threading.current_thread().name


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


def test_work_is_done_in_a_thread_of_its_own_one_piece_at_a_time() -> None:
    async def work() -> None:
        desk, first, second = Desk(), Held(), Held()
        tasks = [asyncio.ensure_future(desk.do(held, 1, later())) for held in (first, second)]
        await until(first.began.is_set)
        assert desk.waiting == 2
        assert not second.began.is_set()
        first.go.set()
        second.go.set()
        names = await asyncio.gather(*tasks)
        assert names[0] == names[1]
        assert names[0].startswith("desk")
        await until(lambda: (desk.waiting, desk.waiting_bytes) == (0, 0))

    run(work())


def test_too_many_pieces_or_bytes_are_refused() -> None:
    async def work() -> None:
        desk, held = Desk(most_waiting=2, most_bytes=100), Held()
        tasks = [asyncio.ensure_future(desk.do(held, 90, later()))]
        await until(held.began.is_set)
        with pytest.raises(Overloaded):
            await desk.do(held, 11, later())
        tasks.append(asyncio.ensure_future(desk.do(held, 10, later())))
        await until(lambda: desk.waiting == 2)
        with pytest.raises(Overloaded):
            await desk.do(held, 0, later())
        held.go.set()
        await asyncio.gather(*tasks)
        await until(lambda: (desk.waiting, desk.waiting_bytes) == (0, 0))
        assert await desk.do(lambda: 3, 1000, later()) == 3  # alone, anything goes

    run(work())


def test_at_its_deadline_a_request_is_told_so_and_what_was_not_begun_is_never_done() -> None:
    async def work() -> None:
        desk, held, never = Desk(), Held(), Held()
        first = asyncio.ensure_future(desk.do(held, 1, later()))
        await until(held.began.is_set)
        with pytest.raises(DeadlineExceeded):
            await desk.do(never, 1, time.perf_counter() + 0.01)
        with pytest.raises(DeadlineExceeded):
            await desk.do(never, 1, 0.0)
        await until(lambda: desk.waiting == 1)
        held.go.set()
        assert (await first).startswith("desk")
        await until(lambda: desk.waiting == 0)
        assert not never.began.is_set()

    run(work())


def test_what_was_begun_counts_until_it_is_done_whoever_still_waits() -> None:
    async def work() -> None:
        desk, held = Desk(most_waiting=1), Held()
        first = asyncio.ensure_future(desk.do(held, 1, later()))
        await until(held.began.is_set)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(Overloaded):
            await desk.do(held, 1, later())
        held.go.set()
        await until(lambda: desk.waiting == 0)

    run(work())


def test_what_goes_wrong_with_the_work_goes_wrong_with_the_request() -> None:
    def work_of_a_bad_day() -> None:
        raise ValueError("no")

    async def work() -> None:
        with pytest.raises(ValueError, match="no"):
            await Desk().do(work_of_a_bad_day, 1, later())

    run(work())
