"""What went wrong by kind, where the time went, how to train a trial again, what is not kept any more."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pipelines.records import Failure, StudyHistory, TrialState
from pipelines.report import Draft, to_html
from pipelines.report.again import command_again, why_not
from pipelines.report.failures import KINDS, by_kind
from tests.pipelines.test_report import EVIL, Page, study, trial

FAILED = TrialState.FAILED


def section(history: StudyHistory, name: str) -> str:
    found = re.search(rf'<section id="{name}">.*?</section>', to_html(history), re.S)
    return found[0] if found else ""


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_every_kind_of_failure_has_a_sentence() -> None:
    assert KINDS.keys() == {failure.value for failure in Failure}
    assert all(meaning.endswith(".") for _, meaning in KINDS.values())


def test_failures_are_counted_by_kind_the_commonest_first() -> None:
    history = study(
        trial(0, FAILED, failure="error", reason="ValueError: x"),
        trial(1, FAILED, failure="out_of_memory", reason="OOM", params={"model.units": 4096, "batch_size": 512}),
        trial(2, FAILED, failure="out_of_memory", reason="OOM", params={"model.units": 2048, "batch_size": 512}),
        trial(3, TrialState.PRUNED, 0.5, failure="not_finite", reason="the loss was NaN"),
        trial(4, value=0.5),
    )
    shown = section(history, "failed")
    said = words(shown)

    assert [(kind, [t.number for t in trials]) for kind, trials in by_kind(history.trials).items()] == [
        ("out_of_memory", [1, 2]), ("error", [0]), ("not_finite", [3])
    ]  # fmt: skip
    assert "4 trials of 5, 1 of them pruned for it" in said
    assert "out of memory 2 such as trial 1" in said
    assert "trial 1: units: 4096, batch_size: 512" in said
    assert "trial 2: units: 2048, batch_size: 512" in said
    assert "trials 1, 2 OOM" in said
    assert "the trial was pruned" in said
    assert re.findall(r"width:(\d+)%", shown) == ["100", "50", "50"]


def test_many_reasons_are_folded_and_few_are_not() -> None:
    few = study(*(trial(n, FAILED, failure="error", reason=f"reason {n % 3}") for n in range(9)))
    many = study(*(trial(n, FAILED, failure="error", reason=f"reason {n}") for n in range(9)))

    assert "<details open><summary>3 reasons" in section(few, "failed")
    assert "<details><summary>9 reasons" in section(many, "failed")


def test_a_record_of_before_there_were_kinds_still_tells_what_failed() -> None:
    said = words(section(study(trial(0, FAILED, reason="ValueError: old")), "failed"))

    assert "not recorded 1 such as trial 0" in said
    assert "ValueError: old" in said


def test_a_kind_of_a_later_version_is_told_as_it_is_written() -> None:
    said = words(section(study(trial(0, FAILED, failure="cosmic_ray"), trial(1, FAILED, failure=EVIL)), "failed"))

    assert "cosmic ray 1 such as trial 0" in said
    assert "<script" not in section(study(trial(0, FAILED, failure=EVIL, reason=EVIL)), "failed")


def test_where_nothing_failed_there_is_no_such_section() -> None:
    assert section(study(trial(0, value=1.0)), "failed") == ""


# time


def test_the_time_of_the_sweep_and_of_its_trials_is_told_by_phase() -> None:
    history = study(
        trial(0, value=1.0, seconds=10.0, phases={"fit": 6.0, "build": 2.0}),
        trial(1, value=2.0, seconds=20.0, phases={"fit": 18.0, "build": 2.0}),
        trial(2, value=2.0, seconds=99.0),
        phases={"workers": 10.0, "trials": 80.0},
        seconds=100.0,
    )
    said = words(section(history, "time"))

    assert "getting workers ready 10 s 10.0% running trials 1 min 20 s 80.0% everything else 10 s 10.0%" in said
    assert "All trials together, 2 trials" in said
    assert "training 24 s 80.0% 12 s" in said
    assert "building models 4 s 13.3% 2 s" in said
    assert "everything else 2 s 6.7% –" in said


def test_bars_have_the_shares_of_the_phases() -> None:
    history = study(trial(0, value=1.0), phases={"workers": 25.0, "trials": 75.0}, seconds=100.0)

    assert re.findall(r"flex:([\d.]+)", section(history, "time")) == ["0.25000", "0.75000"]


@pytest.mark.parametrize(
    "odd",
    [{"fit": 0.0}, {"fit": float("nan")}, {"fit": float("inf"), "build": 1.0}, {"fit": -1.0, "x_y": 2.0}, {EVIL: 1.0}],
)
def test_odd_phases_still_make_a_page(odd: dict[str, float]) -> None:
    html = to_html(study(trial(0, value=1.0, phases=odd, seconds=None), phases=odd, seconds=None))

    assert "nan" not in words(re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.S)).split()
    assert "<script>alert" not in html


def test_a_record_without_phases_has_no_such_section() -> None:
    assert section(study(trial(0, value=1.0), seconds=5.0), "time") == ""


# again


def test_every_trial_has_the_command_that_trains_it_again() -> None:
    html = section(study(trial(0, value=1.0), trial(1, TrialState.PRUNED, 2.0), trial(2, FAILED)), "trials")

    for number in range(3):
        assert (
            f'<code class="command">regatta train --run {number:032x}</code><button type=button class="copy">' in html
        )


def test_the_command_is_one_that_the_command_line_takes() -> None:
    from typer.testing import CliRunner

    from pipelines.cli import app

    command = command_again(trial(0, value=1.0))
    assert command is not None
    program, verb, option, run_id = command.split()
    shown = CliRunner().invoke(app, [verb, "--help"])

    assert program == "regatta"
    assert shown.exit_code == 0
    assert option in shown.output
    assert run_id == f"{0:032x}"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"run_id": None}, "its run has not reached MLflow yet; deliver it with: regatta sync"),
        ({"failure": "invalid_config"}, "what was sampled makes no valid config, so there is nothing to train"),
    ],
)
def test_where_there_is_no_such_command_it_says_why(facts: dict[str, Any], why: str) -> None:
    lost = trial(0, FAILED, **facts)

    assert command_again(lost) is None
    assert why_not(lost) == why
    assert why in words(section(study(lost), "trials"))


def test_a_run_id_is_quoted_for_the_shell() -> None:
    assert command_again(trial(0, run_id="a; rm b")) == "regatta train --run 'a; rm b'"


# what ended it, what is not kept


def test_the_page_says_what_ended_the_sweep() -> None:
    history = study(trial(0, value=1.0), ended="24 trials, as many as budget.trials asks for")

    assert "Ended: 24 trials, as many as budget.trials asks for" in words(to_html(history))
    assert "Ended:" not in to_html(study(trial(0, value=1.0)))


def test_checkpoints_that_are_not_kept_are_counted_by_reason_and_marked() -> None:
    reasons = [None, "not among the 100 best", "not among the 100 best", "the 10 MiB for checkpoints are used"]
    history = study(*(trial(n, value=1.0 + n, dropped=reason) for n, reason in enumerate(reasons)))
    shown = section(history, "trials")

    assert "3 checkpoints were dropped: not among the 100 best (2), the 10 MiB for checkpoints are used (1)." in words(
        shown
    )
    assert len(re.findall(r"<td>dropped</td>", shown)) == 3
    assert ">checkpoint<" not in section(study(trial(0, value=1.0)), "trials")


def test_an_old_record_makes_the_page_without_the_new_parts() -> None:
    shown = Page(to_html(study(trial(0, value=1.0), trial(1, value=2.0), trial(2, FAILED, reason="x"))))
    names = [attrs["id"] for tag, attrs in shown.elements if tag == "section"]

    assert names == ["best", "history", "importance", "parallel", "curves", "slices", "trials", "pruning", "failed"]


def test_a_page_takes_from_its_draft_what_is_still_true_and_nothing_else() -> None:
    trials = (trial(0, value=1.0, run_id=None), trial(1, value=2.0, run_id="r1"))
    draft = Draft(study(*trials))
    over = study(
        *trials, seconds=12.0, champion={"name": "digits", "version": "3", "test_accuracy": 0.9}, phases={"trials": 9.0}
    )
    delivered = replace(over, trials=(replace(trials[0], run_id="r0"), trials[1]))

    assert draft.sections_for(over)
    assert to_html(over, draft) == to_html(over)
    assert not draft.sections_for(delivered)
    assert to_html(delivered, draft) == to_html(delivered)
