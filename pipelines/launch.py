"""Runs a sweep from a recipe: opens every room, lets the controller run, and hands over to the closing."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import devices
from pipelines.budgets import COMBINATIONS, Meter, spent_before
from pipelines.closing import Closing, Summary, run_tags
from pipelines.datasets.prepared import prepare
from pipelines.errors import ConfigError
from pipelines.executors.base import Executor
from pipelines.executors.inline import InlineExecutor
from pipelines.executors.processes import ProcessesExecutor, Recycling
from pipelines.facts import StudyFacts
from pipelines.history import best_value, read_runs, wall_seconds
from pipelines.home import Home, StudyFolder
from pipelines.judging import JudgeWorker
from pipelines.lineage import lineage
from pipelines.phases import Phases
from pipelines.progress import Progress
from pipelines.promote import Judge, promote_with
from pipelines.recipes import check_with_data, identity
from pipelines.reconcile import mend_study
from pipelines.stack import tracking_server
from pipelines.study import Study
from pipelines.sweep import Outcome, Sweep
from pipelines.tracking import make_tracker
from pipelines.tracking.journal import Journal, read_all
from pipelines.tracking.sender import Sender
from pipelines.worker import TrialWorker, WorkerSettings, environment, shares

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.config import SweepConfig


def run_sweep(
    config: SweepConfig, *, console: Console, command: str, fresh: bool = False, promote: bool = True
) -> Summary:
    """Runs a sweep to its end and says what came of it.

    Args:
        config: The recipe.
        console: Where progress goes.
        command: What was typed, for the record.
        fresh: Begin anew even where a study of the same recipe can be gone on with.
        promote: Judge the best trial at the end.

    Raises:
        RegattaError: The sweep could not begin or go on; what was recorded so far is safe.
    """
    begun, phases = time.monotonic(), Phases()
    home = Home.from_environment()
    folder = home.study(config.study)
    with ExitStack() as open_rooms:
        open_rooms.enter_context(folder.locked())
        with phases.of("data"):
            data = prepare(config.dataset, user_data_folder(), home.data, config.task)
        check_with_data(config, data.facts, f"study '{config.study}'")
        with phases.of("services"):
            server = tracking_server(wait=False)
        facts, aside = _take_up(config, folder, server, console, fresh=fresh)
        facts.trains_on(data)
        facts.write(folder)
        executor, workers = make_executor(config, folder)
        open_rooms.callback(executor.close)
        judging = make_judge_executor(folder)
        open_rooms.callback(judging.close)
        judge = Judge(judging)
        study = Study(config, storage_of(folder), facts.uid)
        open_rooms.callback(study.close)
        with phases.of("mending"):
            for line in mend_study(folder, study, facts, server):
                console.print(line, style="yellow", highlight=False)
        try:
            said = study.begin(home)
        except ConfigError:
            if not folder.journal.exists():  # nothing was started, so nothing stays
                folder.discard()
                if aside is not None:
                    folder.bring_back(aside)
            raise
        for line in said:
            console.print(line, style="yellow", highlight=False)
        entries = list(read_all(folder.journal))
        earlier = read_runs(entries)
        sender = Sender(folder.journal, make_tracker(server), server)
        journal = Journal(folder.journal, on_append=sender.wake)
        open_rooms.callback(journal.close)
        open_rooms.callback(sender.close)
        sender.start()
        revive = partial(tracking_server, wait=False)
        closing = Closing(config, folder, facts, server, journal, sender, study, console, revive)
        origin = lineage(command, data.sha256, data.split_sha256, config.model_dump(mode="json"))
        closing.begin_parent(data, origin)
        objective = config.objective
        before = best_value(earlier.values(), objective.metric, objective.sense)
        progress = Progress(
            console, config.study, objective.metric, objective.sense, best_before=before, problem=lambda: sender.problem
        )
        meter = Meter(
            config.budget,
            objective.sense,
            study.counts(),
            spent_before(earlier.values(), wall_seconds(entries, facts.uid), objective.metric),
            combinations=study.combinations,
            begun=begun,
        )
        sweep = Sweep(
            config,
            study=study,
            data=data.folder,
            executor=executor,
            journal=journal,
            folder=folder,
            uid=facts.uid,
            tags=run_tags(facts.uid) | origin.trial_tags(),
            earlier=earlier,
            meter=meter,
            watcher=progress,
            on_last_trials=judge.warm_up if promote else lambda: None,
        )
        try:
            with phases.of("trials"):
                outcome = _run(sweep, executor, workers, progress, study, meter, console)
        except BaseException:
            closing.abandon()
            raise
        executor.close()
        promoter = partial(promote_with, judge, config, facts, data, user_data_folder()) if promote else None
        return closing.close(outcome, begun, phases, promoter)


def storage_of(folder: StudyFolder) -> Path | str:
    """Where Optuna keeps the study: `REGATTA_STORAGE`, the URL of a database, or an SQLite file in its folder."""
    return os.environ.get("REGATTA_STORAGE") or folder.storage


def make_executor(config: SweepConfig, folder: StudyFolder) -> tuple[Executor, int]:
    """The executor of a recipe, not started yet, and its number of workers."""
    execution = config.execution
    found, cores = devices.gpus(), devices.cores()
    if execution.executor == "inline":
        os.environ.update(environment(cores, found[0] if found else None))
        return InlineExecutor(
            partial(TrialWorker, WorkerSettings(cores, execution.gpu_memory_mb, execution.data_memory_mb))
        ), 1
    workers = execution.workers if execution.workers != "auto" else len(found) or cores
    environments = shares(cores, workers, found)
    settings = WorkerSettings(max(1, cores // workers), execution.gpu_memory_mb, execution.data_memory_mb)
    recycling = Recycling(
        execution.recycle_after,
        execution.memory_limit_mb << 20,
        None if execution.memory_cap_mb is None else execution.memory_cap_mb << 20,
    )
    executor = ProcessesExecutor(partial(TrialWorker, settings), environments, logs=folder.logs, recycling=recycling)
    return executor, workers


def make_judge_executor(folder: StudyFolder) -> Executor:
    """One process, on the CPU, for the judge."""
    return ProcessesExecutor(JudgeWorker, [environment(devices.cores(), None)], logs=folder.logs / "judge")


def user_data_folder() -> Path | None:
    """Where the user keeps data files: `REGATTA_DATA`, or None."""
    named = os.environ.get("REGATTA_DATA")
    return Path(named).expanduser().absolute() if named else None


def _run(
    sweep: Sweep,
    executor: Executor,
    workers: int,
    progress: Progress,
    study: Study,
    meter: Meter,
    console: Console,
) -> Outcome:
    """Runs what is left of the budget; starts no worker where nothing is left."""
    counts = study.counts()
    ending = meter.ending(all_tried=study.left() == 0)
    if ending is not None and not (counts.running and ending.by in {"trials", COMBINATIONS}):
        more = {"trials": " More: --trials N.", COMBINATIONS: ""}.get(ending.by, f" More: --set budget.{ending.by}=….")
        console.print(f"Study '{study.name}' is done already: {ending.text}.{more} Anew: --fresh.", highlight=False)
        return Outcome(counts, ending)
    _say_what_goes_on(study, console)
    with progress.shown():
        executor.start(sweep)
        return sweep.run(workers)


def _say_what_goes_on(study: Study, console: Console) -> None:
    """Says of a study that was begun before what is there, and which trials go on."""
    counts, open_trials = study.counts(), [str(number) for number, _ in study.unfinished()]
    done = counts.complete + counts.pruned
    if done or open_trials:
        named = f"{', '.join(open_trials[:-1])} and {open_trials[-1]}" if len(open_trials) > 1 else "".join(open_trials)
        rest = f"; trial{'s go' if len(open_trials) > 1 else ' goes'} on: {named}" if open_trials else ""
        console.print(f"Study '{study.name}' goes on: {done} trials are done{rest}.", highlight=False)


def _take_up(
    config: SweepConfig, folder: StudyFolder, server: str, console: Console, *, fresh: bool
) -> tuple[StudyFacts, Path | None]:
    """Goes on with the study in the folder where it is the same recipe, or begins a new one and keeps the old aside.

    Returns:
        The study's facts, and the folder in which the one before is kept, where it is.
    """
    aside: Path | None = None
    if folder.exists():
        facts = StudyFacts.read(folder)
        if facts.identity == identity(config) and not fresh:
            return facts.go_on(config, server), None
        why = "as --fresh asks" if fresh else "as the recipe has changed"
        aside = folder.set_aside()
        console.print(
            f"A new study '{config.study}' begins, {why}. The one before is kept: its runs in MLflow, its files in "
            f"{aside}",
            highlight=False,
            soft_wrap=True,
        )
    return StudyFacts.begin(config, server), aside
