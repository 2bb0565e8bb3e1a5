"""The parent run's description in MLflow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.records import TrialState
from pipelines.report.note import describe
from tests.pipelines.report.whole_sweep import whole_sweep
from tests.pipelines.test_report import EVIL, study, trial


def test_the_description_tells_the_sweep_in_a_few_lines() -> None:
    history = study(
        trial(0, value=0.2, best_epoch=7, params={"optimizer.learning_rate": 0.01, "model.units": [8, 8]}),
        trial(1, value=0.25),
        trial(2, TrialState.PRUNED, 0.5),
        trial(3, TrialState.FAILED, failure="out_of_memory"),
        trial(4, TrialState.FAILED, failure="out_of_memory"),
        trial(5, TrialState.FAILED, failure="error"),
        importances={"model.units": 0.9},
        champion={"name": "digits", "version": 3, "alias": "champion", "test_accuracy": 0.97, "test_loss": 0.125},
        links={"MLflow": "http://127.0.0.1:5000/#/experiments/12/runs?a=b"},
        seconds=125.0,
        ended="the budget's 3 trials are done",
    )

    margin = (
        "It is 0.05 (20.0%) below the second, trial 1 (0.25), and 0.025 (11.1%) below the median of 2 trials (0.225)."
    )
    assert describe(history, history.trials[0]).split("\n\n") == [
        "**digits**: 6 trials (2 complete, 1 pruned, 3 failed) in 2 min 5 s, minimizing `val_loss`.",
        "Ended: the budget's 3 trials are done",
        f"**Best: trial 0**, `val_loss` 0.2 at epoch 7. {margin}",
        "- `model.units`: `[8, 8]`\n- `optimizer.learning_rate`: `0.01`",
        f"Train it again: `regatta train --run {0:032x}`",
        "Failures: 2 out of memory, 1 error.",
        "Champion: version 3, test accuracy 0.9700, test loss 0.1250 on sealed data.",
        "[MLflow: all trials, best first](http://127.0.0.1:5000/#/experiments/12/runs?a=b)",
    ]


def test_the_trial_that_was_picked_is_told_with_how() -> None:
    history = whole_sweep(60, 5)
    picked = next(trial for trial in history.trials if trial.number == history.picked)
    said = describe(replace(history, picked=None), picked)

    assert f"**Best: trial {picked.number}**, `val_loss` {picked.values['val_loss']:.5g}" in said
    assert f"`parameters` {picked.values['parameters']:.5g}." in said
    assert f"Trial {picked.number} was picked from the {len(history.front)} trials of the Pareto front" in said


def test_a_sweep_without_a_best_trial_says_what_there_is() -> None:
    assert describe(study(), None) == "**digits**: 0 trials, minimizing `val_loss`."
    lost = study(trial(0, TrialState.FAILED))
    assert describe(lost, None) == (
        "**digits**: 1 trial (1 failed), minimizing `val_loss`.\n\nFailures: 1 not recorded."
    )


@pytest.mark.parametrize("count", [10, 60, 400])
def test_it_stays_under_two_thousand_letters_and_says_how_many_parameters_are_missing(count: int) -> None:
    params = {f"model.layer_{number}.units": "x" * 90 for number in range(count)}
    history = study(trial(0, value=1.0, params=params), ended="y" * 900, links={"MLflow": "http://h/" + "z" * 600})
    said = describe(history, history.trials[0])

    shown = said.count("- `model.layer_")
    assert len(said) < 2_000
    assert 0 < shown < count
    assert f"- and {count - shown} more" in said
    assert "MLflow: all trials" in said


def test_what_has_no_room_at_all_is_left_out_and_the_best_trial_stays() -> None:
    links = {f"link {number}": "http://h/" + "z" * 600 for number in range(9)}
    history = study(trial(0, value=1.0), ended="e" * 500, links=links)
    said = describe(history, history.trials[0])

    assert len(said) < 2_000
    assert "**Best: trial 0**" in said
    assert "link 0" not in said


def test_nothing_of_a_trial_becomes_markdown() -> None:
    history = study(
        trial(0, value=1.0, params={"a`b\n# c": "`x`\n- y"}),
        trial(1, TrialState.FAILED, failure="*bold*"),
        ended=f"[x](y) {EVIL}",
        links={"bad": "javascript:alert(1)", "MLflow": "http://h/x"},
    )
    said = describe(history, history.trials[0])

    assert "- `a'b # c`: `'x' - y`" in said
    assert "\\*bold\\*" in said
    assert "\\[x\\](y) \\</script\\>" in said
    assert "javascript" not in said
    assert "(http://h/x)" in said
