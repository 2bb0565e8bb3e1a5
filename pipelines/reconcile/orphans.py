"""Closes runs that are open in the journal although nobody writes to them; the next start opens again what goes on."""

from __future__ import annotations

from pipelines.history import RunHistory
from pipelines.reconcile.case import Case, final_state, named
from pipelines.records import TrialState
from pipelines.tracking.entries import END_REASON
from pipelines.tracking.run import Run

GONE = "its controller was gone"


def close_orphans(case: Case) -> None:
    """Closes them with the time at which the journal was last written: that is when their controller was lost."""
    orphans = [run for run in case.runs.values() if run.status == "RUNNING"]
    if not orphans:
        return

    def close() -> None:
        last_ms = case.journal.last_ms
        for orphan in orphans:
            run = Run(case.journal, orphan.uid)
            status, tags = _end(orphan)
            if tags:
                run.log(tags=tags, time_ms=last_ms)
            run.end(status, time_ms=last_ms)
        case.look_again()

    verb = "is" if len(orphans) == 1 else "are"
    case.findings.off(f"{named(orphans)} {verb} open in the journal, and no controller is there", close, "closed")


def _end(run: RunHistory) -> tuple[str, dict[str, str]]:
    """The status of a run that its controller could not close any more, and why."""
    state = final_state(run) if run.number is not None else None
    if state is not None:  # all was said but the last word
        return "FAILED" if state is TrialState.FAILED else "FINISHED", {}
    goes_on = {
        "training": "",
        "promotion": "; the next promotion does what is left of it",
    }.get(run.tags.get("regatta.kind", ""), "; the same command goes on")
    return "KILLED", {"regatta.reason": f"{GONE}{goes_on}", END_REASON: GONE}
