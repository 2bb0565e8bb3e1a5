"""The small verbs, which look at studies and models that are there already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines import reconcile
from pipelines.errors import ConfigError, HomeError, Mistake, NothingToPromote
from pipelines.facts import StudyFacts
from pipelines.history import gather
from pipelines.home import Home, StudyFolder
from pipelines.launch import make_judge_executor, storage_of, user_data_folder
from pipelines.promote import JUDGED_BY, Judge, Promoted, best_trial, promote_with
from pipelines.records import StudyHistory
from pipelines.report import write_report
from pipelines.stack import tracking_server
from pipelines.study import Study
from pipelines.tasks import SCORES
from pipelines.tracking.addresses import sweep_address
from pipelines.tracking.models import CHAMPION, ModelRegistry
from pipelines.tracking.sender import Delivery, read_delivery


def promote_study(name: str) -> Promoted:
    """Promotes the best trial of a study.

    Raises:
        HomeError: There is no such study, or a sweep is running it.
        NothingToPromote: No trial completed, or its runs are not on the server yet.
    """
    folder = Home.from_environment().known_study(name)
    with folder.locked():
        facts = StudyFacts.read(folder)
        server = tracking_server(wait=True)
        config, delivery = facts.recipe(), read_delivery(folder.journal, server)
        experiment_id = delivery.experiments.get(config.study)
        if experiment_id is None:
            raise NothingToPromote(f"The runs of study '{name}' are not on {server} yet. Send them with: regatta sync")
        gathered = _gather(folder, facts, delivery, {})
        trials = gathered.trials
        best = best_trial(trials, gathered.direction, gathered.objectives, gathered.pick or "first")
        if best is None:
            raise NothingToPromote(
                f"Study '{name}' has no candidate: {len(trials)} trials, none of them complete. Run more with: regatta "
                f"sweep --trials N"
            )
        executor = make_judge_executor(folder)
        try:
            return promote_with(
                Judge(executor),
                config,
                facts,
                facts.prepared(),
                user_data_folder(),
                best,
                folder,
                server,
                experiment_id,
            )
        finally:
            executor.close()


def report_study(name: str) -> str:
    """Writes a study's report and returns its path."""
    folder = Home.from_environment().known_study(name)
    facts = StudyFacts.read(folder)
    delivery = read_delivery(folder.journal, facts.server)
    study = Study(facts.recipe(), storage_of(folder), facts.uid)
    try:
        history = _gather(folder, facts, delivery, study.importances())
    finally:
        study.close()
    return str(write_report(history, folder.report))


def newest_address() -> str:
    """The address of the newest sweep in MLflow.

    Raises:
        HomeError: There is no sweep yet, or it never reached a server with a web page.
    """
    home = Home.from_environment()
    for name in home.studies():
        folder = home.study(name)
        address = _address(StudyFacts.read(folder), folder)
        if address:
            return address
    raise HomeError(f"No sweep under {home.root} has reached an MLflow server yet. Begin with: make sweep")


def mend(*, check: bool = False) -> tuple[list[str], bool]:
    """Runs `reconcile` over all studies: what it did, line by line, and whether nothing is left to do."""
    home = Home.from_environment()
    found = list(reconcile.reconcile(home, tracking_server(wait=True), _open_study, check=check))
    return _told(found, home, check=check), all(mended.whole for mended in found)


def deliver(folder: Path | None) -> tuple[list[str], bool]:
    """Runs `sync` over all studies, or over a folder that was brought from elsewhere; as `mend`."""
    home, server = Home.from_environment(), tracking_server(wait=True)
    found = list(reconcile.sync(home, server) if folder is None else reconcile.sync_folder(folder, server))
    return _told(found, home, check=False), all(mended.whole for mended in found)


def _told(found: list[reconcile.Mended], home: Home, *, check: bool) -> list[str]:
    lines = []
    for mended in found:
        if mended.skipped:
            lines.append(f"{mended.study}: left alone. {mended.skipped}")
            continue
        lines += [f"{mended.study}: {sentence}" for sentence in mended.said]
        if check:
            lines += [] if mended.said else [f"{mended.study}: all records agree"]
            continue
        rest = f", {mended.missing} still to deliver ({mended.problem})" if mended.missing else ""
        lines.append(f"{mended.study}: {mended.sent} journal entries delivered{rest}")
    return lines or [f"There is no study under {home.root}."]


def _open_study(folder: StudyFolder, facts: StudyFacts) -> Study | None:
    storage = storage_of(folder)
    if isinstance(storage, Path) and not storage.exists():
        return None
    return Study(facts.recipe(), storage, facts.uid)


def model_history(name: str) -> list[str]:
    """A line for every version of a model, oldest first."""
    registry = ModelRegistry(tracking_server(wait=True))
    versions = registry.versions(name)
    if not versions:
        raise ConfigError("history", [Mistake("NAME", f"no model is registered as '{name}' on {registry.uri}")])
    lines = []
    for version in versions:
        tags = version.tags
        made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(version.created_ms / 1000))
        aliases = f" [{', '.join(version.aliases)}]" if version.aliases else ""
        since = f", champion since {tags['regatta.champion_since']}" if "regatta.champion_since" in tags else ""
        lines.append(
            f"version {version.version}{aliases}  {made} UTC  trial {tags.get('regatta.trial', '?')}, "
            f"{_headline(tags)}{since}: {tags.get('regatta.decision', '')}"
        )
    return lines


def _headline(tags: Mapping[str, str]) -> str:
    """The score that a version was judged by; of one that does not say, the one that people look at first."""
    known = [tags.get(JUDGED_BY, ""), *(name for task in SCORES for name in SCORES[task])]
    names = [name for name in known if f"regatta.{name}" in tags]
    return f"{names[0].replace('_', ' ')} {float(tags[f'regatta.{names[0]}']):.4f}" if names else "not judged"


def roll_back(name: str, to: str | None) -> str:
    """Moves the champion's alias to `to`, or to the version before; returns a sentence about it."""
    registry = ModelRegistry(tracking_server(wait=True))
    champion = registry.champion(name)
    target = registry.champion(name, "previous") if to is None else None
    if to is not None:
        target = next((version for version in registry.versions(name) if version.version == to), None)
    if champion is None or target is None:
        missing = "champion" if champion is None else f"version {to}" if to else "version before the champion"
        raise ConfigError("rollback", [Mistake("NAME", f"'{name}' has no {missing}; see: regatta history {name}")])
    if target.version == champion.version:
        return f"Version {champion.version} of '{name}' is the {CHAMPION} already."
    registry.crown(target, champion, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    return f"Version {target.version} of '{name}' is the {CHAMPION} again; version {champion.version} was it before."


def _gather(
    folder: StudyFolder, facts: StudyFacts, delivery: Delivery, importances: Mapping[str, float]
) -> StudyHistory:
    address = _address(facts, folder)
    links: dict[str, Any] = {"MLflow": address} if address else {}
    return gather(
        folder,
        facts.recipe(),
        delivery.runs.get,
        importances=importances,
        champion=None,
        links=links,
        seconds=None,
    )


def _address(facts: StudyFacts, folder: StudyFolder) -> str | None:
    delivery = read_delivery(folder.journal, facts.server)
    config = facts.recipe()
    experiment_id, parent = delivery.experiments.get(config.study), delivery.runs.get(facts.uid)
    if not experiment_id or not parent:
        return None
    return sweep_address(facts.server, experiment_id, parent, config.objective.metric, config.objective.sense)
