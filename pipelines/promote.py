"""Promotes the best of a study whose files are on this disk: who are its candidates, and what each was trained with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.datasets.prepared import PreparedData
from pipelines.errors import NothingToPromote, TrackingError
from pipelines.executors.base import Executor
from pipelines.facts import StudyFacts
from pipelines.front import best_trials
from pipelines.history import RunHistory, read_runs
from pipelines.home import StudyFolder
from pipelines.models import strangers
from pipelines.own.digest import code_in
from pipelines.promotion.judge import Judge
from pipelines.promotion.outcome import Candidate, Promoted
from pipelines.promotion.promoter import Promoter
from pipelines.promotion.record import Record, experiment_of
from pipelines.promotion.reigns import EVIDENCE_TAG
from pipelines.promotion.seeds import Kept, Repeated, ranked, repeat
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.kept import need_code
from pipelines.records import StudyHistory, TrialHistory, TrialSpec
from pipelines.tracking import make_tracker
from pipelines.tracking.addresses import run_address, without_secrets
from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.fetching import bring
from pipelines.tracking.journal import Journal, read_all
from pipelines.tracking.models import ModelRegistry


@dataclass(frozen=True)
class StudyOnDisk:
    """A study whose best trials are to be promoted.

    Attributes:
        config: Its recipe.
        facts: What identifies it.
        data: What its trials trained on.
        user_folder: Where the user keeps data files, or None.
        folder: Its files.
        journal: Its journal, open.
        server: Address of the tracking server.
        run_id: Tells the server's id of a run, or None as long as it has none.
    """

    config: SweepConfig
    facts: StudyFacts
    data: PreparedData
    user_folder: Path | None
    folder: StudyFolder
    journal: Journal
    server: str
    run_id: Callable[[str], str | None]


def candidates_of(history: StudyHistory, config: SweepConfig) -> tuple[TrialHistory, ...]:
    """The best trials by validation, the best first, as many as the recipe wants; none where no trial is complete."""
    return best_trials(
        history.trials, history.direction, history.objectives, history.pick or "first", config.promotion.top_k
    )


def promote_with(
    judge: Judge,
    study: StudyOnDisk,
    best: Sequence[TrialHistory],
    experiment_id: str,
    *,
    trainer: Callable[[], Executor] | None = None,
    force: bool = False,
    challenges: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> Promoted:
    """Promotes one of a study's trials; see `Promoter`.

    Args:
        judge: Opens the sealed test part.
        study: The study.
        best: The candidates, the best by validation first.
        experiment_id: The server's id of the study's experiment.
        trainer: Makes an executor of trial workers, for recipes that train candidates again.
        force: Make the first candidate the champion, whatever the policy says.
        challenges: Make it the challenger instead.
        told: Hears how far it is.

    Raises:
        NothingToPromote: There is no candidate that can be judged.
        OwnCodeError: A candidate has layers of the user's own, whose code is not here.
        PromotionRefused: What would be served is not what was trained.
        TrackingError: The server cannot or will not take the model, or its champion is damaged.
    """
    runs = read_runs(read_all(study.folder.journal))
    by_number = {trial.number: runs[f"{study.facts.uid}-{trial.number:05d}"] for trial in best}
    repeated: list[Repeated] = []
    if study.config.promotion.seeds and trainer is not None:
        repeated = _repeated(trainer, study, best, by_number, told)
        best = ranked(best, repeated, study.config.objective.sense)
    candidates = [
        Candidate(trial, checkpoint, run.config, code_in(run.tags))
        for trial in best
        if (checkpoint := _at_hand(study, run := by_number[trial.number])) is not None
    ]
    if not candidates or candidates[0].trial is not best[0]:
        raise NothingToPromote(f"Trial {best[0].number} has no checkpoint in the journal {study.folder.journal}.")
    for candidate in candidates:
        if strangers.in_file(candidate.checkpoint):
            need_code(TrainingConfig, candidate.config, f"study '{study.config.study}'", ("model",))
    record = Record(study.journal, study.config.study, study.facts.uid, study.run_id)
    registry = ModelRegistry(study.server)
    promoter = Promoter(study.config, study.data, registry, judge.ask, record, user_folder=study.user_folder)
    return promoter.promote(
        candidates, experiment_id=experiment_id, force=force, challenges=challenges, repeated=repeated
    )


def note_evidence(
    promoted: Promoted,
    server: str,
    run_id: Callable[[str], str | None],
    experiment_id: Callable[[str], str | None],
) -> Promoted:
    """Says on the version which run has the evidence, where the server had none when it was registered.

    To be called when the journal has arrived. Returns what was promoted, with the run of its evidence and where people
    find it.

    Args:
        promoted: What came of a promotion.
        server: Address of the tracking server.
        run_id: Tells the server's id of a run.
        experiment_id: Tells the server's id of an experiment.
    """
    found = promoted.evidence_run
    if found is None and promoted.evidence is not None:
        found = run_id(promoted.evidence)
        if found is not None:
            ModelRegistry(server).tag(promoted.version, {EVIDENCE_TAG: found})
    where = experiment_id(experiment_of(promoted.version.name))
    address = run_address(server, where, found) if where is not None and found is not None else None
    return replace(promoted, evidence_run=found, evidence_address=address)


def _at_hand(study: StudyOnDisk, run: RunHistory) -> Path | None:
    """The file of a run's checkpoint, which another machine may have brought to the tracking server alone."""
    path = run.checkpoint(study.folder.root)
    if path is None or path.is_file() or not run.checkpoints or not run.checkpoints[-1].delivered:
        return path
    try:
        bring(make_tracker(study.server), study.config.study, run.uid, run.checkpoints[-1].sha256, path)
    except (Refused, Unavailable) as problem:
        raise TrackingError(
            f"The checkpoint of trial {run.number} is on {without_secrets(study.server)} alone, and cannot be had from "
            f"there: {problem}."
        ) from None
    return path


def _repeated(
    trainer: Callable[[], Executor],
    study: StudyOnDisk,
    best: Sequence[TrialHistory],
    runs: dict[int, RunHistory],
    told: Callable[[str], None],
) -> list[Repeated]:
    """The candidates, trained again with other seeds; those that were so before are not another time."""
    config, kept = study.config, Kept(study.folder.root / "repetitions.json")
    objective, times = config.objective, config.promotion.seeds
    place = study.folder.root / "repetitions"
    specs = [
        TrialSpec(
            trial.number,
            1,
            runs[trial.number].config,
            str(study.data.folder),
            str(place),
            objective.metric,
            objective.sense,
        )
        for trial in best
    ]
    by_number = {spec.number: each for spec in specs if (each := kept.of(spec, times)) is not None}
    new = [spec for spec in specs if spec.number not in by_number]
    if new:
        hung = config.execution.hung_after_s
        try:
            found = repeat(trainer(), new, times, place, hung_after_s=hung, told=told)
        finally:
            shutil.rmtree(place, ignore_errors=True)  # all that counts is what came of them
        by_number |= {each.trial: each for each in found}
        whole = [spec for spec in new if not by_number[spec.number].failed]  # what failed may come off another time
        kept.keep(whole, times, [by_number[spec.number] for spec in whole])
    return [by_number[spec.number] for spec in specs]
