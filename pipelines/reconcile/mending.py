"""Mends one study, step by step: what is on this machine first, then what a server holds of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pipelines.facts import StudyFacts
from pipelines.home import StudyFolder
from pipelines.reconcile.case import Case, Findings
from pipelines.reconcile.checkpoints import compare_files, compare_models, held_of
from pipelines.reconcile.leftovers import end_containers, end_workers, remove_leftovers
from pipelines.reconcile.orphans import close_orphans
from pipelines.reconcile.points import compare_runs
from pipelines.reconcile.ranks import rank_trials
from pipelines.reconcile.trials import mend_trials
from pipelines.tracking import make_tracker
from pipelines.tracking.base import Tracker, Unavailable
from pipelines.tracking.courier import Courier
from pipelines.tracking.sender import Sender, read_delivery

if TYPE_CHECKING:
    from pipelines.study import Study


def mend_study(folder: StudyFolder, study: Study, facts: StudyFacts, server: str) -> list[str]:
    """Mends what an earlier start of a study left, before the next one begins; says what it did, in sentences.

    To be called with the study's lock, and before its journal is opened. The server is asked for what it can tell in a
    few requests; where it cannot be reached, it is left for later: the sender says so.
    """
    findings = Findings()
    if not folder.journal.exists():
        return []
    case = Case(folder, findings, facts, study)
    try:
        mend_here(case)
        if read_delivery(folder.journal, server).runs:
            tracker = make_tracker(server)
            courier = Sender(folder.journal, tracker, server).courier
            with suppress(Unavailable):
                if not mend_loss(case, courier):
                    mend_there(case, tracker, courier)
    finally:
        case.close()
    return [line[:1].upper() + line[1:] for line in findings.lines]


def mend_here(case: Case) -> None:
    """What can be mended without a server."""
    end_workers(case)
    end_containers(case)
    mend_trials(case)
    case.look_again()
    close_orphans(case)
    rank_trials(case)
    remove_leftovers(case)


def mend_loss(case: Case, courier: Courier) -> bool:
    """Whether a server has lost what it had taken; then all of it is to be delivered again.

    Raises:
        Unavailable: The server cannot be reached.
    """
    lost = courier.has_lost_runs()
    if lost:
        what = "MLflow has lost runs that it had taken"
        case.findings.off(what, lambda: courier.start_over(same_runs=False), "the whole journal is delivered again")
    return lost


def mend_there(case: Case, tracker: Tracker, courier: Courier, *, closely: bool = False) -> None:
    """What has to be compared with a server; `closely` looks at each point, digest and registered version.

    Raises:
        Unavailable: The server cannot be reached.
    """
    held = held_of(case, tracker)
    compare_files(case, held, tracker, digests=closely)
    compare_models(case, tracker, courier, held)
    config = case.facts.recipe() if case.facts is not None else None
    metrics = {"loss", *(objective.metric for objective in config.objectives)} if config is not None else {"loss"}
    compare_runs(case, tracker, courier, closely=sorted(metrics) if closely else ())
    if closely and config is not None:
        uid = case.facts.uid if case.facts is not None else ""
        registered = case.runs[uid].tags.get("regatta.registered") if uid in case.runs else None
        for version in tracker.damaged_versions(config.study, registered):
            alias = f" ({', '.join(version.aliases)})" if version.aliases else ""
            case.findings.off(f"version {version.version}{alias} of '{version.name}' is damaged: {version.problem}")
