"""Frees what a dead controller held on this machine: worker processes, half-written files, states, old checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipelines.executors.docker.adrift import Adrift, are_noted
from pipelines.executors.docker.base import EngineGone, EngineRefused
from pipelines.executors.pids import end_left_over, left_over
from pipelines.history import RunHistory
from pipelines.reconcile.case import Case, final_state


def end_workers(case: Case) -> None:
    """Ends worker processes that have outlived their controller, which frees their devices."""
    processes = [process for process in left_over(case.folder.logs).values() if process is not None]
    if processes:
        count = f"{len(processes)} worker process{'es' if len(processes) > 1 else ''}"
        goes_on = "go on" if len(processes) > 1 else "goes on"
        end = partial(end_left_over, case.folder.logs)
        case.findings.off(f"{count} of a controller that is gone {goes_on}", end, "ended, slots freed")


def end_containers(case: Case) -> None:
    """Ends workers in containers that have outlived their controller, and removes what is left of others."""
    if not are_noted(case.folder.logs):
        return
    try:
        adrift = Adrift.of(case.folder.root.name, case.folder.root, case.folder.logs)
    except (EngineGone, EngineRefused) as problem:
        case.findings.off(
            f"Containers of a controller that is gone may go on: the Docker engine does not say ({problem})"
        )
        return
    if adrift.running:
        count = f"{adrift.running} container{'s' if adrift.running > 1 else ''}"
        goes_on = "go on" if adrift.running > 1 else "goes on"
        what = f"{count} of a controller that is gone {goes_on}"
        case.findings.off(what, adrift.remove, "ended, slots freed")
    elif not case.findings.check:
        adrift.remove()


def remove_leftovers(case: Case) -> None:
    """Removes files that nobody will finish, and those that nobody will read."""
    over = {run.number: run for run in case.runs.values() if run.number is not None and final_state(run) is not None}
    for one, many, paths in (
        ("half-written file lies", "half-written files lie", list(_half_written(case.folder.root))),
        ("folder of states of a trial that is over lies", "folders of states of trials that are over lie",
         list(_states(case.folder.root, over))),
        ("file of a dropped checkpoint lies", "files of dropped checkpoints lie", list(_dropped(case))),
    ):  # fmt: skip
        if paths:
            what = f"{len(paths)} {one if len(paths) == 1 else many} around"
            case.findings.off(what, partial(_remove, paths), "removed")


def _half_written(root: Path) -> Iterator[Path]:
    for folder in (root / "trials", root / "states"):
        yield from folder.rglob(".writing-*")
    yield from root.glob(".writing-*")
    yield from root.glob("*.writing")


def _states(root: Path, over: dict[int, RunHistory]) -> Iterator[Path]:
    for folder in sorted((root / "states").glob("*")):
        if folder.name.isdecimal() and int(folder.name) in over:
            yield folder


def _dropped(case: Case) -> Iterator[Path]:
    kept = {each.path for run in case.runs.values() for each in run.checkpoints if each.dropped is None}
    for run in case.runs.values():
        for each in run.checkpoints:
            path = case.folder.root / each.path
            if each.dropped is not None and each.path not in kept and path.is_file():
                yield path


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
