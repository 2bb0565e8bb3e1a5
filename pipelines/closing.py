"""The parent run of a sweep, from its beginning to its end: deliver, promote, report, close, sum up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.budgets import INTERRUPTED, Ending
from pipelines.config import SweepConfig
from pipelines.datasets.prepared import PreparedData
from pipelines.errors import HomeError, NothingToPromote, RegattaError
from pipelines.facts import StudyFacts
from pipelines.history import gather
from pipelines.home import StudyFolder
from pipelines.lineage import Lineage
from pipelines.params import telling_params
from pipelines.phases import Phases
from pipelines.pictures import sample_grid
from pipelines.promote import Promoted, best_trial
from pipelines.records import StudyHistory, TrialHistory
from pipelines.report import write_report
from pipelines.report.note import describe
from pipelines.search_space import NOT_VARIED
from pipelines.study import Counts, Study
from pipelines.sweep import Outcome
from pipelines.tracking.addresses import sweep_address
from pipelines.tracking.journal import Journal
from pipelines.tracking.run import Run
from pipelines.tracking.sender import Sender

if TYPE_CHECKING:
    from rich.console import Console

_STALLED_S = 60.0
"""How long the end of a sweep waits for a server that takes nothing; the journal keeps it all either way."""
_NEVER_REACHED_S = 30.0
"""The same for a server that was never there; the local one needs some seconds to start."""
_LAST_CALL_S = 15.0
"""And at least so long from the sweep's end on: a server that went away may be coming back this moment."""
_ABANDONED_S = 3.0
"""The same for a sweep that has broken off."""
_TAG_BYTES = 7900
"""MLflow cuts longer tags."""
SAMPLES = "samples.png"
LINEAGE = "lineage"

Promote = Callable[[TrialHistory, StudyFolder, str, str], Promoted]


@dataclass(frozen=True)
class Summary:
    """What a sweep came to.

    Attributes:
        ending: What ended the sweep.
        not_promoted: Why the best trial was not even judged, or None.
        problem: Why the record is not all in MLflow, or None.
        address: Of the sweep in MLflow's web page, or None where there is none.
    """

    history: StudyHistory
    server: str
    experiment_id: str | None
    parent_run_id: str | None
    counts: Counts
    best: TrialHistory | None
    promoted: Promoted | None
    not_promoted: str | None
    seconds: float
    written: int
    delivered: int
    problem: str | None
    ending: Ending
    address: str | None
    report: Path

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return self.ending.by == INTERRUPTED

    def to_json(self) -> dict[str, Any]:
        """The summary of `sweep --json`."""
        best, promoted, counts = self.best, self.promoted, self.counts
        return {
            "study": self.history.study,
            "experiment_id": self.experiment_id,
            "parent_run_id": self.parent_run_id,
            "trials": {"complete": counts.complete, "pruned": counts.pruned, "failed": counts.failed},
            "best": best
            and {
                "trial": best.number,
                "run_id": best.run_id,
                "epoch": best.best_epoch,
                "value": best.value,
                "params": dict(best.params),
                **({"values": dict(best.values)} if best.values else {}),
            },
            **({"front": list(self.history.front)} if self.history.front else {}),
            "registered": promoted and promoted.registered(),
            "seconds": round(self.seconds, 3),
            "journal": {"written": self.written, "delivered": self.delivered},
            "ended": {"by": self.ending.by, "text": self.ending.text},
            "problem": self.problem if self.delivered < self.written else None,
            "not_promoted": self.not_promoted,
            "address": self.address,
            "report": str(self.report),
        }


class Closing:
    """Begins the parent run, and brings a sweep to its end."""

    def __init__(
        self,
        config: SweepConfig,
        folder: StudyFolder,
        facts: StudyFacts,
        server: str,
        journal: Journal,
        sender: Sender,
        study: Study,
        console: Console,
        revive: Callable[[], object] = lambda: None,
    ) -> None:
        """Takes the open rooms of a sweep; `revive` starts a server of our own again, where it went away."""
        self._config, self._folder, self._facts, self._server = config, folder, facts, server
        self._journal, self._sender, self._study, self._console = journal, sender, study, console
        self._revive = revive
        self._starts = 1
        self._parent = Run(journal, facts.uid)

    def begin_parent(self, data: PreparedData, origin: Lineage) -> None:
        """Begins the parent run, or takes it up again, and keeps where it came from."""
        config = self._config
        recipe = json.dumps(config.model_dump(mode="json"))
        self._parent.begin(
            config.study,
            f"{config.study} sweep",
            tags={
                **run_tags(self._facts.uid),
                **origin.tags(),
                "regatta.kind": "sweep",
                **({"regatta.recipe": recipe} if len(recipe) <= _TAG_BYTES else {}),
            },
            params={
                "objective": ", ".join(each.metric for each in config.objectives),
                "direction": ", ".join(each.sense for each in config.objectives),
                "sampler": config.sampler.name,
                "pruner": config.pruner.name,
                **_shared(config),
            },
        )
        # one folder a start: a study may go on with other code
        self._starts = len(list((self._folder.root / LINEAGE).glob("*"))) + 1
        place = f"{LINEAGE}/{self._starts}"
        for written in origin.files(self._folder.root / place):
            self._parent.keep(written, place)
        path = self._folder.root / SAMPLES
        if not path.exists():  # a study that goes on has its picture
            train, _ = data.read()
            path.write_bytes(sample_grid(train.x, train.y, data.facts))
            self._parent.keep(path)

    def close(self, outcome: Outcome, begun: float, phases: Phases, promote: Promote | None) -> Summary:
        """Delivers, promotes where asked, writes the report, closes the parent run, delivers again."""
        with phases.of("delivery"):
            arrived = self._flush()
        if self._sender.started_over:
            self._console.print(
                f"The MLflow server at {self._server} had lost what it had: the whole journal was delivered again. "
                f"Models that were registered there come back with: regatta promote NAME",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )
        history = self._history(time.monotonic() - begun, None)
        best = best_trial(history.trials, history.direction, history.objectives, history.pick or "first")
        promoted, refused = None, None
        if promote is not None and best is not None and not outcome.interrupted:
            try:
                with phases.of("promotion"):
                    promoted = self._promote(promote, best, arrived=arrived)
            except RegattaError as error:
                refused = str(error)
        self._note_end(outcome, phases)
        history = self._history(time.monotonic() - begun, promoted)
        write_report(history, self._folder.report)
        status = "KILLED" if outcome.interrupted else "FINISHED" if best is not None else "FAILED"
        self._close_parent(history, best, promoted, status)
        if arrived:
            self._flush()
        return Summary(
            history=history,
            server=self._server,
            experiment_id=self._sender.experiment_id(self._config.study),
            parent_run_id=self._sender.run_id(self._facts.uid),
            counts=outcome.counts,
            best=best,
            promoted=promoted,
            not_promoted=refused,
            seconds=time.monotonic() - begun,
            written=self._journal.written,
            delivered=self._sender.delivered,
            problem=self._sender.problem or next(iter(self._sender.refused), None),
            ending=outcome.ending,
            address=history.links.get("MLflow"),
            report=self._folder.report,
        )

    def abandon(self) -> None:
        """Closes the parent run of a sweep that cannot go on; the next start takes it up again."""
        with suppress(HomeError):  # a full disk may be what stopped it
            self._parent.end("KILLED")
            self._sender.flush(self._journal.written, _ABANDONED_S)

    def _note_end(self, outcome: Outcome, phases: Phases) -> None:
        """Writes down what the report says about the sweep as a whole, so that it can be written again later."""
        self._parent.log(
            {"seconds": sum(phases.seconds.values())}
            | {f"system/seconds_{name}": spent for name, spent in phases.seconds.items()},
            step=self._starts - 1,  # a point for each start of the sweep
            tags={
                "regatta.ended": outcome.ending.text,
                "regatta.ended_by": outcome.ending.by,
                **({"regatta.front": json.dumps(self._study.front())} if len(self._config.objectives) > 1 else {}),
            },
        )

    def _promote(self, promote: Promote, best: TrialHistory, *, arrived: bool) -> Promoted:
        experiment_id = self._sender.experiment_id(self._config.study)
        if not arrived or experiment_id is None:
            raise NothingToPromote(
                f"not judged: the MLflow server at {self._server} has not taken the runs. When it is back: regatta "
                f"sync, then regatta promote {self._config.study}"
            )
        with self._console.status("judging the best trial on the sealed test part"):
            return promote(best, self._folder, self._server, experiment_id)

    def _history(self, seconds: float, promoted: Promoted | None) -> StudyHistory:
        experiment_id, parent = self._sender.experiment_id(self._config.study), self._sender.run_id(self._facts.uid)
        objective = self._config.objective
        links: dict[str, str] = {}
        if experiment_id and parent:
            address = sweep_address(self._server, experiment_id, parent, objective.metric, objective.sense)
            links = {"MLflow": address} if address else {}
        return gather(
            self._folder,
            self._config,
            self._sender.run_id,
            importances=self._study.importances(),
            champion=promoted.as_champion() if promoted else None,
            links=links,
            seconds=seconds,
        )

    def _flush(self) -> bool:
        """Waits for the journal to arrive, for as long as it moves; False where it does not."""
        sender, patience, before, told = self._sender, 0.0, -1, False
        last_call = time.monotonic() + _LAST_CALL_S
        while not sender.flush(self._journal.written, 0.5):
            if sender.delivered != before:
                before, patience = sender.delivered, time.monotonic() + _STALLED_S
            if sender.problem and not told:
                told = True
                with suppress(RegattaError):
                    self._revive()
                self._console.print(
                    f"Waiting for the MLflow server at {self._server}: {self._journal.written - before} entries to "
                    f"deliver. They are safe in the journal.",
                    style="yellow",
                    highlight=False,
                )
            now = time.monotonic()
            if now > patience or (now > last_call and sender.never_reached(_NEVER_REACHED_S)):
                return False
        return True

    def _close_parent(
        self, history: StudyHistory, best: TrialHistory | None, promoted: Promoted | None, status: str
    ) -> None:
        tags = {"mlflow.note.content": describe(history, best)}
        metrics: dict[str, float] = {}
        if best is not None and best.value is not None:
            metrics = {f"best.{history.metric}": best.value, "best.trial": float(best.number)}
        if promoted is not None:
            metrics |= promoted.scores.to_json()
            tags["regatta.decision"] = promoted.decision.reason
            tags["regatta.registered"] = promoted.version.version
        self._parent.log(metrics, tags=tags)
        self._parent.keep(self._folder.report)
        self._parent.end(status)


def _shared(config: SweepConfig) -> dict[str, str]:
    """What all trials have in common, as params: data set and metrics."""
    whole = config.training()
    return telling_params({key: whole[key] for key in NOT_VARIED}, config.said())


def run_tags(uid: str) -> dict[str, str]:
    """What every run of a sweep is tagged with, beside where it came from."""
    return {"regatta.study_uid": uid}
