"""Where the trials of a sweep come from: those to be tried again, those an earlier controller left, and new ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.controller.crew import UnderWay
from pipelines.controller.failures import Setbacks
from pipelines.history import RunHistory, device_seconds
from pipelines.home import StudyFolder
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.trial_configs import TrialConfigs
from pipelines.records import TrialSpec
from pipelines.study import AskedTrial, Study
from pipelines.tracking.journal import Journal
from pipelines.tracking.run import Run
from pipelines.trial import TrialLife, Wanted


class Intake:
    """Makes attempts that are ready to be handed out."""

    def __init__(
        self,
        config: SweepConfig,
        *,
        study: Study,
        data: Path,
        journal: Journal,
        folder: StudyFolder,
        uid: str,
        tags: Mapping[str, str],
        earlier: Mapping[str, RunHistory],
    ) -> None:
        """Takes what a trial is made of; see `pipelines.sweep.Sweep`."""
        self._config = config
        self._configs = TrialConfigs(config)
        self._wanted = Wanted(tuple(each.metric for each in config.objectives), config.violations)
        self._study = study
        self._data = data
        self._journal = journal
        self._folder = folder
        self._uid = uid
        self._tags = tags
        self._earlier = earlier
        self._unfinished = deque(study.unfinished())
        self.again: deque[UnderWay] = deque()
        """Trials that are to be tried again, in the order in which they met with trouble."""

    @property
    def has_more(self) -> bool:
        """Whether there are trials beside those that are to be tried again."""
        return bool(self._unfinished) or self._study.left() != 0

    def next_again(self, *, nobody_at_work: bool) -> UnderWay | None:
        """The next trial that is to be tried again and may begin now; one that must be alone waits for all others."""
        ready = next((trial for trial in self.again if not trial.alone), None)
        if ready is None and self.again and nobody_at_work:
            ready = self.again[0]
        if ready is not None:
            self.again.remove(ready)
            life = ready.life
            spec = self._spec(ready.number, life.spec.attempt + 1, life.spec.config, alone=ready.alone)
            life.retry(spec, ready.trouble)
            self._study.note_attempt(ready.number, life.spec.attempt)
        return ready

    def next(self) -> UnderWay:
        """A trial that an earlier controller left unfinished, or a new one.

        Its `trouble` is told where what was sampled makes no valid config: then it cannot be handed out.
        """
        if self._unfinished:
            number, attempt = self._unfinished.popleft()
            return self._begin(self._study.ask_again(number), attempt + 1)
        return self._begin(self._study.ask(), attempt=1)

    def _begin(self, asked: AskedTrial, attempt: int) -> UnderWay:
        number = asked.number
        uid = f"{self._uid}-{number:05d}"
        earlier = self._earlier.get(uid)
        made = self._configs.make(number, asked.optuna_trial)
        life = TrialLife(
            self._spec(number, attempt, made.config),
            asked.params,
            Run(self._journal, uid),
            self._study,
            earlier.points() if earlier else None,
            wanted=self._wanted,
            seconds=device_seconds(earlier) if earlier else 0.0,
        )
        life.begin(self._config.study, self._uid, self._tags, made.params)
        if not made.problem:
            self._study.note_attempt(number, attempt)
        return UnderWay(life, asked, Setbacks(self._config.execution.retries), trouble=made.problem or "")

    def _spec(self, number: int, attempt: int, config: Mapping[str, Any], *, alone: bool = False) -> TrialSpec:
        objective, folder = self._config.objective, self._folder
        return TrialSpec(
            number,
            attempt,
            config,
            str(self._data),
            str(folder.trial(number, attempt)),
            objective.metric,
            objective.sense,
            str(folder.states(number)),
            alone,
        )
