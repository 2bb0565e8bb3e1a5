"""Which checkpoints stay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.controller.retention import Drop, Kept, Retention
from pipelines.records import TrialState

COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED


def kept(
    number: int, value: float | None = 0.5, state: TrialState = COMPLETE, size: int = 10, *, feasible: bool = True
) -> Kept:
    return Kept(number, state, value, size, Path(f"{number:05d}-1/best.keras"), f"{number:064x}", feasible)


def feed(retention: Retention, checkpoints: Iterable[Kept]) -> list[Drop]:
    return [drop for checkpoint in checkpoints for drop in retention.add(checkpoint)]


def numbers(checkpoints: Iterable[Kept]) -> list[int]:
    return [checkpoint.number for checkpoint in checkpoints]


def test_only_the_best_stay_and_the_others_say_why() -> None:
    retention = Retention(2, 1000, "minimize")
    drops = feed(retention, [kept(0, 0.5), kept(1, 0.9), kept(2, 0.1), kept(3, 0.7)])
    assert numbers(retention.kept) == [2, 0]
    assert [(drop.kept.number, drop.reason) for drop in drops] == [
        (1, "not among the 2 best"),
        (3, "not among the 2 best"),
    ]


def test_what_is_to_be_made_large_is_ranked_the_other_way_round() -> None:
    retention = Retention(2, 1000, "maximize")
    feed(retention, [kept(0, 0.5), kept(1, 0.9), kept(2, 0.1), kept(3, 0.7)])
    assert numbers(retention.kept) == [1, 3]


def test_bytes_are_freed_from_the_least_good_upwards() -> None:
    retention = Retention(100, 10_240 << 20, "minimize")
    gigabyte = 1 << 30
    drops = feed(
        retention, [kept(0, 0.3, size=5 * gigabyte), kept(1, 0.5, size=4 * gigabyte), kept(2, 0.4, size=2 * gigabyte)]
    )
    assert [(drop.kept.number, drop.reason) for drop in drops] == [(1, "the 10240 MiB for checkpoints are used")]
    assert retention.bytes == 7 * gigabyte


def test_one_large_checkpoint_may_cost_several_small_ones() -> None:
    retention = Retention(100, 30, "minimize")
    assert feed(retention, [kept(0, 0.1), kept(1, 0.4), kept(2, 0.3)]) == []
    assert numbers(drop.kept for drop in retention.add(kept(3, 0.2, size=20))) == [1, 2]


def test_a_checkpoint_that_finds_no_room_is_itself_the_one_to_go() -> None:
    retention = Retention(100, 30, "minimize")
    feed(retention, [kept(0, 0.1, size=30)])
    assert numbers(drop.kept for drop in retention.add(kept(1, 0.2))) == [1]


def test_how_a_trial_ended_counts_more_than_its_value() -> None:
    retention = Retention(100, 1000, "minimize")
    feed(
        retention,
        [
            kept(0, 0.1, FAILED),
            kept(1, 0.2, PRUNED),
            kept(2, 0.4, feasible=False),
            kept(3, 0.3, feasible=False),
            kept(4, math.nan),
            kept(5, 0.9),
            kept(6, None, PRUNED),
        ],
    )
    assert numbers(retention.kept) == [5, 3, 2, 4, 1, 6, 0]


def test_of_equal_values_the_earlier_trial_is_the_better_one() -> None:
    retention = Retention(1, 1000, "minimize")
    feed(retention, [kept(7, 0.5), kept(3, 0.5), kept(9, 0.5)])
    assert numbers(retention.kept) == [3]


def test_the_best_trial_stays_even_where_it_alone_is_too_large() -> None:
    retention = Retention(5, 15, "minimize")
    assert numbers(drop.kept for drop in feed(retention, [kept(0, 0.2, size=20), kept(1, 0.1, size=40)])) == [0]
    assert numbers(retention.kept) == [1]


@pytest.mark.parametrize("state", [PRUNED, FAILED])
def test_a_trial_that_is_the_best_only_for_want_of_a_complete_one_does_not(state: TrialState) -> None:
    retention = Retention(5, 15, "minimize")
    assert numbers(drop.kept for drop in retention.add(kept(0, 0.2, state, size=20))) == [0]


def test_what_something_else_reaches_stays_from_the_moment_it_is_reached() -> None:
    protected: set[str] = set()
    retention = Retention(1, 1000, "minimize", protected)
    champion = kept(0, 0.5)
    feed(retention, [champion])
    protected.add(champion.sha256)
    assert numbers(drop.kept for drop in feed(retention, [kept(1, 0.4), kept(2, 0.3)])) == [1]
    assert numbers(retention.kept) == [2, 0]
    protected.clear()
    assert numbers(drop.kept for drop in retention.add(kept(3, 0.9))) == [3, 0]


def test_a_trial_told_again_with_the_same_checkpoint_changes_nothing() -> None:
    retention = Retention(2, 1000, "minimize")
    checkpoints = [kept(0, 0.5), kept(1, 0.1)]
    assert feed(retention, [*checkpoints, *checkpoints]) == []
    assert retention.bytes == 20


def test_a_trial_told_again_with_another_checkpoint_gives_up_the_one_before() -> None:
    retention = Retention(2, 1000, "minimize")
    older = kept(0, 0.5)
    newer = Kept(0, COMPLETE, 0.4, 7, Path("00000-2/best.keras"), "a" * 64)
    assert retention.add(older) == []
    assert retention.add(newer) == [Drop(older, "trial 0 has a newer one")]
    assert (retention.kept, retention.bytes) == ((newer,), 7)


def test_a_file_that_was_only_written_anew_is_not_dropped() -> None:
    retention = Retention(2, 1000, "minimize")
    retention.add(kept(0, 0.5))
    assert retention.add(Kept(0, COMPLETE, 0.4, 7, kept(0).path, "a" * 64)) == []
    assert retention.bytes == 7


CHECKPOINTS = st.lists(
    st.builds(
        kept,
        number=st.integers(0, 10_000),
        value=st.one_of(st.none(), st.just(math.nan), st.just(math.inf), st.floats(-1e6, 1e6)),
        state=st.sampled_from([COMPLETE, COMPLETE, PRUNED, FAILED]),
        size=st.integers(0, 50),
        feasible=st.booleans(),
    ),
    max_size=40,
    unique_by=lambda checkpoint: checkpoint.number,
)


def best(checkpoints: Sequence[Kept], direction: str) -> Kept | None:
    """Told from the rule alone, without ranks: complete, keeps the constraints, best value, earliest."""
    able = [
        each
        for each in checkpoints
        if each.state is COMPLETE and each.feasible and each.value is not None and math.isfinite(each.value)
    ]
    sign = 1 if direction == "minimize" else -1
    return min(able, key=lambda each: (sign * (each.value or 0.0), each.number), default=None)


@settings(max_examples=300, deadline=None)
@given(
    checkpoints=CHECKPOINTS,
    keep=st.integers(1, 12),
    most=st.integers(1, 300),
    direction=st.sampled_from(["minimize", "maximize"]),
    data=st.data(),
)
def test_whatever_comes_the_rules_hold_after_every_trial(
    checkpoints: list[Kept], keep: int, most: int, direction: str, data: st.DataObject
) -> None:
    some = data.draw(st.sets(st.sampled_from([each.sha256 for each in checkpoints]))) if checkpoints else set()
    retention = Retention(keep, most, direction, some)
    dropped: list[Kept] = []
    for told, checkpoint in enumerate(checkpoints, start=1):
        dropped += [drop.kept for drop in retention.add(checkpoint)]
        stays = retention.kept
        assert sorted(numbers([*stays, *dropped])) == sorted(numbers(checkpoints[:told])), "each stays or goes, once"
        assert not some & {each.sha256 for each in dropped}
        top = best(checkpoints[:told], direction)
        assert top is None or top in stays
        undroppable = [each for each in stays if each == top or each.sha256 in some]
        droppable = [each for each in stays if each not in undroppable]
        assert retention.bytes == sum(each.bytes for each in stays)
        assert retention.bytes <= most or not droppable
        assert len(droppable) <= keep

    again = Retention(keep, most, direction, some)
    order = data.draw(st.permutations(list(retention.kept)))
    assert feed(again, order) == [], "what stays, stays after a restart, whatever the order it is told in"
    assert again.kept == retention.kept


def test_a_trial_costs_the_same_however_many_there_were() -> None:
    looked_up = 0

    class Counting:
        """Digests that nothing reaches, counting how often it is asked."""

        def __contains__(self, _digest: object) -> bool:
            nonlocal looked_up
            looked_up += 1
            return False

    retention = Retention(100, 900, "minimize", Counting())
    for number in range(2000):
        retention.add(kept(number, float(number * 7919 % 2003)))
    assert looked_up <= 2000
    assert len(retention.kept) == 90
