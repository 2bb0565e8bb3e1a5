"""Has candidates judged, and asks the rules about each; what becomes of them is the promoter's business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.checkpoints import sha256_of
from pipelines.datasets.prepared import PreparedData
from pipelines.errors import NothingToPromote, PromotionRefused
from pipelines.own.digest import named_modules
from pipelines.promotion.comparison import Comparison, compare
from pipelines.promotion.judge import Answers, Judged, JudgeRequest
from pipelines.promotion.meeting import Rival
from pipelines.promotion.outcome import Candidate, Examined
from pipelines.promotion.policy import decide
from pipelines.promotion.record import Record
from pipelines.promotion.version_tags import source_of
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.promotion_rules import Promotion


class Examiner:
    """Examines the candidates of one promotion."""

    def __init__(
        self,
        config: SweepConfig,
        data: PreparedData,
        judge: Callable[[JudgeRequest], Judged],
        record: Record,
        policy: Promotion,
        *,
        user_folder: Path | None,
    ) -> None:
        """Takes the recipe, the trials' data, who judges, the record, the rules, and the user's folder of data."""
        self._config = config
        self._data = data
        self._judge = judge
        self._record = record
        self._policy = policy
        self._user_folder = user_folder
        self._task = config.goal(data.facts).task

    def chosen(self, examined: Sequence[Examined]) -> Examined:
        """Who meets the champion: the best by validation, or where any may, the first that passes."""
        passing = (each for each in examined if each.decision.promoted)
        return next(passing, examined[0]) if self._policy.against == "any" else examined[0]

    def examine(
        self, candidates: Sequence[Candidate], rival: Rival, scratch: Path, *, any_code: bool = False
    ) -> list[Examined]:
        """Has each candidate judged, once, with its code or `any_code`. Only the first one's trouble is everybody's."""
        examined: list[Examined] = []
        for candidate in candidates:
            try:
                examined.append(self._examine_one(candidate, rival, scratch, any_code))
            except (NothingToPromote, PromotionRefused) as trouble:
                if candidate is candidates[0]:
                    raise
                self._record.leave_out(candidate.trial, str(trouble))
            if self._policy.against == "any" and examined and examined[-1].decision.promoted:
                break  # the others stay sealed
        return examined

    def _examine_one(self, candidate: Candidate, rival: Rival, scratch: Path, any_code: bool) -> Examined:
        trial = candidate.trial
        if not candidate.checkpoint.is_file():
            raise NothingToPromote(f"the checkpoint of trial {trial.number} is not kept any more")
        digest = sha256_of(candidate.checkpoint)
        package = scratch / f"trial-{trial.number}"
        outputs = self._record.folder / f"outputs-{trial.number:05d}.npz"
        judged = self._judge(
            JudgeRequest(
                name=self._config.study,
                config=candidate.config,
                checkpoint=str(candidate.checkpoint),
                data=str(self._data.folder),
                user_folder=str(self._user_folder) if self._user_folder else None,
                champion=str(rival.package) if rival.package is not None else None,
                source=source_of(self._config, trial, digest),
                package=str(package),
                outputs=str(outputs),
                parity=self._policy.parity,
                code=candidate.code,
                any_code=any_code,
            )
        )
        measured = judged.measured
        assert measured is not None
        comparison = self._compare(outputs) if rival.package is not None else None
        decision = decide(measured, comparison, self._policy, rival=rival.called, obstacle=rival.obstacle)
        vacant = rival.gone or rival.version is None
        caveats = rival.caveats(self._data)
        if judged.changed:
            caveats = [
                *caveats,
                f"its layers' code is not what it trained with ({named_modules(list(judged.changed))})",
            ]
        decision = replace(decision, reason="; ".join([decision.reason, *caveats]), vacant=vacant)
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
