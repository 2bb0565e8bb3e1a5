"""A crowd that is gone in a moment is served whole; while one stays, few are let in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from services.model_server.connections.gate import Gate
from services.model_server.queueing.crowd import BACK_S, EASE, LOOK_S, STAYS_S, UNSEEN_S, Asking, Crowd


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Client:
    """Somebody who asks, and is answered as soon as it is let in unless it `stays`."""

    asked = 0

    def __init__(self, stays: bool = False) -> None:
        self.stays = stays
        self.heard: list[str] = []

    @property
    def busy(self) -> bool:
        return self.stays and self.heard[-1:] == ["in"]

    def let_in(self) -> None:
        self.heard.append("in")

    def turn_away(self) -> int:
        self.heard.append("away")
        return 503


def watched(clock: Clock, most: int = 10, asking: Callable[[], int] | None = None) -> tuple[Crowd, list[bool]]:
    changes: list[bool] = []
    return Crowd(most, clock, changes.append, asking), changes


def tight(crowd: Crowd) -> bool:
    return crowd.tight


def stay(crowd: Crowd, clock: Any, came: int = 50) -> None:
    crowd.turn(came, 0.0)
    clock.now += STAYS_S * 1.01
    crowd.turn(came, 0.0)


def pass_on(crowd: Crowd, clock: Any, load: float, seconds: float = 1.1 * LOOK_S) -> None:
    """So much comes, as a share of what can be answered, in turns of 10 ms."""
    for _ in range(round(seconds / 0.01)):
        clock.now += 0.01
        crowd.turn(3, load * 0.01)


def test_a_crowd_that_stays_makes_it_tight(clock: Clock) -> None:
    crowd, changes = watched(clock)
    crowd.turn(11, 0.0)
    clock.now += STAYS_S * 0.9
    crowd.turn(11, 0.0)
    assert not tight(crowd)
    clock.now += STAYS_S * 0.2
    crowd.turn(11, 0.0)
    assert tight(crowd)
    assert changes == [True]


def test_a_crowd_that_is_gone_in_between_does_not(clock: Clock) -> None:
    crowd, changes = watched(clock)
    for _ in range(20):
        crowd.turn(500, 0.0)
        clock.now += STAYS_S / 2
        crowd.turn(10, 0.0)
        clock.now += STAYS_S / 2
    assert not tight(crowd)
    assert changes == []


def test_a_crowd_stays_though_not_every_turn_sees_all_of_it(clock: Clock) -> None:
    crowd, changes = watched(clock)
    for _ in range(5):
        for came in (50, 4, 9):
            crowd.turn(came, 0.0)
            clock.now += UNSEEN_S / 3
    assert tight(crowd)
    assert changes == [True]


@pytest.mark.parametrize("load", [EASE * 1.1, 1.0, 20.0])
def test_it_stays_tight_while_more_comes_than_can_be_answered(clock: Clock, load: float) -> None:
    crowd, changes = watched(clock)
    stay(crowd, clock)
    pass_on(crowd, clock, load, 20 * LOOK_S)
    assert tight(crowd)
    assert changes == [True]


@pytest.mark.parametrize("load", [0.0, 0.2, EASE * 0.9])
def test_it_is_gone_as_soon_as_what_comes_can_be_answered(clock: Clock, load: float) -> None:
    crowd, changes = watched(clock)
    stay(crowd, clock)
    pass_on(crowd, clock, 20.0)
    pass_on(crowd, clock, load, 2 * LOOK_S)
    assert not tight(crowd)
    assert changes == [True, False]


def test_it_is_gone_when_nothing_came_for_long_and_then_somebody_asks(clock: Clock) -> None:
    crowd, changes = watched(clock)
    stay(crowd, clock)
    clock.now += 3600
    crowd.turn(1, 0.01)
    assert changes == [True, False]


@pytest.mark.parametrize(("clients", "gone"), [(10, True), (11, False)])
def test_a_few_who_come_again_at_once_are_no_crowd_however_often_they_come(
    clock: Clock, clients: int, gone: bool
) -> None:
    crowd, changes = watched(clock, asking=lambda: clients)
    stay(crowd, clock)
    pass_on(crowd, clock, 5.0)
    assert tight(crowd) is not gone
    assert changes == ([True, False] if gone else [True])


def test_a_crowd_that_is_gone_must_stay_again_before_it_is_tight_again(clock: Clock) -> None:
    crowd, changes = watched(clock)
    stay(crowd, clock)
    pass_on(crowd, clock, 0.1)
    assert changes == [True, False]
    crowd.turn(50, 0.0)
    assert not tight(crowd)


def test_the_sooner_one_is_back_the_longer_it_is_looked_at(clock: Clock) -> None:
    crowd, changes = watched(clock)
    looks = []
    for _ in range(7):
        stay(crowd, clock)
        begun = clock.now
        while tight(crowd):
            pass_on(crowd, clock, 0.2, 0.01)
        looks.append(round((clock.now - begun) / LOOK_S))
    assert looks == [1, 2, 4, 8, 16, 16, 16]
    clock.now += BACK_S
    stay(crowd, clock)
    pass_on(crowd, clock, 0.2)
    assert not tight(crowd)
    assert changes == [True, False] * 8


def test_none_is_a_crowd_where_it_is_switched_off(clock: Clock) -> None:
    crowd, _ = watched(clock, most=0)
    stay(crowd, clock, came=10**6)
    assert not tight(crowd)


def test_each_who_asks_is_counted_once_in_a_moment() -> None:
    asking, clients = Asking(), [Client() for _ in range(7)]
    gate_of = asyncio.new_event_loop()
    try:
        gate = Gate(Crowd(4), gate_of, asking=asking)
        asking.tick(100.0)
        for _ in range(30):
            for client in clients[:5]:
                gate.admits(b"POST", SHORT, client)
        assert asking() == 5
        asking.tick(100.0 + LOOK_S)
        gate.admits(b"POST", SHORT, clients[6])
        assert asking() == 5, "the moment before counts, or it would forget everybody each time"
        asking.tick(100.0 + 2 * LOOK_S)
        assert asking() == 1
    finally:
        gate_of.close()


SHORT = [(b"content-length", b"100")]


async def heard(clients: list[Client]) -> None:
    """Lets the loop turn until all of them know whether they are let in."""
    for _ in range(100):
        await asyncio.sleep(0)
        if all(client.heard for client in clients):
            return
    raise AssertionError("Somebody never hears anything.")


def admitted(
    crowd: Crowd, turns: int, came: int, headers: list[tuple[bytes, bytes]], cost_s: float = 0.0, sample: int = 0
) -> list[int]:
    """How many of those who came at each turn were let in.

    Args:
        cost_s: What each of them cost that was let in.
        sample: Turns before that with nobody sent away.
    """
    worked = 0.0

    async def work() -> list[int]:
        nonlocal worked
        found = []
        gate = Gate(crowd, asyncio.get_running_loop(), worked=lambda: worked)
        for turn in range(-sample, turns):
            if turn == 0 and sample:
                stay(crowd, crowd._clock, came=10**6)
            clients = [Client() for _ in range(came)]
            at_once = sum(gate.admits(b"POST", headers, client) for client in clients)
            assert gate.admits(b"GET", [], Client()), "probes are let in whatever happens"
            await (asyncio.sleep(0) if at_once else heard(clients))
            found.append(at_once + sum(client.heard == ["in"] for client in clients))
            worked += found[-1] * cost_s
        return found[sample:]

    return asyncio.run(work())


@pytest.mark.parametrize(("cost_s", "few"), [(20e-6, 2), (100e-6, 2), (150e-6, 1), (0.75e-3, 1), (0.5, 1)])
def test_the_more_a_request_costs_the_fewer_are_let_in_at_a_turn(clock: Clock, cost_s: float, few: int) -> None:
    crowd, _ = watched(clock, most=1000)
    assert admitted(crowd, 3, 20, SHORT, cost_s, sample=10) == [few] * 3


def test_what_is_refused_does_not_count_as_cheap_work(clock: Clock) -> None:
    crowd, _ = watched(clock, most=1000)
    assert admitted(crowd, 40, 100, SHORT, 0.75e-3, sample=5) == [1] * 40


def test_the_gate_lets_all_in_while_no_crowd_stays(clock: Clock) -> None:
    crowd, _ = watched(clock)
    assert admitted(crowd, 5, 100, SHORT) == [100] * 5


def test_the_gate_lets_a_few_in_at_each_turn_while_one_stays(clock: Clock) -> None:
    crowd, _ = watched(clock)
    stay(crowd, clock)
    assert admitted(crowd, 3, 100, SHORT) == [2, 2, 2]


def test_turns_with_few_are_never_touched(clock: Clock) -> None:
    crowd, _ = watched(clock)
    stay(crowd, clock)
    assert admitted(crowd, 3, 2, SHORT) == [2, 2, 2]


@pytest.mark.parametrize("length", [b"1000000", b"99999999999999999999", b"x", None])
def test_long_bodies_and_those_of_unknown_length_are_left_to_the_application(
    clock: Clock, length: bytes | None
) -> None:
    crowd, _ = watched(clock)
    stay(crowd, clock)
    headers = [] if length is None else [(b"content-length", length)]
    assert admitted(crowd, 1, 100, headers) == [100]


def come(gate: Gate, clients: list[Client]) -> None:
    """All of them send a request, in their order."""
    for client in clients:
        assert not gate.admits(b"POST", SHORT, client)


def crowded(work: Callable[[Gate, Clock], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Runs a test at a gate that lets in two, while a crowd stays."""

    async def inner() -> None:
        clock = Clock()
        crowd = Crowd(4, clock)
        stay(crowd, clock)
        await work(Gate(crowd, asyncio.get_running_loop(), worked=lambda: 0.0, clock=clock, **options), clock)

    asyncio.run(inner())


def test_those_are_let_in_who_came_last_and_so_have_waited_least() -> None:
    async def work(gate: Gate, clock: Clock) -> None:
        clients = [Client() for _ in range(9)]
        come(gate, clients)
        await heard(clients)
        assert [client.heard for client in clients] == [["away"]] * 7 + [["in"]] * 2

    crowded(work)


def test_nobody_is_let_in_before_those_are_answered_who_are_inside() -> None:
    async def work(gate: Gate, clock: Clock) -> None:
        inside, late = [Client(stays=True) for _ in range(2)], [Client() for _ in range(3)]
        come(gate, inside)
        await heard(inside)
        come(gate, late[:1])
        await heard(late[:1])
        assert late[0].heard == ["away"]
        for client in inside:
            client.stays = False
        come(gate, late[1:])
        await heard(late)
        assert [client.heard for client in late[1:]] == [["in"]] * 2

    crowded(work)


def test_who_waits_inside_for_something_else_than_the_loop_takes_no_place() -> None:
    async def work(gate: Gate, clock: Clock) -> None:
        slow, late = [Client(stays=True) for _ in range(2)], Client()
        come(gate, slow)
        await heard(slow)
        clock.now += 0.01
        come(gate, [late])
        await heard([late])
        assert late.heard == ["in"]

    crowded(work)


def test_who_comes_while_others_are_at_work_is_looked_at_with_who_comes_just_behind() -> None:
    async def work(gate: Gate, clock: Clock) -> None:
        first, meanwhile, behind = ([Client() for _ in range(count)] for count in (2, 4, 2))
        come(gate, first)
        await asyncio.sleep(0)
        assert all(client.heard == ["in"] for client in first)
        come(gate, meanwhile)
        await asyncio.sleep(0)
        assert not any(client.heard for client in meanwhile)
        come(gate, behind)
        await heard([*meanwhile, *behind])
        assert [client.heard for client in (*meanwhile, *behind)] == [["away"]] * 4 + [["in"]] * 2

    crowded(work)


def test_the_few_who_are_let_in_do_not_wait_for_one_another() -> None:
    told: list[int] = []

    async def work(gate: Gate, clock: Clock) -> None:
        clients = [Client() for _ in range(9)]
        come(gate, clients)
        await heard(clients)

    crowded(work, on_turn=told.append)
    assert told == [1]


def test_the_more_come_turn_after_turn_the_more_are_let_in_so_that_not_all_work_is_to_refuse(clock: Clock) -> None:
    crowd, _ = watched(clock, most=1000)
    found = admitted(crowd, 80, 400, SHORT, 100e-6, sample=5)
    assert found[0] == found[1] == 2, "what piles up in a moment changes little"
    assert found == sorted(found)
    assert found[-1] == 14  # 400 refusals of 15 us are 6 ms, a quarter of which is spent on answers of 0.1 ms


def test_many_are_turned_away_in_slices_while_others_are_inside() -> None:
    async def work(gate: Gate, clock: Clock) -> None:
        clients = [Client(stays=True) for _ in range(63)]
        come(gate, clients)
        gone = [0]
        while gone[-1] < 61:
            await asyncio.sleep(0)
            gone.append(sum(client.heard == ["away"] for client in clients))
            assert [client.heard for client in clients[: gone[-1]]] == [["away"]] * gone[-1], (
                "who came first goes first"
            )
        slices = [after - before for before, after in itertools.pairwise(gone) if after > before]
        assert slices[0] == max(slices) == 15, "a quarter of those who leave"
        assert slices[-2] == 8

    crowded(work)


def test_of_very_many_the_first_hear_it_before_all_the_others_have_been_read() -> None:
    async def work(gate: Gate, clock: Clock) -> None:
        clients = [Client() for _ in range(300)]
        come(gate, clients)
        assert [client.heard for client in clients] == [["away"]] * 236 + [[]] * 64
        await heard(clients)
        assert [client.heard for client in clients[236:]] == [["away"]] * 62 + [["in"]] * 2

    crowded(work)


def test_all_are_turned_away_at_once_when_nobody_is_inside() -> None:
    async def work(gate: Gate, clock: Clock) -> None:
        clients = [Client() for _ in range(63)]
        come(gate, clients)
        for _ in range(2):
            await asyncio.sleep(0)
        assert sum(client.heard == ["away"] for client in clients) == 61

    crowded(work)
