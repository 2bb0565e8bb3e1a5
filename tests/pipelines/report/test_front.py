"""Several objectives and constraints: the front, who was picked, who cannot win."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.records import StudyHistory, TrialHistory, TrialState
from pipelines.report import to_html
from pipelines.report.front import front_of, picked_how
from pipelines.report.summary import Summary
from tests.pipelines.test_report import Page, array, study, trace_of, trial

OBJECTIVES = (("val_loss", "minimize"), ("parameters", "minimize"))


def two(number: int, loss: float, parameters: float, **other: Any) -> TrialHistory:
    return trial(number, value=loss, values={"val_loss": loss, "parameters": parameters}, **other)


def several(*trials: TrialHistory, **other: Any) -> StudyHistory:
    return study(*trials, **({"objectives": OBJECTIVES} | other))


TRIALS = (two(0, 0.5, 100), two(1, 0.3, 400), two(2, 0.2, 900), two(3, 0.6, 500), two(4, 0.5, 950))
BROKEN = two(5, 0.01, 10, violations={"val_accuracy": 0.125, "seconds": -3.0})


def words(history: StudyHistory) -> str:
    return " ".join(Page(to_html(history)).words.split())


def test_the_headline_says_who_was_picked_from_the_front_and_how() -> None:
    history = several(*TRIALS, front=(0, 1, 2), picked=1, pick="knee")

    assert Summary(history).best is TRIALS[1]
    said = words(history)
    assert "Minimizing val_loss and minimizing parameters" in said
    assert "Trial 1 was picked from the 3 trials of the Pareto front as its knee, the nearest to the ideal" in said
    assert "0.1 (50.0%) above the best by val_loss alone, trial 2 (0.2)" in said


def test_without_a_word_of_who_was_picked_it_is_the_best_by_the_first_objective() -> None:
    history = several(*TRIALS, front=(0, 1, 2))

    assert Summary(history).best is TRIALS[2]
    assert picked_how(Summary(history)) == (
        "Trial 2 was picked from the 3 trials of the Pareto front as the best of them by val_loss, the first objective."
    )


def test_a_way_of_picking_that_this_version_does_not_know_is_left_out() -> None:
    history = several(*TRIALS, front=(0, 1, 2), picked=0, pick="lottery")

    assert picked_how(Summary(history)) == "Trial 0 was picked from the 3 trials of the Pareto front."


@pytest.mark.parametrize(
    ("objectives", "shape", "expected"),
    [
        ((("val_loss", "minimize"), ("parameters", "minimize")), "hv", {0, 1, 2}),
        ((("val_loss", "minimize"), ("parameters", "maximize")), "hv", {2, 4}),
    ],
)
def test_a_record_that_names_no_front_gets_the_one_of_its_trials(
    objectives: tuple[tuple[str, str], ...], shape: str, expected: set[int]
) -> None:
    history = several(*TRIALS, BROKEN, two(6, 0.1, 5, state=TrialState.PRUNED), objectives=objectives)
    line = next(t for t in Page(to_html(history)).data["front-0"]["data"] if t["mode"] == "lines")

    assert {trial.number for trial in front_of(Summary(history))} == expected
    assert line["line"]["shape"] == shape
    assert len(array(line["x"])) == len(expected)


def test_a_front_of_a_first_objective_that_is_maximized_is_stepped_the_other_way() -> None:
    trials = [
        trial(n, value=v, values={"val_loss": v, "parameters": p}) for n, (v, p) in enumerate([(1, 1.0), (2, 2.0)])
    ]
    history = several(*trials, direction="maximize", objectives=(("val_loss", "maximize"), ("parameters", "minimize")))
    line = next(t for t in Page(to_html(history)).data["front-0"]["data"] if t["mode"] == "lines")

    assert line["line"]["shape"] == "vh"


def test_the_front_is_drawn_with_the_beaten_pale_and_the_infeasible_crossed() -> None:
    figure = Page(to_html(several(*TRIALS, BROKEN, front=(0, 1, 2), picked=1, pick="knee"))).data["front-0"]

    assert trace_of(figure, "picked: trial 1")["meta"]["trials"] == [1]
    assert sorted(trace_of(figure, "on the front")["meta"]["trials"]) == [0, 2]
    assert sorted(trace_of(figure, "beaten")["meta"]["trials"]) == [3, 4]
    crossed = trace_of(figure, "breaks a constraint")
    assert crossed["meta"]["trials"] == [5]
    assert crossed["marker"]["symbol"] == "x-thin-open"


def test_with_three_objectives_each_pair_can_be_chosen_and_no_line_is_drawn() -> None:
    trials = [
        trial(n, value=1.0 + n, values={"val_loss": 1.0 + n, "parameters": 9.0 - n, "seconds": 5.0}) for n in range(3)
    ]
    objectives = (*OBJECTIVES, ("seconds", "minimize"))
    html = to_html(several(*trials, objectives=objectives, front=(0, 1, 2), picked=0, pick="first"))
    shown = Page(html)

    options = [attrs["value"] for tag, attrs in shown.elements if tag == "option" and "front" in str(attrs["value"])]
    assert options == ["front-0", "front-1", "front-2"]
    assert all(trace["mode"] == "markers" for name in options for trace in shown.data[str(name)]["data"])
    assert shown.data["front-1"]["layout"]["yaxis"]["title"]["text"] == "seconds, less is better"


def test_with_one_objective_there_is_no_front() -> None:
    assert 'id="front"' not in to_html(study(trial(0, value=1.0), trial(1, value=2.0)))
    assert picked_how(Summary(study(trial(0, value=1.0)))) == ""


def test_several_objectives_of_which_no_trial_has_all_still_make_a_page() -> None:
    said = words(several(trial(0, value=1.0), trial(1, TrialState.FAILED)))

    assert "No trial has a value of every objective yet." in said


# constraints


def test_a_trial_that_breaks_a_constraint_never_wins_and_says_what_it_broke() -> None:
    history = study(trial(0, value=0.5), trial(1, value=0.6), BROKEN)
    shown = Page(to_html(history))

    assert Summary(history).best == history.trials[0]
    assert "1 complete trial breaks a constraint and cannot win" in " ".join(shown.words.split())
    assert "breaks val_accuracy by 0.125" in shown.words
    assert "seconds by" not in shown.words
    assert "breaks val_accuracy by 0.125" in shown.data["labels"]["5"]
    for name in ("figure-history", "curves-0", "figure-slice-0"):
        assert trace_of(shown.data[name], "breaks a constraint")["meta"]["trials"] == [5]
        assert trace_of(shown.data[name], "other complete")["meta"]["trials"] == [1]


def test_where_no_complete_trial_keeps_the_constraints_none_is_the_best() -> None:
    said = words(study(BROKEN))

    assert "No complete trial keeps all constraints, so none is the best." in said
