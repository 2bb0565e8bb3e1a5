"""A training that was done again, beside what was recorded of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipelines.repetition import Recorded, Repetition

CURVE = {0: 0.9, 1: 0.4, 2: 0.6}
CPU = {
    "regatta.state": "COMPLETE",
    "regatta.trainer": "fit",
    "regatta.device": "/device:CPU:0",
    "regatta.tensorflow": "2.21.0",
    "regatta.threads": "2",
}
LANE = {**CPU, "regatta.trainer": "lanes: 4 at once"}
CODE = {**CPU, "regatta.user_code": '{"a": "1", "b": "1"}'}
PRUNED = {**CPU, "regatta.state": "PRUNED"}
SAME = "val_loss 0.4 at epoch 1 of 3 epochs"


def repeated(
    now: dict[int, float], tags: dict[str, str] = CPU, then: dict[int, float] = CURVE, **known: Any
) -> Repetition:
    best = min((value, epoch) for epoch, value in then.items()) if then else (None, None)
    recorded = Recorded("r1", "val_loss", "minimize", best[0], best[1], then, tags)
    return Repetition(recorded, now, {**CPU, **known})


def test_what_is_the_same_to_the_last_digit_is_reproduced() -> None:
    found = repeated(dict(CURVE))

    assert found.same
    assert list(found.lines()) == [
        f"recorded  {SAME}",
        f"now       {SAME}",
        "Reproduced: val_loss is the same to the last digit in all 3 epochs.",
    ]
    assert found.to_json() == {
        "run_id": "r1",
        "value": 0.4,
        "epoch": 1,
        "epochs": 3,
        "same": True,
        "difference": 0.0,
        "sentence": "Reproduced: val_loss is the same to the last digit in all 3 epochs.",
    }


def test_a_lane_rounds_otherwise_and_the_sentence_says_so_and_by_how_much() -> None:
    found = repeated({0: 0.9, 1: 0.4 + 2e-8, 2: 0.6}, LANE)

    assert not found.same
    assert found.sentence() == (
        "Reproduced but for rounding: val_loss differs by 2e-08, in its epochs val_loss differs by up to 5e-08 of it. "
        "The run was trained in a lane, which adds up in another order."
    )


@pytest.mark.parametrize(
    ("now", "tags", "known", "words"),
    [
        # what rounding may have grown to is not called reproduced
        ({**CURVE, 1: 0.41}, LANE, {}, "Not the same: val_loss differs by 0.01,"),
        ({**CURVE, 1: 0.41}, LANE, {}, "trained in a lane, whose rounding is another: over many epochs that can grow"),
        ({**CURVE, 2: 0.39}, LANE, {}, "the best epoch is 2 and was 1"),
        ({0: 0.9, 1: 0.4}, LANE, {}, "it has 2 epochs and had 3"),
        # nor is the least difference of `fit`
        ({**CURVE, 2: 0.6 + 1e-12}, CPU, {}, "Not the same: in its epochs val_loss differs by up to 1.7e-12 of it."),
        ({**CURVE, 1: 0.41}, CPU, {}, "TensorFlow, threads and device are those of then: look at"),
        ({**CURVE, 1: 0.41}, CPU, {"regatta.threads": "4"}, "What is not as it was: it had 4 threads and not 2."),
        ({**CURVE, 1: 0.41}, CPU, {"regatta.tensorflow": "2.22.0"}, "TensorFlow is 2.22.0 and was 2.21.0."),
        ({**CURVE, 1: 0.41}, {**CPU, "regatta.device": "/device:GPU:0"}, {"regatta.device": "/device:GPU:0"}, "A GPU"),
        ({**CURVE, 1: 0.41}, CODE, {"regatta.user_code": '{"a": "2"}'}, "not as it was: code of yours is another (a)."),
        ({**CURVE, 1: 0.41}, CODE, {"regatta.user_code": '{"a": "1", "c": "1"}'}, "code of yours is another (c)."),
        (
            {**CURVE, 1: 0.41},
            CODE,
            {"regatta.user_code": '{"a": "1"}'},
            "Data, your code, TensorFlow, threads and device",
        ),
        ({**CURVE, 1: math.nan}, CPU, {}, "the best epoch is 2 and was 1"),
    ],
)
def test_what_is_not_the_same_says_by_how_much_and_what_may_be_the_reason(
    now: dict[int, float], tags: dict[str, str], known: dict[str, str], words: str
) -> None:
    found = repeated(now, tags, CURVE, **known)

    assert not found.same
    assert words in found.sentence()
    assert "Reproduced" not in found.sentence()


def test_a_pruned_trial_is_held_against_what_came_out_by_then() -> None:
    found = repeated({**CURVE, 3: 0.2}, PRUNED)

    assert found.same
    assert list(found.lines())[:2] == [
        f"recorded  {SAME}, then pruned",
        f"now       {SAME}; val_loss 0.2 at epoch 3 of 4 epochs",
    ]


def test_a_complete_trial_that_came_to_more_epochs_now_is_not_the_same() -> None:
    assert "it has 4 epochs and had 3" in repeated({**CURVE, 3: 0.7}).sentence()


def test_values_that_are_no_numbers_are_the_same_as_such() -> None:
    tags = {**PRUNED, "regatta.failure": "not_finite"}
    recorded = Recorded("r1", "val_loss", "minimize", 0.9, 0, {0: 0.9, 1: 1.7976931348623157e308, 2: math.nan}, tags)

    assert Repetition(recorded, {0: 0.9, 1: math.inf, 2: math.nan}, CPU).same
    assert not Repetition(recorded, {0: 0.9, 1: math.inf, 2: 0.3}, CPU).same


def test_a_run_without_a_value_that_counts_is_compared_by_its_epochs() -> None:
    tags = {**PRUNED, "regatta.failure": "not_finite"}
    found = Repetition(Recorded("r1", "val_loss", "minimize", None, None, {0: math.nan}, tags), {0: math.nan}, CPU)

    assert next(found.lines()) == "recorded  val_loss was no finite number in any of 1 epoch"
    assert found.sentence() == "Reproduced: val_loss is the same to the last digit in the one epoch."


def test_a_run_that_came_to_no_epoch_cannot_be_compared() -> None:
    found = repeated(CURVE, {**CPU, "regatta.state": "FAILED"}, then={})

    assert not found.same
    assert list(found.lines()) == [
        "recorded  nothing that this could be compared with: no val_loss of any epoch",
    ]
    assert found.to_json()["sentence"] == "It cannot be compared: the record has no val_loss of any epoch."
