"""Who is next: small requests in their order, large ones piece by piece, and neither waits long for the other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.model_server.errors import DeadlineExceeded, Overloaded
from services.model_server.queueing.jobs import Job, Told
from services.model_server.queueing.line import Line

FAR = float("inf")


def job(count: int, deadline: float = FAR, width: int = 1, told: list[Any] | None = None) -> Job:
    return Job(np.ones((count, width)), count, deadline, Told([].append if told is None else told.append), 0.0)


def join(line: Line, *jobs: Job) -> None:
    for one in jobs:
        line.add(one)


def sizes(line: Line, batches: int, now: float = 1.0) -> list[list[int]]:
    """The pieces of the next batches, by how many rows they have."""
    return [[piece.stop - piece.start for piece in line.take(now)[0]] for _ in range(batches)]


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.one_of(st.none(), st.integers(1, 40)), min_size=1, max_size=60),
    max_batch=st.integers(1, 9),
    most_rows=st.integers(1, 40),
)
def test_every_row_is_in_one_batch_and_neither_kind_waits_long_for_the_other(
    steps: list[int | None], max_batch: int, most_rows: int
) -> None:
    line = Line(max_batch, most_rows)
    jobs: list[Job] = []
    seen: dict[int, list[tuple[int, int]]] = {}
    latest: dict[int, int] = {}  # by which batch a small one must be whole
    batch = 0
    kinds: list[tuple[bool, bool, bool]] = []  # of each batch: whether it is of large ones, and which kinds waited

    def take() -> None:
        nonlocal batch
        waited = bool(line.small), bool(line.large)
        pieces, rows = line.take(1.0)
        batch += 1
        assert rows == sum(piece.stop - piece.start for piece in pieces) <= max_batch
        assert bool(pieces) == any(waited)
        for piece in pieces:
            seen.setdefault(id(piece.job), []).append((piece.start, piece.stop))
            if piece.stop == piece.job.count and id(piece.job) in latest:
                assert batch <= latest[id(piece.job)]
        if pieces:
            kinds.append((pieces[0].job.count > line.most_small, *waited))

    for count in steps:
        if count is None:
            take()
            continue
        one = job(count)
        jobs.append(one)
        line.add(one)
        if count <= line.most_small:
            latest[id(one)] = batch + 2 * -(-line.rows // max_batch)
    while line.small or line.large:
        take()
    assert (line.rows, line.large_rows) == (0, 0)
    for one in jobs:
        pieces = seen[id(one)]
        assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
        assert pieces[-1][1] == one.count
    for before, after in pairwise(kinds):
        if all(before[1:]) and all(after[1:]):  # both waited twice in a row
            assert before[0] != after[0]


def test_a_large_one_lets_who_came_later_go_before_its_next_piece() -> None:
    line = Line(4, 100)
    large, small = job(20), job(3)
    join(line, large)
    assert sizes(line, 2) == [[4], [4]]
    join(line, small)
    assert [piece.job for piece in line.take(1.0)[0]] == [small]
    assert sizes(line, 4) == [[4], [4], [4], []]


def test_large_ones_take_turns_and_fill_a_batch_together() -> None:
    line = Line(4, 100)
    first, second = job(6), job(9)
    join(line, first, second)
    taken = [[(piece.job is first, piece.stop) for piece in line.take(1.0)[0]] for _ in range(4)]
    assert taken == [[(True, 4)], [(False, 4)], [(True, 6), (False, 6)], [(False, 9)]]


def test_large_ones_of_different_shapes_do_not_share_a_batch() -> None:
    line = Line(4, 100)
    join(line, job(5), job(5, width=2))
    assert sizes(line, 5) == [[4], [4], [1], [1], []]


@pytest.mark.parametrize(("max_batch", "most_rows", "most_small"), [(256, 4096, 256), (256, 16, 8), (4, 1, 1)])
def test_what_would_take_half_of_the_places_counts_as_large(max_batch: int, most_rows: int, most_small: int) -> None:
    assert Line(max_batch, most_rows).most_small == most_small


def test_each_kind_has_places_of_its_own_and_one_of_any_size_is_taken_where_none_waits() -> None:
    line = Line(4, 10)
    line.check_room(1000)
    join(line, job(1000))
    line.check_room(4)
    with pytest.raises(Overloaded, match="1000 rows of large requests wait, 10 may"):
        line.check_room(5)
    join(line, job(4), job(4))
    line.check_room(2)
    with pytest.raises(Overloaded, match="8 rows wait, 10 may"):
        line.check_room(3)


def test_what_is_over_is_in_no_batch_and_takes_no_place() -> None:
    told: list[Any] = []
    line = Line(4, 100)
    join(line, job(9, deadline=5.0, told=told), job(9), job(2, deadline=5.0, told=told), job(2))
    assert sizes(line, 5, now=6.0) == [[2], [4], [4], [1], []]
    assert [type(outcome) for outcome in told] == [DeadlineExceeded, DeadlineExceeded]
    assert (line.rows, line.large_rows) == (0, 0)


def test_a_small_one_waits_for_one_batch_of_a_large_one_by_each_of_its_own_and_a_large_one_for_what_takes_turns() -> (
    None
):
    line = Line(4, 100)
    assert line.ahead(1) == 0
    join(line, job(40))
    assert line.ahead(1) == 4
    assert line.ahead(10) == 12  # three batches of its own, each after one of the other's
    join(line, job(3), job(3))
    assert line.ahead(1) == 6 + 8
    assert line.ahead(100) == 6 + 40
