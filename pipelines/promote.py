"""Judges the best trial on the sealed test part, and moves the champion's alias when the policy holds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.checkpoints import sha256_of
from pipelines.config import Promotion, SweepConfig
from pipelines.datasets.prepared import PreparedData
from pipelines.errors import NothingToPromote, TrackingError
from pipelines.executors.base import Executor, Loss
from pipelines.facts import StudyFacts
from pipelines.front import best_trial as best_trial
from pipelines.history import read_runs
from pipelines.home import StudyFolder
from pipelines.judging import Judged, JudgeRequest
from pipelines.metrics import direction_of
from pipelines.package import Scores, damage, read_contract
from pipelines.records import TrialHistory
from pipelines.tasks import SCORES
from pipelines.tracking.journal import read_all
from pipelines.tracking.models import CHAMPION, ModelRegistry, Version

JUDGED_BY = "regatta.judged_by"
_DIGEST_TAG = "regatta.checkpoint_sha256"


@dataclass(frozen=True)
class Candidate:
    """The best epoch of a trial, with its checkpoint on this disk."""

    trial: TrialHistory
    checkpoint: Path


@dataclass(frozen=True)
class Decision:
    """Whether the candidate becomes the champion, and why."""

    promoted: bool
    reason: str


@dataclass(frozen=True)
class Promoted:
    """What came of a promotion: the registered version, whether or not the alias moved to it.

    Attributes:
        metric: What the two were compared by; None for the score that people look at first.
    """

    decision: Decision
    version: Version
    scores: Scores
    champion_scores: Scores | None
    trial: TrialHistory
    metric: str | None = None

    @property
    def alias(self) -> str | None:
        """The alias that the version has now."""
        return CHAMPION if self.decision.promoted else None

    def registered(self) -> dict[str, str | None]:
        """Name, version and alias, for the JSON summary."""
        return {"name": self.version.name, "version": self.version.version, "alias": self.alias}

    def sentence(self) -> str:
        """For a person."""
        word = "is the champion" if self.decision.promoted else "is registered, the champion stays"
        return (
            f"{self.version.name} version {self.version.version} {word}: {_in_words(self.scores, self.metric)} "
            f"({self.decision.reason})"
        )

    def as_champion(self) -> dict[str, Any] | None:
        """What a report says of the champion; None where this is not it."""
        return {**self.registered(), **self.scores.to_json()} if self.alias else None


def choose(candidate: Scores, champion: Scores | None, policy: Promotion) -> Decision:
    """Whether a candidate takes the champion's place, both judged on the same samples."""
    metric = policy.metric or candidate.headline
    mine = candidate.values[metric]
    if champion is None:
        return Decision(True, f"the first champion, with {metric} {mine:.4f}")
    theirs = champion.values[metric]
    gain = theirs - mine if direction_of(metric) == "minimize" else mine - theirs
    compared = f"{metric} {mine:.4f} against the champion's {theirs:.4f}"
    if gain > policy.min_gain:
        return Decision(True, f"{compared}: better by {gain:.4f}")
    wanted = f"more than {policy.min_gain:g}" if policy.min_gain else "any gain at all"
    return Decision(False, f"{compared}: a gain of {gain:.4f}, where the policy asks for {wanted}")


class Judge:
    """The judge's process, as the promoter sees it: one question, one answer."""

    def __init__(self, executor: Executor) -> None:
        """Takes an executor with one worker, a `JudgeWorker`."""
        self._executor = executor
        self._idle = False
        self._begun = False
        self._asked = False
        self._losses = 0
        self._answers: list[Judged] = []

    def warm_up(self) -> None:
        """Starts the process, so that it is ready when it is asked. Calling it again is fine."""
        if not self._begun:
            self._begun = True
            self._executor.start(self)

    def ask(self, request: JudgeRequest) -> Judged:
        """Has one candidate judged.

        Raises:
            NothingToPromote: The candidate cannot be judged; the message says why.
        """
        self.warm_up()
        self._asked, self._losses = False, 0
        self._answers.clear()
        while not self._answers:
            self._executor.wait(0.2)
            if self._idle and not self._asked:
                self._asked, self._idle = True, False
                self._executor.assign(0, request)
        answer = self._answers[0]
        if answer.error is not None:
            raise NothingToPromote(answer.error)
        return answer

    def on_idle(self, worker: int) -> None:
        """The judge is warm."""
        self._idle = True

    def on_message(self, worker: int, message: Judged) -> None:
        """The judge's answer."""
        self._answers.append(message)

    def on_lost(self, worker: int, loss: Loss) -> None:
        """The judge died, and another is on its way: it is asked again, but not a third time over one candidate."""
        self._idle = False
        self._losses += self._asked
        self._asked = False
        if self._losses > 1:
            self._answers.append(Judged(error=f"The process that judges the candidate was lost: {loss.reason}."))


class Promoter:
    """Promotes the best trial of one study."""

    def __init__(
        self,
        config: SweepConfig,
        data: PreparedData,
        registry: ModelRegistry,
        judge: Callable[[JudgeRequest], Judged],
        *,
        user_folder: Path | None,
    ) -> None:
        """Takes the recipe, the data that the trials had, the registry, who judges, and the user's folder of data."""
        self._config = config
        self._data = data
        self._registry = registry
        self._judge = judge
        self._user_folder = user_folder
        self._task = config.goal(data.facts).task
        self._policy = config.promotion.model_copy(update={"metric": config.judged_by(self._task)})

    def promote(self, candidate: Candidate, *, experiment_id: str) -> Promoted:
        """Judges, packages, registers, and moves the alias where the candidate is better.

        Raises:
            NothingToPromote: The candidate's checkpoint is gone or cannot be judged.
            TrackingError: The server cannot or will not take the model, or its champion is damaged.
        """
        name, trial = self._config.study, candidate.trial
        if not candidate.checkpoint.is_file():
            raise NothingToPromote(
                f"The checkpoint of trial {trial.number} is gone: {candidate.checkpoint} is not there. Bring it back, "
                f"or run the sweep again with --fresh."
            )
        digest = sha256_of(candidate.checkpoint)
        champion = self._registry.champion(name)
        if champion is not None and champion.tags.get(_DIGEST_TAG) == digest:
            decision = Decision(True, "it is the champion already")
            scores = Scores({key: float(champion.tags[f"regatta.{key}"]) for key in SCORES[self._task]})
            return Promoted(decision, champion, scores, scores, trial, self._policy.metric)
        source = self._source(candidate, digest)
        with tempfile.TemporaryDirectory(prefix="regatta-promote-") as scratch:
            package = Path(scratch) / "package"
            theirs = self._fetch(champion, Path(scratch) / "champion") if champion is not None else None
            judged = self._judge(
                JudgeRequest(
                    name=name,
                    config=self._config.training(),
                    checkpoint=str(candidate.checkpoint),
                    data=str(self._data.folder),
                    user_folder=str(self._user_folder) if self._user_folder else None,
                    champion=str(theirs) if theirs is not None else None,
                    source=source,
                    package=str(package),
                )
            )
            assert judged.scores is not None
            decision = choose(judged.scores, judged.champion_scores, self._policy)
            tags = {**_tags(source, judged.scores, decision), JUDGED_BY: str(self._policy.metric)}
            version = self._registered(digest)
            if version is None:
                version = self._registry.register(
                    name, package, experiment_id=experiment_id, run_id=trial.run_id, tags=tags
                )
            else:
                self._registry.tag(version, {"regatta.decision": decision.reason})
        if decision.promoted:
            self._registry.crown(version, champion, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        return Promoted(decision, version, judged.scores, judged.champion_scores, trial, self._policy.metric)

    def _registered(self, digest: str) -> Version | None:
        """The version that an earlier, refused promotion registered for this very checkpoint."""
        versions = self._registry.versions(self._config.study)
        return next((version for version in versions if version.tags.get(_DIGEST_TAG) == digest), None)

    def _fetch(self, champion: Version, scratch: Path) -> Path:
        """Brings the champion's package here and makes sure that it can be compared with."""
        scratch.mkdir()
        folder = self._registry.download(champion, scratch)
        wrong = damage(folder)
        if wrong is not None:
            raise TrackingError(
                f"The champion, version {champion.version} of '{champion.name}', is damaged: {wrong}. It cannot be "
                f"compared with; take its alias '{CHAMPION}' away in MLflow to start over."
            )
        contract, facts = read_contract(folder), self._data.facts
        for what, found, expected in (
            ("learned the task", contract["task"], str(self._task)),
            ("takes inputs of shape", contract["input"]["shape"], [None, *facts.shape]),
            ("tells the classes", contract["labels"], list(facts.labels)),
        ):
            if found != expected:
                raise TrackingError(
                    f"The champion of '{champion.name}' {what} {found}, this study's data asks for {expected}: they "
                    f"cannot be compared. Give the study another name."
                )
        return folder

    def _source(self, candidate: Candidate, digest: str) -> dict[str, Any]:
        trial = candidate.trial
        return {
            "study": self._config.study,
            "trial": trial.number,
            "attempt": trial.attempt,
            "epoch": trial.best_epoch,
            "run_id": trial.run_id,
            "checkpoint_sha256": digest,
            "objective": self._config.objective.metric,
            "value": trial.value,
        }


def promote_with(
    judge: Judge,
    config: SweepConfig,
    facts: StudyFacts,
    data: PreparedData,
    user_folder: Path | None,
    best: TrialHistory,
    folder: StudyFolder,
    server: str,
    experiment_id: str,
) -> Promoted:
    """Promotes a trial of a study whose files are on this disk; see `Promoter`."""
    run = read_runs(read_all(folder.journal))[f"{facts.uid}-{best.number:05d}"]
    checkpoint = run.checkpoint(folder.root)
    if checkpoint is None:
        raise NothingToPromote(f"Trial {best.number} has no checkpoint in the journal {folder.journal}.")
    promoter = Promoter(config, data, ModelRegistry(server), judge.ask, user_folder=user_folder)
    return promoter.promote(Candidate(best, checkpoint), experiment_id=experiment_id)


def _tags(source: Mapping[str, Any], scores: Scores, decision: Decision) -> dict[str, str]:
    """What the registered version says about itself."""
    return {
        **{f"regatta.{key}": str(value) for key, value in source.items()},
        **{f"regatta.{key}": repr(value) for key, value in scores.to_json().items()},
        "regatta.decision": decision.reason,
    }


def _in_words(scores: Scores, metric: str | None) -> str:
    """A score as people say it: `test accuracy 0.9778`."""
    name = metric or scores.headline
    return f"{name.replace('_', ' ')} {scores.values[name]:.4f}"
