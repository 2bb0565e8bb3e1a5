"""What is done about a trial in trouble."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.controller.failures import Remedy, Setbacks, Streak
from pipelines.records import Failure, TrialResult, TrialState


def lost(setbacks: Setbacks, *epochs: int) -> list[Remedy]:
    return [setbacks.after(Failure.LOST, epochs=each, neighbours=False) for each in epochs]


@pytest.mark.parametrize(
    ("retries", "epochs", "remedies"),
    [
        (0, [0], "F"),
        (1, [0, 0], "AF"),
        (2, [0, 0, 0], "AAF"),
        (1, [1, 2, 3, 4, 5, 6], "AAAAAA"),  # each attempt got it on
        (1, [3, 3, 4, 4, 4], "AAAAF"),
        (0, [3, 3], "AF"),
    ],
)
def test_a_trial_that_gets_on_is_tried_again_as_often_as_it_takes(
    retries: int, epochs: list[int], remedies: str
) -> None:
    found = lost(Setbacks(retries), *epochs)

    assert "".join("A" if remedy is Remedy.AGAIN else "F" for remedy in found) == remedies


def test_a_hung_trial_is_tried_once_more() -> None:
    setbacks = Setbacks(5)

    found = [setbacks.after(Failure.HUNG, epochs=each, neighbours=False) for each in (2, 8)]

    assert found == [Remedy.AGAIN, Remedy.FAIL]


@pytest.mark.parametrize("failure", [Failure.LOST, Failure.HUNG])
def test_a_trial_whose_neighbour_may_be_to_blame_is_tried_by_itself_before_it_fails(failure: Failure) -> None:
    setbacks = Setbacks(1)

    found = [setbacks.after(failure, epochs=0, neighbours=each) for each in (True, True, False)]

    assert found == [Remedy.AGAIN, Remedy.ALONE, Remedy.FAIL]


@pytest.mark.parametrize(
    ("neighbours", "remedies"), [(True, [Remedy.ALONE, Remedy.FAIL]), (False, [Remedy.FAIL, Remedy.FAIL])]
)
def test_a_trial_without_enough_memory_is_tried_once_more_where_others_took_some_of_it(
    neighbours: bool, remedies: list[Remedy]
) -> None:
    setbacks = Setbacks(5)

    assert [setbacks.after(Failure.MEMORY, epochs=0, neighbours=neighbours) for _ in remedies] == remedies


def test_what_a_trials_own_code_did_is_not_tried_again() -> None:
    assert Setbacks(5).after(Failure.ERROR, epochs=3, neighbours=True) is Remedy.FAIL


def result(state: str, reason: str | None = None, failure: Failure | None = None) -> TrialResult:
    return TrialResult(0, 1, TrialState(state), {}, reason=reason, failure=failure)


def streak(*results: TrialResult) -> int:
    found = Streak()
    for each in results:
        found.note(each)
    return found.length


FAILED: dict[str, Any] = {"state": "FAILED", "failure": Failure.ERROR}


def test_exceptions_that_differ_in_numbers_alone_are_the_same() -> None:
    told = ["ValueError: shapes (3, 4) and (5, 1e-3) at 0x7f2a", "ValueError: shapes (8, 9) and (2, 7.5) at 0x11"]

    assert streak(*(result(reason=reason, **FAILED) for reason in told)) == 2


def test_another_exception_begins_another_streak() -> None:
    assert (
        streak(*(result(reason=reason, **FAILED) for reason in ("KeyError: 'a'", "KeyError: 'a'", "KeyError: 'b'")))
        == 1
    )


@pytest.mark.parametrize("state", ["COMPLETE", "PRUNED"])
def test_a_trial_that_comes_to_a_good_end_breaks_a_streak(state: str) -> None:
    one = result(reason="KeyError: 'a'", **FAILED)

    assert streak(one, one, result(state)) == 0
    assert streak(one, result(state), one) == 1


def test_workers_that_died_in_the_same_way_make_a_streak() -> None:
    told = [f"worker lost: its process exited with code {code}" for code in (1, 7, 9)]

    assert streak(*(result("FAILED", reason, Failure.LOST) for reason in told)) == 3
    assert streak(*(result("FAILED", reason, Failure.LOST) for reason in (told[0], "worker lost: SIGSEGV"))) == 1


@pytest.mark.parametrize("failure", [Failure.MEMORY, Failure.HUNG])
def test_what_befell_a_trial_from_outside_neither_breaks_a_streak_nor_adds_to_it(failure: Failure) -> None:
    one = result(reason="KeyError: 'a'", **FAILED)

    assert streak(one, result("FAILED", "worker lost", failure), one) == 2
