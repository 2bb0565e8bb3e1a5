"""Compares checkpoint files, what the journal says of them, and the models that a server holds of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipelines.checkpoints import sha256_of
from pipelines.history import NotedCheckpoint, RunHistory
from pipelines.reconcile.case import Case, named
from pipelines.tracking.base import CHECKPOINT_TAG, Refused, Tracker
from pipelines.tracking.courier import Courier
from pipelines.tracking.entries import CheckpointDropped, CheckpointKept, RunBegun
from pipelines.tracking.fetching import bring_model
from pipelines.tracking.holdings import HeldCheckpoint
from pipelines.tracking.journal import read_all

_NEVER = "its file is gone, so it will never be whole"


def compare_files(case: Case, held: list[HeldCheckpoint], tracker: Tracker | None, *, digests: bool) -> None:
    """Finds files that are gone, or damaged where `digests` are compared, and brings them back from the server."""
    ready = {(each.uid, each.sha256): each.model_id for each in held if each.status == "READY"}
    for run in case.runs.values():
        for kept in run.checkpoints:
            problem = _problem(case.folder.root / kept.path, kept, digests=digests)
            if kept.delivered and not (case.folder.root / kept.path).is_file():  # it never was on this disk
                lost = tracker is not None and (run.uid, kept.sha256) not in ready
                problem = "is gone from MLflow, where alone it was" if lost else None
            if kept.dropped is None and problem:
                what = f"the checkpoint of {named([run])}, {kept.path}, {problem}"
                model_id = ready.get((run.uid, kept.sha256))
                if tracker is not None and model_id is not None:
                    fetch = partial(bring_model, tracker, model_id, kept.sha256, case.folder.root / kept.path)
                    case.findings.off(what, fetch, "brought back from MLflow")
                else:
                    case.findings.off(what)


def compare_models(case: Case, tracker: Tracker, courier: Courier, held: list[HeldCheckpoint]) -> None:
    """Has models completed or delivered again, gives up those that cannot be, and drops those that should be.

    Raises:
        Unavailable: The server cannot be reached.
    """
    statuses: dict[tuple[str, str], set[str]] = {}
    for each in held:
        statuses.setdefault((each.uid, each.sha256), set()).add(each.status)
    kept, dropped = _delivered(case.folder.journal, courier.state.pictures_offset)
    for (uid, sha256), path in kept.items():
        found = statuses.get((uid, sha256), set())
        if "READY" in found or uid not in courier.state.runs or not (case.folder.root / path).is_file():
            continue
        how = "only a part of the checkpoint" if found else "no checkpoint"
        what = f"MLflow has {how} of {named([case.runs[uid]])}"
        case.findings.off(what, partial(_deliver, courier, uid), "delivered again")
    for uid in dict.fromkeys(uid for uid, sha256 in dropped if "READY" in statuses.get((uid, sha256), ())):
        if uid in courier.state.runs and not _is_protected(case, tracker, uid):
            what = f"MLflow has a checkpoint of {named([case.runs[uid]])} that is dropped"
            case.findings.off(what, partial(_deliver, courier, uid), "dropped there, too")
    for each in held:
        if each.status == "PENDING" and not _will_come(case, each):
            owner = named([case.runs[each.uid]]) if each.uid in case.runs else "a run that is not in the journal"
            what = f"MLflow has a part of a checkpoint of {owner}, {each.model_id}"
            case.findings.off(what, partial(tracker.fail_checkpoint, each.model_id, _NEVER), "marked as failed")


def held_of(case: Case, tracker: Tracker) -> list[HeldCheckpoint]:
    """All checkpoints of this study that the server holds.

    Raises:
        Unavailable: The server cannot be reached.
    """
    experiments = {entry.experiment for entry in read_all(case.folder.journal) if isinstance(entry, RunBegun)}
    found = [each for experiment in sorted(experiments) for each in tracker.held_checkpoints(experiment)]
    # an experiment may hold those of other studies of the same name
    roots = {run.uid for run in case.runs.values() if run.parent is None}
    return [each for each in found if each.uid in case.runs or each.uid.rpartition("-")[0] in roots]


def _delivered(journal: Path, end: int) -> tuple[dict[tuple[str, str], str], list[tuple[str, str]]]:
    """Of what was delivered: the files of kept checkpoints by uid and digest, and those that are dropped."""
    kept: dict[tuple[str, str], str] = {}
    dropped: list[tuple[str, str]] = []
    for entry in read_all(journal, end):
        if isinstance(entry, CheckpointKept):
            kept[(entry.uid, entry.sha256)] = entry.path
        elif isinstance(entry, CheckpointDropped):
            kept.pop((entry.uid, entry.sha256), None)
            dropped.append((entry.uid, entry.sha256))
    return kept, dropped


def _problem(path: Path, kept: NotedCheckpoint, *, digests: bool) -> str | None:
    if not path.is_file():
        return "is gone"
    return "is damaged: its digest is another" if digests and sha256_of(path) != kept.sha256 else None


def _deliver(courier: Courier, uid: str) -> None:
    refused = courier.deliver_again([uid])
    if refused:
        raise Refused(refused[0])


def _is_protected(case: Case, tracker: Tracker, uid: str) -> bool:
    """Whether it was kept there because a registered version needs it, as the run's tag says."""
    experiment = next(
        entry.experiment for entry in read_all(case.folder.journal) if isinstance(entry, RunBegun) and entry.uid == uid
    )
    held = tracker.held_runs(experiment, "regatta.uid", uid)
    return any(run.tags.get(CHECKPOINT_TAG, "").startswith("kept: ") for run in held)


def _will_come(case: Case, each: HeldCheckpoint) -> bool:
    """Whether a half-delivered checkpoint can still be completed."""
    run: RunHistory | None = case.runs.get(each.uid)
    kept = [kept for kept in run.checkpoints if kept.sha256 == each.sha256 and kept.dropped is None] if run else []
    return any((case.folder.root / one.path).is_file() for one in kept)
