"""Compares the runs that a server holds with what it was given, and has what is missing delivered again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial

from pipelines.history import RunHistory
from pipelines.reconcile.case import Case, named
from pipelines.reconcile.told import Told, comparable, read_told
from pipelines.tracking.base import Refused, Tracker
from pipelines.tracking.courier import Courier
from pipelines.tracking.entries import END_REASON, Logged
from pipelines.tracking.holdings import HeldRun

_STUDY_TAG, _UID_TAG = "regatta.study_uid", "regatta.uid"


def compare_runs(case: Case, tracker: Tracker, courier: Courier, *, closely: Collection[str] = ()) -> None:
    """Compares statuses and newest values, and of the metrics in `closely` every single point.

    Raises:
        Unavailable: The server cannot be reached.
    """
    told = read_told(case.folder.journal, courier.state.offset, closely)
    if not told:
        return
    held = _held(case, tracker, told)
    _discard_doubles(case, tracker, courier, held)
    _close_strangers(case, tracker, held)
    by_uid = {run.uid: run for run in held}
    again: dict[str, str] = {}
    for uid, run in told.items():
        if uid in courier.state.runs:
            problem = _difference(run, by_uid[uid]) if uid in by_uid else _absence(uid, tracker, courier)
            if problem:
                again[uid] = problem
    there = {uid: by_uid[uid].run_id for uid in told if uid in by_uid and uid not in again}
    for metric in closely:
        again |= _compare_points(case, tracker, metric, {uid: told[uid] for uid in there}, there)
    for problem in sorted(set(again.values())):
        uids = [uid for uid, its in again.items() if its == problem]
        runs = [case.runs[uid] for uid in uids if uid in case.runs]
        case.findings.off(f"MLflow {problem} of {named(runs)}", partial(_deliver, courier, uids), "delivered again")


def _held(case: Case, tracker: Tracker, told: Mapping[str, Told]) -> list[HeldRun]:
    """The runs of this study, or of this training, that the server holds."""
    tag, value = (_STUDY_TAG, case.facts.uid) if case.facts is not None else (_UID_TAG, next(iter(told)))
    experiments = dict.fromkeys(run.experiment for run in told.values())
    return [run for experiment in experiments for run in tracker.held_runs(experiment, tag, value)]


def _deliver(courier: Courier, uids: list[str]) -> None:
    refused = courier.deliver_again(uids)
    if refused:
        raise Refused(refused[0])


def _absence(uid: str, tracker: Tracker, courier: Courier) -> str | None:
    """Of a run that is not found: whether it is lost; one that somebody deleted in MLflow is to stay deleted."""
    return None if tracker.has_run(courier.state.runs[uid], uid) else "has lost the run"


def _difference(told: Told, held: HeldRun) -> str | None:
    if told.status != held.status:
        return f"has the status {held.status}, not {told.status},"
    for name, (_, values) in told.newest.items():
        if name not in held.metrics or comparable(held.metrics[name]) not in values:
            return "lacks points"
    return None


def _compare_points(
    case: Case, tracker: Tracker, metric: str, told: Mapping[str, Told], run_ids: Mapping[str, str]
) -> dict[str, str]:
    """Runs that lack points of a metric; says which have points that nobody gave them, or one of them twice."""
    asked = [uid for uid, run in told.items() if metric in run.points]
    history = tracker.history([run_ids[uid] for uid in asked], metric)
    lacking: dict[str, str] = {}
    surplus: list[RunHistory] = []
    for uid in asked:
        there = Counter((step, comparable(value)) for step, value in history[run_ids[uid]])
        if told[uid].points[metric] - set(there):
            lacking[uid] = "lacks points"
        if sum(there.values()) > len(set(there)) or set(there) - told[uid].points[metric]:
            surplus.append(case.runs[uid])
    if surplus:
        case.findings.off(f"MLflow has points of '{metric}' that are not in the journal, or twice, of {named(surplus)}")
    return lacking


def _discard_doubles(case: Case, tracker: Tracker, courier: Courier, held: list[HeldRun]) -> None:
    """Puts aside runs that were made twice: the one that the sender knows stays."""
    counts = Counter(run.uid for run in held if run.uid)
    for run in [run for run in held if counts[run.uid] > 1]:
        ours = courier.state.runs.get(run.uid)
        if ours is not None and run.run_id != ours and any(other.run_id == ours for other in held):
            held.remove(run)
            what = f"MLflow has a second run of {named([case.runs[run.uid]])}, {run.run_id}"
            discard = partial(tracker.discard, run.run_id, f"it was made twice; the other one is {ours}")
            case.findings.off(what, discard, "deleted there, which can be undone")


def _close_strangers(case: Case, tracker: Tracker, held: list[HeldRun]) -> None:
    """Closes runs of this study that are open there and that its journal does not know."""
    for run in [run for run in held if run.uid not in case.runs]:
        held.remove(run)
        if run.status == "RUNNING":
            what = f"MLflow has the run {run.run_id} open, which is not in the journal"
            case.findings.off(what, partial(_close, tracker, run), "closed there")


def _close(tracker: Tracker, run: HeldRun) -> None:
    now_ms = time.time_ns() // 1_000_000
    reason = "the journal of its study does not know it, and no controller is there"
    tracker.log(run.run_id, [Logged(run.uid, now_ms, tags={END_REASON: reason})])
    tracker.end(run.run_id, "KILLED", now_ms)
