"""What callbacks did, fed one by one."""

from __future__ import annotations

import json
import math

import pytest

from pipelines.acts import LONGEST_TAG, MOST_ACTS, Acts
from pipelines.records import CallbackActed

Act = tuple[str, str, float | None]


def acts(*told: Act, label: str = "one") -> Acts:
    found = Acts()
    for epoch, (action, text, value) in enumerate(told):
        found.add(CallbackActed(5, 1, epoch, label, action, text, value))
    return found


@pytest.mark.parametrize(
    ("told", "metrics", "sentence"),
    [
        ([("stopped", "stopped", None)], {"stopped_epoch": 0.0}, "stopped"),
        (
            [("note", "n", None), ("restored", "r", 3.0), ("stopped", "s", None), ("saved", "f", 1.0)],
            {"restored_epoch": 3.0, "stopped_epoch": 2.0, "saved": 1.0},
            "s; r",
        ),
        ([("restored", "other weights", None)], {}, "other weights"),
        ([("saved", "a", 2.0), ("saved", "b", 1.0)], {"saved": 3.0}, "b"),
        (
            [("reduced", "a", 0.5), ("reduced", "b", 0.25), ("raised", "c", 0.75)],
            {"reductions": 2.0, "increases": 1.0, "learning_rate": 0.75},
            "c",
        ),
        ([("raised", "a", 0.5), ("moved", "b", 0.125)], {"increases": 1.0, "learning_rate": 0.125}, "b"),
        ([("reduced", "b", 0.5), ("note", "c", None)], {"reductions": 1.0, "learning_rate": 0.5}, "c"),
        ([("danced", "a", 3.0)], {}, "a"),
    ],
    ids=str,
)
def test_acts_become_numbers_and_a_sentence(told: list[Act], metrics: dict[str, float], sentence: str) -> None:
    found = acts(*told)
    assert found.metrics() == {f"one.{name}": value for name, value in metrics.items()}
    assert found.tags() == {"regatta.callback.one": sentence}


def test_each_callback_has_its_own() -> None:
    found = acts(("saved", "a", 1.0))
    found.add(CallbackActed(5, 1, 4, "two", "saved", "b", 2.0))
    assert found.metrics() == {"one.saved": 1.0, "two.saved": 2.0}
    assert found.tags() == {"regatta.callback.one": "a", "regatta.callback.two": "b"}


def test_nothing_is_nothing() -> None:
    assert not Acts()
    assert (Acts().metrics(), Acts().tags(), Acts().listed()) == ({}, {}, [])


def test_a_list_that_grows_too_long_keeps_both_ends_and_says_what_is_missing() -> None:
    found = acts(*[("note", str(number), None) for number in range(MOST_ACTS + 7)])
    listed = found.listed()
    half = MOST_ACTS // 2
    assert [entry["text"] for entry in listed[:half]] == [str(number) for number in range(half)]
    assert listed[half] == {
        "epoch": None, "callback": None, "action": "left_out", "text": "7 more acts are left out here", "value": 7.0,
    }  # fmt: skip
    assert [entry["text"] for entry in listed[half + 1 :]] == [str(number) for number in range(half + 7, MOST_ACTS + 7)]
    assert len(acts(*[("note", "n", None)] * MOST_ACTS).listed()) == MOST_ACTS


def test_a_sentence_that_is_too_long_for_a_tag_is_cut() -> None:
    (tag,) = acts(("note", "x" * 2 * LONGEST_TAG, None)).tags().values()
    assert len(tag) == LONGEST_TAG
    assert tag.endswith("x…")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_list_is_json_whatever_the_numbers_are(value: float) -> None:
    listed = acts(("stopped", "the loss was nan", value)).listed()
    assert json.loads(json.dumps(listed, allow_nan=False)) == listed
    assert listed[0]["value"] is None
