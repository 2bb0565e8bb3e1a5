"""The small verbs, which look at studies and models that are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipelines import reconcile
from pipelines.afar.staffing import Backing
from pipelines.errors import ConfigError, HomeError, Mistake, NothingToPromote
from pipelines.executors.base import Executor
from pipelines.facts import StudyFacts
from pipelines.history import gather
from pipelines.home import Home, StudyFolder, storage_of, user_data_folder
from pipelines.mistakes import did_you_mean
from pipelines.own.code import may_be_elsewhere
from pipelines.promote import StudyOnDisk, candidates_of, note_evidence, promote_with
from pipelines.promotion import going_back
from pipelines.promotion.champions import ModelHistory, history_of
from pipelines.promotion.judge import Judge
from pipelines.promotion.outcome import Promoted
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.reading import check_recipe, check_with_data
from pipelines.records import StudyHistory
from pipelines.report import write_report
from pipelines.stack import tracking_server
from pipelines.staffing import find_place, make_executor, make_judge_executor
from pipelines.study import Study
from pipelines.tracking import make_tracker
from pipelines.tracking.addresses import sweep_address, without_secrets
from pipelines.tracking.journal import Journal
from pipelines.tracking.models import CHALLENGER, CHAMPION, PREVIOUS, ModelRegistry
from pipelines.tracking.sender import Delivery, Sender, read_delivery
from pipelines.yaml_file import Document

_EVIDENCE_S = 60.0
"""How long a promotion waits for its evidence to arrive; it is safe in the journal either way."""


def promote_study(name: str, *, force: bool = False, settings: Sequence[str] = (), alias: str = CHAMPION) -> Promoted:
    """Promotes one of the best trials of a study.

    Args:
        name: Of the study.
        force: Make it the champion, whatever the policy says.
        settings: What is set of the policy for this once, each as `promotion.KEY=VALUE`.
        alias: The place that is at stake: `champion`, or `challenger`, which shadows it.

    Raises:
        ConfigError: The settings are wrong, or nobody can have that alias.
        HomeError: There is no such study, or a sweep is running it.
        NothingToPromote: No trial completed, or its runs are not on the server yet.
        TrackingError: The server cannot be reached, or refuses.
    """
    if alias not in (CHAMPION, CHALLENGER):
        kept = f"; '{PREVIOUS}' follows by itself: it names the champion before this one" if alias == PREVIOUS else ""
        text = f"must be {CHAMPION} or {CHALLENGER}, got '{alias}'{did_you_mean(alias, (CHAMPION, CHALLENGER))}{kept}"
        raise ConfigError("promote", [Mistake("--as", text)])
    home = Home.from_environment()
    folder = home.known_study(name)
    with folder.locked(), ExitStack() as open_rooms:
        facts = StudyFacts.read(folder)
        config = _with_policy(facts.recipe(), settings)
        # data may come of own code, and who trains again needs all of it; of models, see `promote_with`
        facts.need_code(*(() if config.promotion.seeds else ("dataset",)))
        server = tracking_server(wait=True)
        ModelRegistry(server).model(config.study)  # a server that is away is no fault of the runs, and no candidate's
        delivery = read_delivery(folder.journal, server)
        experiment_id = delivery.experiments.get(config.study)
        if experiment_id is None:
            raise NothingToPromote(
                f"The runs of study '{name}' are not on {without_secrets(server)} yet. Send them with: regatta sync"
            )
        gathered = _gather(folder, facts, delivery, {})
        best = candidates_of(gathered, config)
        if not best:
            raise NothingToPromote(
                f"Study '{name}' has no candidate: {len(gathered.trials)} trials, none of them complete. Run more "
                f"with: regatta sweep --trials N"
            )
        data = facts.prepared()
        with may_be_elsewhere():
            check_with_data(config, data.facts, f"study '{name}'")
        sender = Sender(folder.journal, make_tracker(server), server)
        journal = Journal(folder.journal, on_append=sender.wake)
        open_rooms.callback(journal.close)
        open_rooms.callback(sender.close)
        sender.start()

        def trainer() -> Executor:
            again = config.promotion.seeds * len(best)
            place, backing = find_place(config, data), Backing(data.folder)
            made = make_executor(config, folder, place, cache=home.lanes, trials=again, backing=backing)
            open_rooms.callback(made.close)
            return made

        executor = make_judge_executor(folder)
        open_rooms.callback(executor.close)
        on_disk = StudyOnDisk(config, facts, data, user_data_folder(), folder, journal, server, sender.run_id)
        challenges = alias == CHALLENGER
        promoted = promote_with(
            Judge(executor), on_disk, best, experiment_id, trainer=trainer, force=force, challenges=challenges
        )
        sender.flush(journal.written, _EVIDENCE_S)
        return note_evidence(promoted, server, sender.run_id, sender.experiment_id)


def _with_policy(config: SweepConfig, settings: Sequence[str]) -> SweepConfig:
    """The recipe of a study with another policy; nothing else of it can be another when its trials are trained."""
    others = [setting for setting in settings if not setting.startswith("promotion.")]
    if others:
        text = "a study that was run keeps its recipe; only what is below promotion can be set: promotion.KEY=VALUE"
        raise ConfigError("promote", [Mistake(f"--set {setting.partition('=')[0]}", text) for setting in others])
    if not settings:
        return config
    with may_be_elsewhere():
        return check_recipe(Document(config.model_dump(mode="json"), {}), f"study '{config.study}'", settings)


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


def model_history(name: str) -> ModelHistory:
    """Which versions of a model there are, and who was the champion when, and why.

    Raises:
        ConfigError: Nothing is registered under that name.
    """
    return history_of(ModelRegistry(tracking_server(wait=True)), name)


def roll_back(name: str, to: str | None, why: str = "", *, force: bool = False) -> str:
    """Moves the champion's alias to `to`, or to the version before; returns a sentence about it."""
    return going_back.roll_back(ModelRegistry(tracking_server(wait=True)), name, to, why, force=force)


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
    return sweep_address(facts.server, experiment_id, parent, config.objective.sense)
