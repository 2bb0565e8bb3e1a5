"""What batches compute gets back to those who wait for it: whole, once, and each only its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.model_server.errors import BadInput, DeadlineExceeded, PredictionFailed, RequestError
from services.model_server.queueing.jobs import Job, Piece, Told, answer, compute, failure


def job(told: list[Any], *values: float) -> Job:
    """A job of one row for each value, whose caller keeps what it is told."""
    return Job(np.array(values)[:, None], len(values), float("inf"), Told(told.append), 0.0)


def positive(rows: NDArray[Any]) -> NDArray[Any]:
    if (rows < 0).any():
        raise ValueError("negative")
    return rows * 2


def test_jobs_that_share_a_call_get_their_own_rows() -> None:
    first, second = list[Any](), list[Any]()
    pieces = [Piece(job(first, 1, 2), 0, 2), Piece(job(second, 3), 0, 1)]
    answer(pieces, compute(positive, pieces))
    assert [[outputs.ravel().tolist() for outputs in told] for told in (first, second)] == [[[2, 4]], [[6]]]


def test_a_job_that_was_cut_is_answered_when_its_last_piece_is_there() -> None:
    told: list[Any] = []
    cut = job(told, 1, 2, 3, 4, 5)
    for start, stop in ((0, 2), (2, 4)):
        answer([Piece(cut, start, stop)], compute(positive, [Piece(cut, start, stop)]))
        assert not cut.future.done()
    answer([Piece(cut, 4, 5)], compute(positive, [Piece(cut, 4, 5)]))
    assert [outputs.ravel().tolist() for outputs in told] == [[2, 4, 6, 8, 10]]


def test_a_job_that_was_cut_fails_once_with_its_first_piece_that_fails() -> None:
    told: list[Any] = []
    cut = job(told, 1, -2, 3, -4)
    for number in range(4):
        answer([Piece(cut, number, number + 1)], compute(positive, [Piece(cut, number, number + 1)]))
    assert [type(outcome) for outcome in told] == [PredictionFailed]


def test_a_piece_that_fails_fails_alone() -> None:
    good, bad = list[Any](), list[Any]()
    pieces = [Piece(job(good, 1), 0, 1), Piece(job(bad, -1), 0, 1)]
    answer(pieces, compute(positive, pieces))
    assert [outputs.item() for outputs in good] == [2]
    assert [type(outcome) for outcome in bad] == [PredictionFailed]


def test_one_whose_wait_is_over_is_not_told_anything_more() -> None:
    told: list[Any] = []
    late = job(told, 1)
    late.expire()
    late.expire()
    answer([Piece(late, 0, 1)], compute(positive, [Piece(late, 0, 1)]))
    assert [type(outcome) for outcome in told] == [DeadlineExceeded]


def test_what_is_the_fault_of_a_request_is_told_as_it_is_and_what_is_not_as_a_failed_prediction() -> None:
    own: RequestError = BadInput("two columns are missing")
    assert failure(own) is own
    other = failure(ValueError("x" * 1000))
    assert isinstance(other, PredictionFailed)
    assert len(str(other)) < 400
