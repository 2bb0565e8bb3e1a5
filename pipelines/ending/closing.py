"""The end of a sweep: deliver, promote, report, close, sum up. What can be done while the judge is at it, is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.controller.budgets import Meter
from pipelines.ending.arrival import Arrival
from pipelines.ending.parent import ParentRun
from pipelines.ending.upshot import Summary
from pipelines.errors import HomeError, NothingToPromote, PromotionRefused, RegattaError, TrackingError
from pipelines.facts import StudyFacts
from pipelines.history import gather
from pipelines.home import StudyFolder
from pipelines.phases import Phases
from pipelines.promote import candidates_of, note_evidence
from pipelines.promotion.outcome import Promoted
from pipelines.recipe.config import SweepConfig
from pipelines.records import StudyHistory, TrialHistory
from pipelines.report import Draft, write_report
from pipelines.study import Study
from pipelines.sweep import Outcome
from pipelines.telling import say
from pipelines.tracking.addresses import sweep_address
from pipelines.tracking.journal import Journal
from pipelines.tracking.sender import Sender

if TYPE_CHECKING:
    from rich.console import Console

_ABANDONED_S = 3.0
"""How long a sweep that has broken off waits for its journal to arrive."""
_DRAFT_WAITS_S = 1.0
"""How long the draft of the report waits for the names that the server has for the last runs."""

Promote = Callable[[Sequence[TrialHistory], str], Promoted]
"""Promotes one of some candidates, the best first; the text is the server's id of the study's experiment."""


class Closing:
    """Brings a sweep to its end."""

    def __init__(
        self,
        config: SweepConfig,
        folder: StudyFolder,
        facts: StudyFacts,
        server: str,
        journal: Journal,
        sender: Sender,
        study: Study,
        parent: ParentRun,
        console: Console,
        revive: Callable[[], object] = lambda: None,
    ) -> None:
        """Takes the open rooms of a sweep; `revive` starts a server of our own again, where it went away."""
        self._config, self._folder, self._facts, self._server = config, folder, facts, server
        self._journal, self._sender, self._study, self._console = journal, sender, study, console
        self._parent = parent
        self._arrival = Arrival(server, journal, sender, console, revive)
        self._history: StudyHistory | None = None
        self._draft: Draft | None = None

    def close(self, outcome: Outcome, meter: Meter, phases: Phases, promote: Promote | None) -> Summary:
        """Delivers, promotes where asked, writes the report, closes the parent run, delivers again."""
        history = self._history = self._gathered()
        candidates = candidates_of(history, self._config)
        best = candidates[0] if candidates else None
        promoted: Promoted | None = None
        refused: RegattaError | None = None
        with phases.of("delivery"):
            arrived = self._arrival.wait(enough=lambda: self._has_taken(candidates))
        if promote is not None and best is not None and not outcome.interrupted:
            promoted, refused = self._try_to_promote(promote, candidates, phases, arrived=arrived)
        if arrived:  # the rest, of which some has come while the judge was at it
            with phases.of("delivery"):
                arrived = self._arrival.wait()
            if promote is not None and best is not None and isinstance(refused, TrackingError):
                promoted, refused = self._try_to_promote(promote, candidates, phases, arrived=arrived)
        if arrived and promoted is not None:
            with suppress(TrackingError):  # which run has the evidence, its tags say as well
                promoted = note_evidence(promoted, self._server, self._sender.run_id, self._sender.experiment_id)
        if self._sender.started_over:
            say(
                self._console,
                f"The MLflow server at {self._server} had lost what it had: the whole journal was delivered again. "
                f"Models that were registered there come back with: regatta promote NAME",
                "yellow",
            )
        several = len(self._config.objectives) > 1
        spent = phases.with_earlier(history.phases)
        self._parent.note_end(outcome.ending, meter.seconds, spent, self._study.front() if several else None)
        history = replace(
            self._with_importances(self._up_to_date(history)),
            champion=promoted.as_champion() if promoted else None,
            seconds=meter.seconds,
            ended=outcome.ending.text,
            phases=spent,
        )
        best = best and self._with_run(best)
        write_report(history, self._folder.report, self._draft)
        self._parent.close(history, best, promoted, interrupted=outcome.interrupted)
        if arrived:
            self._arrival.wait()
        return Summary(
            history=history,
            server=self._server,
            experiment_id=self._sender.experiment_id(self._config.study),
            parent_run_id=self._sender.run_id(self._facts.uid),
            counts=outcome.counts,
            best=best,
            promoted=promoted,
            not_promoted=None if refused is None else str(refused),
            seconds=meter.start_seconds,
            study_seconds=meter.seconds,
            written=self._journal.written,
            delivered=self._sender.delivered,
            problem=self._sender.problem or next(iter(self._sender.refused), None),
            ending=outcome.ending,
            address=history.links.get("MLflow"),
            report=self._folder.report,
            refused=isinstance(refused, PromotionRefused),
        )

    def get_ready(self) -> None:
        """Does ahead what does not depend on the judge; called when the judge has been asked and is at it."""
        if self._history is not None and self._draft is None:
            self._sender.flush(self._journal.written, _DRAFT_WAITS_S)
            self._history = self._with_importances(self._up_to_date(self._history))
            self._draft = Draft(self._history)

    def abandon(self) -> None:
        """Closes the parent run of a sweep that cannot go on; the next start takes it up again."""
        with suppress(HomeError):  # a full disk may be what stopped it
            self._parent.abandon()
            self._sender.flush(self._journal.written, _ABANDONED_S)

    def _has_taken(self, candidates: Sequence[TrialHistory]) -> bool:
        """Whether the server has the runs of these trials, and answers."""
        there = bool(candidates) and all(self._with_run(trial).run_id is not None for trial in candidates)
        return there and self._sender.experiment_id(self._config.study) is not None and self._sender.problem is None

    def _with_run(self, trial: TrialHistory) -> TrialHistory:
        """The trial with the server's id of its run, which it may have got meanwhile."""
        run_id = self._sender.run_id(f"{self._facts.uid}-{trial.number:05d}")
        return trial if trial.run_id == run_id else replace(trial, run_id=run_id)

    def _try_to_promote(
        self, promote: Promote, candidates: Sequence[TrialHistory], phases: Phases, *, arrived: bool
    ) -> tuple[Promoted | None, RegattaError | None]:
        """What came of a promotion, or why there was none."""
        try:
            with phases.of("promotion"):
                return self._promote(promote, [*map(self._with_run, candidates)], arrived=arrived), None
        except RegattaError as error:
            return None, error

    def _promote(self, promote: Promote, candidates: Sequence[TrialHistory], *, arrived: bool) -> Promoted:
        experiment_id = self._sender.experiment_id(self._config.study)
        if not arrived or experiment_id is None:
            raise NothingToPromote(
                f"not judged: the MLflow server at {self._server} has not taken the runs. When it is back: regatta "
                f"sync, then regatta promote {self._config.study}"
            )
        with self._console.status("judging the best trial on the sealed test part"):
            return promote(candidates, experiment_id)

    def _gathered(self) -> StudyHistory:
        """What the journal tells of the trials; they are over."""
        return gather(
            self._folder, self._config, self._sender.run_id, importances={}, champion=None, links={}, seconds=None
        )

    def _up_to_date(self, history: StudyHistory) -> StudyHistory:
        """The same with what the server calls its runs by now."""
        experiment_id, parent = self._sender.experiment_id(self._config.study), self._sender.run_id(self._facts.uid)
        links: dict[str, str] = {}
        if experiment_id and parent:
            address = sweep_address(self._server, experiment_id, parent, history.direction)
            links = {"MLflow": address} if address else {}
        return replace(history, trials=tuple(map(self._with_run, history.trials)), links=links)

    def _with_importances(self, history: StudyHistory) -> StudyHistory:
        """The same with what matters; to find that out takes a second of imports, once."""
        known = self._history.importances if self._history is not None else {}
        return replace(history, importances=known or self._study.importances())
