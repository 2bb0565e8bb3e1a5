"""Makes Optuna know of every trial what the journal knows: a crash may come in between, a power cut takes back both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from pipelines.history import RunHistory
from pipelines.reconcile.case import Case, final_state
from pipelines.records import Failure, TrialState
from pipelines.tracking.run import Run


def mend_trials(case: Case) -> None:
    """Compares trial by trial, in the order of their numbers."""
    study, facts = case.study, case.facts
    if study is None or facts is None:
        return
    objectives = [objective.metric for objective in facts.recipe().objectives]
    runs = {run.number: run for run in case.runs.values() if run.number is not None}
    known = {record.number: record for record in study.records()}
    off = case.findings.off
    for number, run in sorted(runs.items()):
        ended, record = final_state(run), known.get(number)
        told = _told(run, ended, objectives)
        sampled = json.loads(run.tags.get("regatta.sampled", "{}"))
        drawn = record is not None and sampled.keys() <= record.params.keys()
        state = ended or TrialState.RUNNING
        restored = partial(  # with the epochs that the storage has not: the last ones reach it together with the end
            study.restore,
            number,
            sampled,
            state,
            told.pop("values"),
            run.curves.get(objectives[0], {}),
            attempt=int(run.tags.get("regatta.attempt", "1")),
            **told,
        )
        if record is None or (record.state is TrialState.RUNNING and not drawn):
            lost = f"trial {number}" if record is None else f"what trial {number} has drawn"
            off(f"Optuna has lost {lost}", restored, f"it is there again, {state.value}")
        elif record.state is TrialState.RUNNING and ended is not None:
            off(
                f"Optuna takes trial {number} for running, which has ended", restored, f"it is {state.value} there, too"
            )
        elif record.state is not TrialState.RUNNING and ended is None:
            closed = partial(_close, case, run, record.state)
            done = "its run is closed and says so; its results are lost"
            off(
                f"the journal has lost the end of trial {number}, which is {record.state.value} in Optuna", closed, done
            )
        elif ended is not None and ended is not record.state:
            off(f"trial {number} is {ended.value} in the journal and {record.state.value} in Optuna")


def _told(run: RunHistory, ended: TrialState | None, objectives: list[str]) -> dict[str, Any]:
    """What the controller would have told Optuna at the end of the trial."""
    values: Mapping[str, float] | None = run.values(objectives) if ended is not None else None
    infeasible = ended is TrialState.FAILED and run.tags.get("regatta.failure") == Failure.MEMORY.value
    return {"values": values, "violations": run.violations(), "infeasible": infeasible}


def _close(case: Case, run: RunHistory, state: TrialState) -> None:
    note = Run(case.journal, run.uid)
    note.log(
        tags={"regatta.state": state.value, "regatta.reason": "the end of its record was lost in a crash"},
        time_ms=case.journal.last_ms,
    )
    note.end("FAILED" if state is TrialState.FAILED else "FINISHED", time_ms=case.journal.last_ms)
