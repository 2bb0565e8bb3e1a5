"""A sweep from its data to its summary: opens every room, lets the controller run, and hands over to the closing."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.afar.record import SweepRecord
from pipelines.afar.staffing import Backing
from pipelines.controller.budgets import COMBINATIONS, Meter, spent_before
from pipelines.datasets.prepared import PreparedData, prepare
from pipelines.ending.closing import Closing
from pipelines.ending.parent import ParentRun, run_tags
from pipelines.ending.upshot import Summary
from pipelines.errors import ConfigError
from pipelines.executors.base import Executor
from pipelines.exposition import Record, metrics_address, observed
from pipelines.facts import StudyFacts
from pipelines.history import best_value, read_runs, wall_seconds
from pipelines.home import Home, StudyFolder, storage_of, user_data_folder
from pipelines.lineage import lineage
from pipelines.phases import Phases
from pipelines.placing import Placement
from pipelines.promote import StudyOnDisk, promote_with
from pipelines.promotion.judge import Judge
from pipelines.recipe.oddities import gaps, oddities
from pipelines.recipe.reading import changed, check_with_data
from pipelines.reconcile import mend_study
from pipelines.stack import begin_tracking_server, tracking_server
from pipelines.staffing import Ahead, find_place, make_executor, make_judge_executor, recruit, settle
from pipelines.study import Study
from pipelines.sweep import Outcome, Sweep
from pipelines.telling import say
from pipelines.terminal.progress import Progress
from pipelines.terminal.seats import named
from pipelines.tracking import make_tracker
from pipelines.tracking.addresses import without_secrets
from pipelines.tracking.journal import Journal, read_all
from pipelines.tracking.sender import Sender

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.recipe.config import SweepConfig


_MOST_PATHS = 5  # that are named where a recipe has changed


def conduct(
    config: SweepConfig,
    home: Home,
    folder: StudyFolder,
    goes_on: StudyFacts | None,
    ahead: Ahead,
    open_rooms: ExitStack,
    *,
    console: Console,
    command: str,
    fresh: bool,
    promote: bool,
    begun: float,
) -> Summary:
    """Runs a sweep whose study is locked; see `pipelines.launch.run_sweep`.

    Args:
        config: The recipe.
        home: Where Regatta keeps its state.
        folder: Of the study.
        goes_on: The study that goes on, or None where a new one begins.
        ahead: Worker processes that were started before.
        open_rooms: Closes what is opened.
        console: Where progress goes.
        command: What was typed, for the record.
        fresh: Whether a new study was asked for.
        promote: Judge the best trial at the end.
        begun: When the sweep began, by the monotonic clock.
    """
    phases, user_folder, metrics = Phases(), user_data_folder(), metrics_address()
    with phases.of("data"):
        data = prepare(config.dataset, user_folder, home.data, config.task)
    check_with_data(config, data.facts, f"study '{config.study}'")
    with phases.of("services"):
        server, on_its_way = begin_tracking_server()
    facts, aside = _take_up(config, folder, server, console, goes_on, fresh=fresh)
    facts.trains_on(data)
    origin = lineage(command, data.sha256, data.split_sha256, config.model_dump(mode="json"))
    other = facts.runs_code(origin.own_code)
    facts.write(folder)
    study = Study(config, storage_of(folder), facts.uid)
    open_rooms.callback(study.close)
    if goes_on is not None and _has_more(study, config):
        ahead = recruit(config, cache=home.lanes)
        open_rooms.callback(ahead.dismiss)
    place = find_place(config, data, cache=home.lanes, ahead=ahead)
    with phases.of("mending"):
        for line in mend_study(folder, study, facts, server):
            say(console, line, "yellow")
    try:
        said = study.begin(home)
    except ConfigError:
        if not folder.journal.exists():  # nothing was started, so nothing stays
            folder.discard()
            if aside is not None:
                folder.bring_back(aside)
        raise
    for line in (*([other] if other else []), *oddities(config), *gaps(config, data), *said):
        say(console, line, "yellow")
    entries = list(read_all(folder.journal))
    earlier = read_runs(entries)
    sender = Sender(folder.journal, make_tracker(server), server, on_its_way=on_its_way)
    journal = Journal(folder.journal, on_append=sender.wake)
    open_rooms.callback(journal.close)
    open_rooms.callback(sender.close)
    sender.start()
    revive = partial(tracking_server, wait=False)
    parent = ParentRun(config, folder, facts.uid, journal)
    closing = Closing(config, folder, facts, without_secrets(server), journal, sender, study, parent, console, revive)
    parent.begin(data, origin)
    objective = config.objective
    before = best_value(earlier.values(), objective.metric, objective.sense)
    progress = Progress(
        console,
        config.study,
        objective.metric,
        objective.sense,
        best_before=before,
        problem=lambda: sender.problem,
        starting=lambda: sender.starting,
    )
    watcher = open_rooms.enter_context(
        observed(
            progress,
            metrics,
            study=config.study,
            metric=objective.metric,
            sense=objective.sense,
            record=Record(lambda: journal.written, lambda: sender.delivered, lambda: sender.problem is not None),
            best_before=before,
            say=lambda text: say(console, text, "yellow"),
        )
    )
    meter = Meter(
        config.budget,
        objective.sense,
        study.counts(),
        spent_before(earlier.values(), wall_seconds(entries, facts.uid), objective.metric),
        combinations=study.combinations,
        begun=begun,
    )
    if place.probes and _has_more(study, config):
        with phases.of("workers"):
            place = settle(config, folder, data, place, cache=home.lanes, ahead=ahead)
    record = SweepRecord(facts.uid, sender.run_id, journal.time_of, lambda: journal.last_ms)
    backing = Backing(data.folder, server, record)
    executor = make_executor(config, folder, place, cache=home.lanes, trials=meter.left, ahead=ahead, backing=backing)
    open_rooms.callback(executor.close)
    judging = executor if place.judges else make_judge_executor(folder)
    open_rooms.callback(judging.close)
    judge = Judge(judging, closing.get_ready)
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
        watcher=watcher,
        on_last_trials=judge.warm_up if promote and not place.judges else lambda: None,
    )
    try:
        with phases.of("trials"):
            outcome = _run(sweep, executor, place, progress, study, meter, console)
    except BaseException:
        closing.abandon()
        raise
    ahead.recruits.dismiss()  # of a sweep that had nothing left to train
    if not (promote and place.judges):
        executor.close()
    promoter = None
    if promote:
        on_disk = StudyOnDisk(config, facts, data, user_folder, folder, journal, server, sender.run_id)
        trains = partial(_trainer, config, folder, data, place, executor, home, open_rooms)
        promoter = partial(promote_with, judge, on_disk, trainer=trains)
    return closing.close(outcome, meter, phases, promoter)


def _trainer(
    config: SweepConfig,
    folder: StudyFolder,
    data: PreparedData,
    place: Placement,
    executor: Executor,
    home: Home,
    open_rooms: ExitStack,
) -> Executor:
    """Who trains candidates again with other seeds: the sweep's own workers, where they are not gone by now."""
    if place.judges:
        return executor
    again = config.promotion.seeds * config.promotion.top_k
    another = make_executor(config, folder, place, cache=home.lanes, trials=again, backing=Backing(data.folder))
    open_rooms.callback(another.close)
    return another


def _has_more(study: Study, config: SweepConfig) -> bool:
    """Whether a study that goes on has probably trials to run; what else ends a sweep is told by its journal, later."""
    counts = study.counts()
    return counts.running > 0 or (counts.complete + counts.pruned < config.budget.trials and study.left() != 0)


def _run(
    sweep: Sweep,
    executor: Executor,
    place: Placement,
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
        say(console, f"Study '{study.name}' is done already: {ending.text}.{more} Anew: --fresh.")
        return Outcome(counts, ending)
    _say_what_goes_on(study, console)
    if place.said:
        say(console, place.said)
    with progress.shown():
        executor.start(sweep)
        return sweep.run(place.workers, place.most)


def _say_what_goes_on(study: Study, console: Console) -> None:
    """Says of a study that was begun before what is there, and which trials go on."""
    counts, open_trials = study.counts(), [number for number, _ in study.unfinished()]
    done = counts.complete + counts.pruned
    if done or open_trials:
        rest = f"; {named(open_trials)} go{'' if len(open_trials) > 1 else 'es'} on" if open_trials else ""
        say(console, f"Study '{study.name}' goes on: {done} trials are done{rest}.")


def _named(paths: list[str]) -> str:
    """` (epochs, model.units and 3 more)`; empty where there is none to name."""
    more = f" and {len(paths) - _MOST_PATHS} more" if len(paths) > _MOST_PATHS else ""
    return f" ({', '.join(paths[:_MOST_PATHS])}{more})" if paths else ""


def _take_up(
    config: SweepConfig,
    folder: StudyFolder,
    server: str,
    console: Console,
    goes_on: StudyFacts | None,
    *,
    fresh: bool,
) -> tuple[StudyFacts, Path | None]:
    """Goes on with the study in the folder, or begins a new one and keeps the old aside.

    Returns:
        The study's facts, and the folder in which the one before is kept, where it is.
    """
    if goes_on is not None:
        return goes_on.go_on(config, server), None
    aside: Path | None = None
    if folder.exists():
        why = "as --fresh asks"
        if not fresh:
            why = f"as the recipe has changed{_named(changed(StudyFacts.read(folder).config, config))}"
        aside = folder.set_aside()
        say(
            console,
            f"A new study '{config.study}' begins, {why}. The one before is kept: its runs in MLflow, its files in "
            f"{aside}",
        )
    return StudyFacts.begin(config, server), aside
