"""What stays of a promotion: a run of its own in MLflow, with everything that it was decided by.

It is in an experiment of its own beside the study's, so that nothing that looks for trials, compares them or draws them
meets it. Like all that Regatta records it goes to the study's journal first, so a server that is away, or a controller
that dies, loses nothing; what is heavy to draw is drawn when the champion has its place already.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.errors import HomeError, PromotionRefused
from pipelines.pictures.judged import calibration_picture, confusion_picture, mistakes_picture
from pipelines.promotion.evidence import Evidence, gather_evidence
from pipelines.promotion.judge import Answers
from pipelines.promotion.page import page
from pipelines.promotion.telling import Story, as_json, metrics_of, mistakes_of, note_of, table_of
from pipelines.records import TrialHistory
from pipelines.tracking.entries import RUN_NAME
from pipelines.tracking.journal import Journal
from pipelines.tracking.models import Version
from pipelines.tracking.run import Run

KIND = "promotion"
_TAG_BYTES = 7900
_MOST_OUTPUT_BYTES = 8 << 20
"""What every model said of every sample is kept where it is not more than this."""


def experiment_of(study: str) -> str:
    """The name of the experiment in which a study's promotions are; no study can be called so."""
    return f"{study} promotions"


class Record:
    """The run of one promotion."""

    def __init__(
        self,
        journal: Journal,
        study: str,
        study_uid: str,
        run_id: Callable[[str], str | None] = lambda uid: None,
    ) -> None:
        """Takes the study's journal, its name and uid, and what tells the server's id of a run."""
        self.uid = f"{study_uid}-promotion-{secrets.token_hex(4)}"
        self.folder = journal.path.parent / "promotions" / self.uid.rpartition("-")[2]
        self._study, self._study_uid, self._run_id = study, study_uid, run_id
        self._run = Run(journal, self.uid)
        self._subject = study
        self._left_out: dict[int, str] = {}

    def run_id(self) -> str | None:
        """The server's id of the run, once it has one."""
        return self._run_id(self.uid)

    def begin(self, trial: TrialHistory, champion: Version | None) -> None:
        """A candidate is about to be judged."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._subject = f"{self._study}: trial {trial.number}"
        met = {"regatta.champion_version": champion.version} if champion is not None else {}
        self._run.begin(
            experiment_of(self._study),
            f"{self._subject} is judged",
            tags={
                "regatta.kind": KIND,
                "regatta.study": self._study,
                "regatta.study_uid": self._study_uid,
                "regatta.candidate": str(trial.number),
                **({"regatta.candidate_run": trial.run_id} if trial.run_id else {}),
                **met,
            },
            params={},
        )

    def leave_out(self, trial: TrialHistory, why: str) -> None:
        """A candidate that could not be judged; the others go on."""
        self._left_out[trial.number] = why

    def fail(self, error: BaseException) -> None:
        """Nothing was decided, or it could not be carried out."""
        refused = isinstance(error, PromotionRefused)
        reason = str(error) or type(error).__name__
        with suppress(HomeError):  # a full disk may be what is wrong
            tags = {"regatta.decision": reason[:_TAG_BYTES], "regatta.promoted": "false"}
            self._run.log(tags=tags | self._named("refused" if refused else "not decided"))
            self._run.end("FINISHED" if refused else "FAILED")
        self._forget_outputs(None)

    def conclude(self, story: Story) -> None:
        """Keeps the evidence: metrics, tables, pictures, and a page for people.

        The promotion is done by now, so nothing that goes wrong with a picture is worth an error: the run says so.
        """
        decision = story.decision
        tags = {
            "regatta.decision": decision.reason[:_TAG_BYTES],
            "regatta.promoted": str(decision.crowned).lower(),
            "regatta.forced": str(decision.forced).lower(),
            "regatta.rules": decision.rules_json()[:_TAG_BYTES],
            **story.measured.form.tags(),
            "regatta.model": story.study,
            "regatta.version": story.version,
            "mlflow.note.content": note_of(story),
            **self._named(story.verdict, story.trial),
        }
        metrics: dict[str, float] = {}
        try:
            metrics = self._keep_evidence(story)
        except HomeError:  # the journal cannot be written, which is everybody's trouble
            raise
        except Exception as error:
            tags["regatta.evidence_problem"] = f"{type(error).__name__}: {error}"[:_TAG_BYTES]
        self._run.log(metrics, tags=tags)
        self._run.end("FINISHED")

    def _named(self, verdict: str, trial: TrialHistory | None = None) -> dict[str, str]:
        """Tags that tell what came of it: one for programs, and the name by which people tell such runs apart."""
        subject = self._subject if trial is None else f"{self._study}: trial {trial.number}"
        return {"regatta.verdict": verdict, RUN_NAME: f"{subject} {verdict}"}

    def _keep_evidence(self, story: Story) -> dict[str, float]:
        """Keeps all files, and returns the metrics."""
        answers = Answers.read(str(story.outputs))
        evidence = gather_evidence(story.task, answers.truth, answers.mine, story.facts.labels)
        for name, content in self._files(story, answers, evidence).items():
            path = self.folder / name
            path.write_bytes(content)
            self._run.keep(path)
        kept = story.outputs if story.outputs.stat().st_size <= _MOST_OUTPUT_BYTES else None
        if kept is not None:
            self._run.keep(kept)
        self._forget_outputs(kept)
        return metrics_of(story, evidence)

    def _forget_outputs(self, kept: Path | None) -> None:
        """Removes what models said of the samples, but for what goes into the record."""
        for path in self.folder.glob("outputs-*.npz"):
            if path != kept:
                path.unlink(missing_ok=True)

    def _files(self, story: Story, answers: Answers, evidence: Evidence) -> dict[str, bytes]:
        """The artifacts, by name."""
        facts, pictures = story.facts, {}
        if evidence.classes:
            pictures["confusion_matrix.png"] = confusion_picture(evidence.confusion, facts.labels)
        calibration = evidence.calibration
        pictures["calibration.png"] = calibration_picture(
            [(each.said, each.found, each.samples) for each in calibration.bins],
            of=calibration.of,
            error=calibration.ece,
            unit=facts.target,
        )
        rows = mistakes_of(story, answers)
        if facts.kind == "image" and rows:
            pictures["worst_mistakes.png"] = mistakes_picture(
                answers.samples, [(row["truth"], row["answer"], row["sure"]) for row in rows], facts
            )
        told: dict[str, Any] = {
            "study": story.study,
            "trial": story.trial.number,
            "version": story.version,
            "champion": story.champion,
            "promoted": story.decision.crowned,
            "outcome": story.outcome,
            "at": story.at,
            "forced": story.decision.forced,
            "reason": story.decision.reason,
            "policy": story.policy.model_dump(mode="json"),
            "rules": [ruling.to_json() for ruling in story.decision.rulings],
            "measured": {
                **story.measured.scores.to_json(),
                "bytes": story.measured.bytes,
                "latency_ms": story.measured.latency_ms,
                "parity": story.measured.parity,
            },
            "champion_scores": story.champion_scores.to_json() if story.champion_scores else None,
            "comparison": story.comparison.to_json() if story.comparison else None,
            "other_candidates": {str(number): dict(each) for number, each in story.others.items()},
            "left_out": {str(number): why for number, why in self._left_out.items()},
            "repetitions": [each.to_json() for each in story.repeated],
            "evidence": evidence.to_json(),
            "worst_mistakes": rows,
        }
        files = {"evidence.json": as_json(told), **pictures}
        if story.comparison is not None:
            files["comparison.json"] = as_json(story.comparison.to_json())
        if evidence.classes:
            files["per_class.json"] = as_json(table_of([vars(each) for each in evidence.classes]))
        files["report.html"] = page(told, pictures).encode()
        return files
