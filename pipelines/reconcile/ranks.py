"""Gives trials the metric that they are ranked by, where they were recorded before runs had one."""

from __future__ import annotations

from pipelines.front import rank
from pipelines.reconcile.case import Case, final_state, named
from pipelines.tracking.entries import RANKED
from pipelines.tracking.run import Run


def rank_trials(case: Case) -> None:
    """Adds to the runs of trials that may win what a controller adds at their end, at the journal's last time."""
    if case.facts is None:
        return
    objectives = [objective.metric for objective in case.facts.recipe().objectives]
    ranks: dict[str, float] = {}
    for uid, run in case.runs.items():
        state = final_state(run) if run.number is not None else None
        if state is not None and RANKED not in run.summary:
            values = run.values(objectives)
            ranked = rank(state, [values.get(name) for name in objectives], run.violations())
            if ranked is not None:
                ranks[uid] = ranked
    if not ranks:
        return

    def add() -> None:
        last_ms = case.journal.last_ms
        for uid, ranked in ranks.items():
            Run(case.journal, uid).log({RANKED: ranked}, time_ms=last_ms)
        case.look_again()

    lack = "lacks" if len(ranks) == 1 else "lack"
    lacking = f"{named(case.runs[uid] for uid in ranks)} {lack} the metric '{RANKED}'"
    case.findings.off(f"{lacking}, by which MLflow's page has the best first", add, "added")
