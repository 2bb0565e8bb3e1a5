"""Draws the curves of trials that are over, which takes less than a millisecond: the controller does it itself."""

from __future__ import annotations

from pathlib import Path

from pipelines.history import RunHistory
from pipelines.home import StudyFolder
from pipelines.pictures import loss_curve
from pipelines.tracking.journal import Journal
from pipelines.tracking.run import Run
from pipelines.trial import PICTURE, Curves, keep_picture


class Painter:
    """Adds pictures to runs, also to those that are closed already."""

    def __init__(self, study: str) -> None:
        """Takes the study's name, which the pictures bear."""
        self._study = study

    def draw(self, run: Run, folder: Path, number: int, curves: Curves, best_epoch: int | None) -> None:
        """Draws the curves of a trial, if it has any."""
        if not curves:
            return
        try:
            picture = loss_curve(curves, title=f"{self._study} trial {number}", best_epoch=best_epoch)
        except Exception:  # a picture that cannot be drawn must not cost its trial
            return
        keep_picture(run, folder, picture)

    def draw_missing(self, run: RunHistory, folder: StudyFolder, metric: str, journal: Journal) -> None:
        """Draws what an earlier controller did not come to: it died between a trial's end and its picture.

        Args:
            run: What the journal holds of a run.
            folder: Of its study.
            metric: The objective.
            journal: The record.
        """
        # an older Regatta drew a PNG of the same name
        drawn = any(Path(path).stem == Path(PICTURE).stem for path in run.files)
        if run.number is not None and run.status != "RUNNING" and not drawn:
            trial = run.as_trial(metric, None)
            place = folder.trial(run.number, trial.attempt)
            self.draw(Run(journal, run.uid), place, run.number, run.points(), trial.best_epoch)
