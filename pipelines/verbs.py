"""The small verbs, which look at studies and models that are there already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pipelines import reconcile
from pipelines.errors import ConfigError, HomeError, Mistake, NothingToPromote
from pipelines.facts import StudyFacts
from pipelines.history import gather
from pipelines.home import Home, StudyFolder
from pipelines.launch import make_judge_executor, user_data_folder
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
        trials = _gather(folder, facts, delivery, {}).trials
        best = best_trial(trials, config.objective.sense)
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
    study = Study(facts.recipe(), folder.storage)
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


def mend(verb: str) -> tuple[list[str], bool]:
    """Runs `reconcile` or `sync` over all studies: what it did, line by line, and whether nothing is left to do."""
    home = Home.from_environment()
    lines, whole = [], True
    for found in getattr(reconcile, verb)(home, tracking_server(wait=True)):
        whole = whole and not found.missing and not found.skipped
        if found.skipped:
            lines.append(f"{found.study}: left alone. {found.skipped}")
            continue
        rest = f", {found.missing} still to deliver ({found.problem})" if found.missing else ""
        closed = f"{found.closed} runs closed, " if verb == "reconcile" else ""
        lines.append(f"{found.study}: {closed}{found.sent} journal entries delivered{rest}")
    return lines or [f"There is no study under {home.root}."], whole


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
