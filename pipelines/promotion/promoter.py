"""Promotes: judges the candidates, decides by the policy, packages, registers, moves the alias, and says why."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.checkpoints import sha256_of
from pipelines.config import SweepConfig
from pipelines.datasets.prepared import PreparedData
from pipelines.errors import NothingToPromote, PromotionRefused, TrackingError
from pipelines.package import Scores
from pipelines.promotion.comparison import Comparison, compare
from pipelines.promotion.judge import Answers, Judged, JudgeRequest
from pipelines.promotion.meeting import PackageRegistry, Rival, fetch_rival, rival_of
from pipelines.promotion.outcome import Candidate, Examined, Promoted
from pipelines.promotion.policy import Decision, decide, forced
from pipelines.promotion.record import Record
from pipelines.promotion.reigns import (
    EVIDENCE_TAG,
    FORCED,
    PROMOTED,
    Reign,
    crown,
    last_champion,
    mend,
    moment_after,
    now,
)
from pipelines.promotion.seeds import Repeated
from pipelines.promotion.telling import Story
from pipelines.promotion.version_tags import DIGEST_TAG, source_of, tags_of
from pipelines.records import TrialHistory
from pipelines.tasks import SCORES
from pipelines.tracking.models import CHAMPION, RegisteredModel, Version


class Promoter:
    """Promotes the best of one study's trials."""

    def __init__(
        self,
        config: SweepConfig,
        data: PreparedData,
        registry: PackageRegistry,
        judge: Callable[[JudgeRequest], Judged],
        record: Record,
        *,
        user_folder: Path | None,
    ) -> None:
        """Takes the recipe, the trials' data, the registry, who judges, the record, and the user's folder of data."""
        self._config = config
        self._data = data
        self._registry = registry
        self._judge = judge
        self._record = record
        self._user_folder = user_folder
        self._task = config.goal(data.facts).task
        self._policy = config.promotion.model_copy(update={"metric": config.judged_by(self._task)})

    def promote(
        self,
        candidates: Sequence[Candidate],
        *,
        experiment_id: str,
        force: bool = False,
        repeated: Sequence[Repeated] = (),
    ) -> Promoted:
        """Judges, packages, registers, and moves the alias where a candidate keeps the policy.

        Args:
            candidates: At least one, the best by validation first.
            experiment_id: Where the package goes.
            force: Make the first of them the champion whatever the policy says.
            repeated: Their trainings with other seeds, for the record.

        Raises:
            NothingToPromote: The first candidate's checkpoint is gone or cannot be judged.
            PromotionRefused: What would be served of it is not what was trained.
            TrackingError: The server cannot or will not take the model, or its champion is damaged.
        """
        name, first = self._config.study, candidates[0]
        if not first.checkpoint.is_file():
            raise NothingToPromote(
                f"The checkpoint of trial {first.trial.number} is gone: {first.checkpoint} is not there. Bring it "
                f"back, or run the sweep again with --fresh."
            )
        model = mend(self._registry, self._registry.model(name))
        rival = rival_of(model)
        if rival.version is not None and rival.version.tags.get(DIGEST_TAG) == sha256_of(first.checkpoint):
            return self._already(rival, first.trial, model)
        self._record.begin(first.trial, rival.version)
        try:
            with tempfile.TemporaryDirectory(prefix="regatta-promote-") as scratch:
                theirs = Path(scratch) / "champion"
                rival = fetch_rival(self._registry, rival, theirs, self._task, self._data, force=force)
                examined = self._examine(candidates, rival, Path(scratch))
                chosen = self._chosen(examined)
                decision = forced(chosen.decision) if force else chosen.decision
                tags = self._tags(chosen, decision)
                version = next(
                    (each for each in model.versions if each.tags.get(DIGEST_TAG) == chosen.digest), None
                )  # that an earlier, refused promotion registered for this very checkpoint
                if version is None:
                    version = self._registry.register(
                        name,
                        chosen.package,
                        experiment_id=experiment_id,
                        run_id=chosen.candidate.trial.run_id,
                        tags=tags,
                    )
                else:
                    self._registry.tag(version, tags)
            at = self._crown(version, chosen, decision, rival) if decision.promoted else now()
        except BaseException as error:
            self._record.fail(error)
            raise
        self._record.conclude(self._story(examined, chosen, decision, version, rival, repeated, at))
        return Promoted(
            decision,
            version,
            chosen.measured.scores,
            chosen.champion_scores,
            chosen.candidate.trial,
            self._policy.metric,
            comparison=chosen.comparison,
            evidence=self._record.uid,
            evidence_run=tags.get(EVIDENCE_TAG),
            form=chosen.measured.form,
            met=rival.version.version if rival.version is not None else None,
        )

    def _already(self, rival: Rival, trial: TrialHistory, model: RegisteredModel) -> Promoted:
        """Whom nobody needs to judge; one whose alias was taken away gets it back."""
        champion, why = rival.version, "it is the champion already"
        assert champion is not None
        if rival.gone:
            why = f"it was the champion until somebody took its alias '{CHAMPION}' away, and has it back"
            crown(self._registry, champion, Reign(moment_after(model), PROMOTED, champion.version, None, why))
        decision = Decision(True, why)
        known = {key: champion.tags.get(f"regatta.{key}", "nan") for key in SCORES[self._task]}
        scores = Scores({key: float(value) for key, value in known.items()})
        return Promoted(
            decision, champion, scores, scores, trial, self._policy.metric, evidence_run=champion.tags.get(EVIDENCE_TAG)
        )

    def _chosen(self, examined: Sequence[Examined]) -> Examined:
        """Who meets the champion: the best by validation, or where any may, the first that passes."""
        passing = (each for each in examined if each.decision.promoted)
        return next(passing, examined[0]) if self._policy.against == "any" else examined[0]

    def _examine(self, candidates: Sequence[Candidate], rival: Rival, scratch: Path) -> list[Examined]:
        """Has each candidate judged, once. Only the first one's trouble is everybody's."""
        examined: list[Examined] = []
        for candidate in candidates:
            try:
                examined.append(self._examine_one(candidate, rival, scratch))
            except (NothingToPromote, PromotionRefused) as trouble:
                if candidate is candidates[0]:
                    raise
                self._record.leave_out(candidate.trial, str(trouble))
            if self._policy.against == "any" and examined and examined[-1].decision.promoted:
                break  # the others stay sealed
        return examined

    def _examine_one(self, candidate: Candidate, rival: Rival, scratch: Path) -> Examined:
        trial = candidate.trial
        if not candidate.checkpoint.is_file():
            raise NothingToPromote(f"the checkpoint of trial {trial.number} is not kept any more")
        digest = sha256_of(candidate.checkpoint)
        package = scratch / f"trial-{trial.number}"
        outputs = self._record.folder / f"outputs-{trial.number:05d}.npz"
        judged = self._judge(
            JudgeRequest(
                name=self._config.study,
                config=self._config.training(),
                checkpoint=str(candidate.checkpoint),
                data=str(self._data.folder),
                user_folder=str(self._user_folder) if self._user_folder else None,
                champion=str(rival.package) if rival.package is not None else None,
                source=source_of(self._config, trial, digest),
                package=str(package),
                outputs=str(outputs),
                parity=self._policy.parity,
            )
        )
        measured = judged.measured
        assert measured is not None
        comparison = self._compare(outputs) if rival.package is not None else None
        decision = decide(measured, comparison, self._policy, rival=rival.called, obstacle=rival.obstacle)
        vacant = rival.gone or rival.version is None
        decision = replace(decision, reason="; ".join([decision.reason, *rival.caveats(self._data)]), vacant=vacant)
        return Examined(candidate, digest, package, outputs, measured, judged.champion_scores, comparison, decision)

    def _compare(self, outputs: Path) -> Comparison:
        answers = Answers.read(str(outputs))
        assert answers.theirs is not None
        return compare(
            self._task,
            str(self._policy.metric),
            answers.truth,
            answers.mine,
            answers.theirs,
            confidence=self._policy.level,
            labels=self._data.facts.labels,
            seed=self._config.seed,
        )

    def _tags(self, chosen: Examined, decision: Decision) -> dict[str, str]:
        return tags_of(
            self._config,
            chosen,
            decision,
            metric=str(self._policy.metric),
            evidence=self._record.uid,
            evidence_run=self._record.run_id(),
        )

    def _crown(self, version: Version, chosen: Examined, decision: Decision, rival: Rival) -> str:
        """Moves the alias, unless somebody else has moved it while the candidate was judged against another champion.

        Returns when.

        Raises:
            TrackingError: Somebody has; a candidate that is forced takes the place of whoever has it.
        """
        model = self._registry.model(version.name)
        current = model.with_alias(CHAMPION)
        had_alias = None if rival.gone else rival.version
        met, found = (each.version if each is not None else None for each in (had_alias, current))
        if met != found and not decision.forced:
            why = (
                f"the champion of '{version.name}' was changed while the candidate was judged: it met "
                f"{'nobody' if met is None else f'version {met}'}, and by now it is "
                f"{'nobody' if found is None else f'version {found}'}"
            )
            self._registry.tag(version, {"regatta.promoted": "false", "regatta.decision": why})
            raise TrackingError(f"{why[:1].upper()}{why[1:]}. Judge again with: regatta promote {version.name}")
        comparison, metric = chosen.comparison, str(self._policy.metric)
        last = current or last_champion(model)
        reign = Reign(
            at=moment_after(model),
            action=FORCED if decision.forced else PROMOTED,
            version=version.version,
            before=last.version if last is not None and last.version != version.version else None,
            why=decision.reason,
            evidence=self._record.uid,
            score=(metric, chosen.measured.scores.values[metric]),
            gain=(comparison.gain, comparison.low, comparison.high) if comparison is not None else None,
        )
        crown(self._registry, version, reign)
        return reign.at

    def _story(
        self,
        examined: Sequence[Examined],
        chosen: Examined,
        decision: Decision,
        version: Version,
        rival: Rival,
        repeated: Sequence[Repeated],
        at: str,
    ) -> Story:
        """All of it, for the record."""
        return Story(
            study=self._config.study,
            task=self._task,
            facts=self._data.facts,
            policy=self._policy,
            trial=chosen.candidate.trial,
            version=version.version,
            champion=rival.version.version if rival.version is not None else None,
            decision=decision,
            measured=chosen.measured,
            champion_scores=chosen.champion_scores,
            comparison=chosen.comparison,
            outputs=chosen.outputs,
            others={
                each.candidate.trial.number: {
                    **each.measured.scores.to_json(),
                    "value": each.candidate.trial.value,
                    "decision": each.decision.reason if each.comparison is not None else "it met nobody",
                }
                for each in examined
                if each is not chosen
            },
            at=at,
            repeated=tuple(repeated),
        )
