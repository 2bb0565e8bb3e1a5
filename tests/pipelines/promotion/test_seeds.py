"""Candidates that are trained again with other seeds: on workers whose every word is written down beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.promotion.seeds import Kept, Repeated, Repetitions, ranked, repeat, seed_of
from pipelines.records import TrialSpec
from tests.pipelines.promotion.bench import trial
from tests.pipelines.scripted import (
    Lost,
    ScriptedExecutor,
    Silence,
    Talk,
    checkpoint,
    dies,
    ended,
    epoch,
    raises,
    spec_for,
    started,
    trains,
)


def of(*values: float, number: int = 0) -> Repeated:
    return Repeated(number, values)


def told_by_seed(spec: TrialSpec) -> Talk:
    """A training whose best value is the last digit of its seed."""
    return trains(spec, [9.5, float(spec.config["seed"] % 10), 9.0])


def test_each_candidate_is_trained_again_with_seeds_of_its_own_and_its_best_epochs_count(tmp_path: Path) -> None:
    executor = ScriptedExecutor(told_by_seed, workers=2)
    specs = [spec_for(tmp_path, number) for number in (4, 7)]

    found = repeat(executor, specs, 3, tmp_path / "repetitions")

    seeds = [seed_of(100, number) for number in range(3)]
    assert [(each.trial, each.seeds) for each in found] == [(4, tuple(seeds)), (7, tuple(seeds))]
    assert found[0].values == tuple(float(seed % 10) for seed in seeds)
    assert len(executor.assigned) == 6
    assert len({spec.folder for spec in executor.assigned}) == 6
    assert all(spec.config["seed"] in seeds and spec.states == "" for spec in executor.assigned)
    assert all(spec.config["optimizer"] == specs[0].config["optimizer"] for spec in executor.assigned)


def test_no_checkpoint_of_a_repetition_stays(tmp_path: Path) -> None:
    repeat(ScriptedExecutor(trains), [spec_for(tmp_path)], 2, tmp_path / "repetitions")

    assert list((tmp_path / "repetitions").rglob("*.keras")) == []


def test_the_same_seeds_are_drawn_each_time_and_differ_from_one_another() -> None:
    drawn = [seed_of(7, number) for number in range(100)]

    assert drawn == [seed_of(7, number) for number in range(100)]
    assert len(set(drawn)) == 100
    assert all(0 <= seed < 2**31 for seed in drawn)


def test_a_repetition_that_fails_is_told_and_the_others_count(tmp_path: Path) -> None:
    first = seed_of(100, 0)

    def script(spec: TrialSpec) -> Talk:
        return raises(spec) if spec.config["seed"] == first else trains(spec, [0.5])

    (found,) = repeat(ScriptedExecutor(script), [spec_for(tmp_path)], 3, tmp_path)

    assert found.values == (0.5, 0.5)
    assert found.failed == ("ValueError: no such layer",)
    json.dumps(found.to_json(), allow_nan=False)


def test_one_whose_loss_is_no_number_has_no_value(tmp_path: Path) -> None:
    def script(spec: TrialSpec) -> Talk:
        yield started(spec)
        yield epoch(spec, 0, math.nan)
        yield ended(spec)

    (found,) = repeat(ScriptedExecutor(script), [spec_for(tmp_path)], 2, tmp_path)

    assert found.values == ()
    assert found.failed == ("no epoch gave a finite value",) * 2
    assert found.cautious("minimize") == math.inf
    json.dumps(found.to_json(), allow_nan=False)


def test_a_worker_that_dies_is_replaced_and_its_repetition_begins_anew(tmp_path: Path) -> None:
    died: list[int] = []

    def script(spec: TrialSpec) -> Talk:
        if spec.attempt == 1 and not died:
            died.append(spec.number)
            return dies(spec)
        return trains(spec, [3.0, 2.0])

    (found,) = repeat(ScriptedExecutor(script), [spec_for(tmp_path)], 2, tmp_path)

    assert found.values == (2.0, 2.0)
    assert died == [0]


def test_one_that_kills_its_worker_again_and_again_is_given_up(tmp_path: Path) -> None:
    executor = ScriptedExecutor(dies)

    (found,) = repeat(executor, [spec_for(tmp_path)], 1, tmp_path)

    assert found.values == ()
    assert found.failed == ("worker lost: its process was ended by SIGKILL",)
    assert [spec.attempt for spec in executor.assigned] == [1, 2]


def test_a_worker_that_says_nothing_is_ended(tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    def script(spec: TrialSpec) -> Talk:
        yield started(spec)
        yield Silence() if spec.attempt == 1 else epoch(spec, 0, 0.25)
        yield checkpoint(spec, 0)
        yield ended(spec)

    executor = ScriptedExecutor(script)
    found = Repetitions(executor, hung_after_s=20, clock=clock).run([spec_for(tmp_path)])

    assert found == {0: (0.25, None)}
    assert [spec.attempt for spec in executor.assigned] == [1, 2]


def test_a_word_of_an_attempt_that_was_given_up_is_not_heard(tmp_path: Path) -> None:
    def script(spec: TrialSpec) -> Talk:
        if spec.attempt == 1:
            yield started(spec)
            yield Lost()
            return
        yield epoch(spec_for(tmp_path, attempt=1), 0, 0.001)
        yield epoch(spec, 0, 0.5)
        yield ended(spec)

    assert Repetitions(ScriptedExecutor(script)).run([spec_for(tmp_path)]) == {0: (0.5, None)}


def test_mean_and_spread_are_those_of_the_values() -> None:
    found = of(1.0, 2.0, 3.0)

    assert (found.mean, found.spread) == (2.0, 1.0)
    assert found.cautious("minimize") == pytest.approx(2.0 + 1.0 / math.sqrt(3))
    assert found.cautious("maximize") == pytest.approx(-2.0 + 1.0 / math.sqrt(3))
    assert of(0.5).cautious("minimize") == 0.5


@pytest.mark.parametrize(
    ("repeated", "direction", "order"),
    [
        ([of(0.5, 0.5, number=1), of(0.4, 0.4, number=2), of(0.6, 0.6, number=3)], "minimize", [2, 1, 3]),
        ([of(0.5, 0.5, number=1), of(0.4, 0.4, number=2), of(0.6, 0.6, number=3)], "maximize", [3, 1, 2]),
        # as good on average, but one can be relied on
        ([of(0.1, 0.9, number=1), of(0.5, 0.5, number=2), of(number=3)], "minimize", [2, 1, 3]),
        ([of(0.5, number=1), of(0.5, number=2), of(0.5, number=3)], "minimize", [1, 2, 3]),
        ([], "minimize", [1, 2, 3]),
    ],
)
def test_candidates_are_ranked_by_a_cautious_word_on_their_mean(
    repeated: list[Repeated], direction: str, order: list[int]
) -> None:
    candidates: list[Any] = [trial(number) for number in (1, 2, 3)]

    assert [each.number for each in ranked(candidates, repeated, direction)] == order


def test_what_came_of_repetitions_is_kept_and_told_again_for_the_very_same(tmp_path: Path) -> None:
    file, spec = tmp_path / "repetitions.json", spec_for(tmp_path, 4)
    found = Repeated(4, (0.5, 0.25), (1, 2), ("it broke",))

    Kept(file).keep([spec], 3, [found])

    assert Kept(file).of(spec, 3) == found
    assert Kept(file).of(spec, 2) is None
    assert Kept(file).of(spec_for(tmp_path, 5), 3) is None
    assert Kept(file).of(spec_for(tmp_path, 4, objective="val_accuracy"), 3) is None
    assert Kept(file).of(spec_for(tmp_path, 4, config={**spec.config, "epochs": 99}), 3) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_file_that_nobody_can_read_holds_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "repetitions.json"
    file.write_text(text)

    kept = Kept(file)
    assert kept.of(spec_for(tmp_path), 3) is None
    kept.keep([spec_for(tmp_path)], 3, [of(0.5)])
    assert Kept(file).of(spec_for(tmp_path), 3) == of(0.5)
