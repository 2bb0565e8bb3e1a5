"""Promotes: judges the candidates, decides by the policy, packages, registers, moves the alias, and says why."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.checkpoints import sha256_of
from pipelines.datasets.prepared import PreparedData
from pipelines.errors import ConfigError, Mistake, NothingToPromote, TrackingError
from pipelines.packaging.scoring import Scores
from pipelines.promotion.examining import Examiner
from pipelines.promotion.judge import Judged, JudgeRequest
from pipelines.promotion.meeting import PackageRegistry, Rival, fetch_rival, rival_of
from pipelines.promotion.outcome import Candidate, Examined, Promoted
from pipelines.promotion.policy import Decision, challenging, forced
from pipelines.promotion.record import Record
from pipelines.promotion.reigns import (
    CHALLENGES,
    EVIDENCE_TAG,
    FORCED,
    PROMOTED,
    Reign,
    challenge,
    crown,
    last_champion,
    mend,
    moment_after,
    now,
)
from pipelines.promotion.seeds import Repeated
from pipelines.promotion.telling import Story
from pipelines.promotion.twins import are_twins
from pipelines.promotion.version_tags import DIGEST_TAG, description_of, description_of_all, tags_of
from pipelines.recipe.config import SweepConfig
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
        self._record = record
        self._task = config.goal(data.facts).task
        self._policy = config.promotion.model_copy(update={"metric": config.judged_by(self._task)})
        self._examiner = Examiner(config, data, judge, record, self._policy, user_folder=user_folder)

    def promote(
        self,
        candidates: Sequence[Candidate],
        *,
        experiment_id: str,
        force: bool = False,
        challenges: bool = False,
        repeated: Sequence[Repeated] = (),
    ) -> Promoted:
        """Judges, packages, registers, and moves the alias where a candidate keeps the policy.

        Args:
            candidates: At least one, the best by validation first.
            experiment_id: Where the package goes.
            force: Make the first of them the champion whatever the policy says.
            challenges: Make it the challenger instead, whether or not it is better than the champion.
            repeated: Their trainings with other seeds, for the record.

        Raises:
            ConfigError: There is no champion to challenge.
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
        if challenges and (rival.version is None or rival.gone):
            text = f"'{name}' has no champion to challenge; make one with: regatta promote {name}"
            raise ConfigError("promote", [Mistake("--as", text)])
        if rival.version is not None and rival.version.tags.get(DIGEST_TAG) == sha256_of(first.checkpoint):
            return self._already(rival, first.trial, model, challenges=challenges)
        self._record.begin(first.trial, rival.version)
        try:
            with tempfile.TemporaryDirectory(prefix="regatta-promote-") as scratch:
                theirs = Path(scratch) / "champion"
                rival = fetch_rival(self._registry, rival, theirs, self._task, self._data, force=force)
                examined = self._examiner.examine(candidates, rival, Path(scratch), any_code=force)
                chosen = self._examiner.chosen(examined)
                same = chosen.comparison is not None and chosen.comparison.same
                twin = same and rival.package is not None and are_twins(chosen.package, rival.package)
                if twin:
                    why = "it is the very model that is the champion"
                    version, decision = self._keep(rival, model, why, challenges=challenges)
                else:
                    decision = challenging(chosen.decision) if challenges else chosen.decision
                    decision = forced(decision) if force else decision
                    version = self._register(model, chosen, decision, experiment_id)
            moves = decision.promoted and not twin
            at = self._move(version, chosen, decision, rival) if moves else now()
        except BaseException as error:
            self._record.fail(error)
            raise
        self._record.conclude(self._story(examined, chosen, decision, version, rival, repeated, at, twin))
        return Promoted(
            decision,
            version,
            chosen.measured.scores,
            chosen.champion_scores,
            chosen.candidate.trial,
            self._policy.metric,
            comparison=chosen.comparison,
            evidence=None if twin else self._record.uid,  # the champion has its own
            evidence_run=version.tags.get(EVIDENCE_TAG),
            form=chosen.measured.form,
            met=rival.version.version if rival.version is not None else None,
        )

    def _already(self, rival: Rival, trial: TrialHistory, model: RegisteredModel, *, challenges: bool) -> Promoted:
        """Of whom nobody needs to judge anything."""
        champion, decision = self._keep(rival, model, "it is the champion already", challenges=challenges)
        known = {key: champion.tags.get(f"regatta.{key}", "nan") for key in SCORES[self._task]}
        scores = Scores({key: float(value) for key, value in known.items()})
        return Promoted(
            decision, champion, scores, scores, trial, self._policy.metric, evidence_run=champion.tags.get(EVIDENCE_TAG)
        )

    def _keep(self, rival: Rival, model: RegisteredModel, why: str, *, challenges: bool) -> tuple[Version, Decision]:
        """Leaves the champion in its place; one whose alias was taken away gets it back, and none challenges itself."""
        champion = rival.version
        assert champion is not None
        if challenges:
            return champion, Decision(False, f"{why}, and cannot be compared with itself", challenges=True)
        if rival.gone:
            why = (
                f"it is the last champion that is left, and has the alias '{CHAMPION}' back, which nobody had any more"
            )
            crown(self._registry, champion, Reign(moment_after(model), PROMOTED, champion.version, None, why))
        return champion, Decision(True, why)

    def _register(self, model: RegisteredModel, chosen: Examined, decision: Decision, experiment_id: str) -> Version:
        """The candidate's version: a new one, or that which an earlier, refused promotion made of its checkpoint."""
        tags = self._tags(chosen, decision)
        known = next((each for each in model.versions if each.tags.get(DIGEST_TAG) == chosen.digest), None)
        if known is not None:
            self._registry.tag(known, tags)
            version = replace(known, tags={**known.tags, **tags})
        else:
            version = self._registry.register(
                model.name,
                chosen.package,
                experiment_id=experiment_id,
                run_id=chosen.candidate.trial.run_id,
                tags=tags,
            )
        text = description_of(self._config, chosen, str(self._policy.metric))
        self._registry.describe(version, text, description_of_all(model.name))
        return version

    def _tags(self, chosen: Examined, decision: Decision) -> dict[str, str]:
        return tags_of(
            self._config,
            chosen,
            decision,
            metric=str(self._policy.metric),
            evidence=self._record.uid,
            evidence_run=self._record.run_id(),
        )

    def _move(self, version: Version, chosen: Examined, decision: Decision, rival: Rival) -> str:
        """Gives the candidate its place, and returns when."""
        comparison, metric = chosen.comparison, str(self._policy.metric)
        model = self._registry.model(version.name)
        reign = Reign(
            at=moment_after(model),
            action=CHALLENGES if decision.challenges else FORCED if decision.forced else PROMOTED,
            version=version.version,
            why=decision.reason,
            evidence=self._record.uid,
            score=(metric, chosen.measured.scores.values[metric]),
            gain=(comparison.gain, comparison.low, comparison.high) if comparison is not None else None,
        )
        if decision.challenges:
            challenge(self._registry, version, reign)
        else:
            self._crown(version, decision, rival, model, reign)
        return reign.at

    def _crown(self, version: Version, decision: Decision, rival: Rival, model: RegisteredModel, reign: Reign) -> None:
        """Moves the alias, unless somebody else has moved it while the candidate was judged against another champion.

        Raises:
            TrackingError: Somebody has; a candidate that is forced takes the place of whoever has it.
        """
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
        last = current or last_champion(model)
        before = last.version if last is not None and last.version != version.version else None
        crown(self._registry, version, replace(reign, before=before))

    def _story(
        self,
        examined: Sequence[Examined],
        chosen: Examined,
        decision: Decision,
        version: Version,
        rival: Rival,
        repeated: Sequence[Repeated],
        at: str,
        twin: bool,
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
            twin=twin,
        )
