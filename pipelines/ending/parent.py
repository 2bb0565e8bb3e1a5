"""The run of a sweep as a whole, of which those of its trials are children."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pipelines.controller.budgets import Ending
from pipelines.datasets.prepared import PreparedData
from pipelines.home import StudyFolder
from pipelines.lineage import Lineage
from pipelines.params import dataset_input, telling_params
from pipelines.pictures import sample_grid
from pipelines.promotion.outcome import Promoted
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.search_space import NOT_VARIED
from pipelines.records import StudyHistory, TrialHistory
from pipelines.report.note import describe
from pipelines.tracking.journal import Journal
from pipelines.tracking.run import Run

_TAG_BYTES = 7900
"""MLflow cuts longer tags."""
SAMPLES = "samples.png"
LINEAGE = "lineage"


class ParentRun:
    """The parent run, over all starts of its study."""

    def __init__(self, config: SweepConfig, folder: StudyFolder, uid: str, journal: Journal) -> None:
        """Takes the recipe, the study's folder, the run's name in the journal, and the journal."""
        self._config, self._folder, self.uid = config, folder, uid
        self._run = Run(journal, uid)
        self._starts = 1

    def begin(self, data: PreparedData, origin: Lineage) -> None:
        """Begins it, or takes it up again, and keeps where it came from."""
        config = self._config
        recipe = json.dumps(config.model_dump(mode="json"))
        self._run.begin(
            config.study,
            f"{config.study} sweep",
            dataset=dataset_input(config.dataset.model_dump(mode="json"), data.sha256),
            tags={
                **run_tags(self.uid),
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
            self._run.keep(written, place)
        path = self._folder.root / SAMPLES
        if not path.exists():  # a study that goes on has its picture
            train, _ = data.read()
            path.write_bytes(sample_grid(train.x, train.y, data.facts))
            self._run.keep(path)

    def note_end(
        self, ending: Ending, seconds: float, spent: Mapping[str, float], front: tuple[int, ...] | None
    ) -> None:
        """Writes down what the report says about the sweep as a whole, so that it can be written again later.

        Args:
            ending: What ended the sweep.
            seconds: Wall seconds of all starts.
            spent: The same by what they went to, as far as the starts came to say it.
            front: Numbers of the trials that no other one beats, where there are several objectives.
        """
        self._run.log(
            {"seconds": seconds} | {f"system/seconds_{name}": value for name, value in spent.items()},
            step=self._starts - 1,  # a point for each start of the sweep: what was spent by its end
            tags={
                "regatta.ended": ending.text,
                "regatta.ended_by": ending.by,
                **({} if front is None else {"regatta.front": json.dumps(front)}),
            },
        )

    def close(
        self, history: StudyHistory, best: TrialHistory | None, promoted: Promoted | None, *, interrupted: bool
    ) -> None:
        """Keeps the report, says what came of the sweep, and ends the run."""
        tags = {"mlflow.note.content": describe(history, best)}
        metrics: dict[str, float] = {}
        if best is not None and best.value is not None:
            metrics = {f"best.{history.metric}": best.value, "best.trial": float(best.number)}
        if promoted is not None:
            metrics |= promoted.scores.to_json()
            tags["regatta.decision"] = promoted.decision.reason
            tags["regatta.registered"] = promoted.version.version
        self._run.log(metrics, tags=tags)
        self._run.keep(self._folder.report)
        self._run.end("KILLED" if interrupted else "FINISHED" if best is not None else "FAILED")

    def abandon(self) -> None:
        """Ends the run of a sweep that cannot go on; the next start takes it up again."""
        self._run.end("KILLED")


def run_tags(uid: str) -> dict[str, str]:
    """What every run of a sweep is tagged with, beside where it came from."""
    return {"regatta.study_uid": uid}


def _shared(config: SweepConfig) -> dict[str, str]:
    """What all trials have in common, as params: data set and metrics."""
    whole = config.training()
    return telling_params({key: whole[key] for key in NOT_VARIED}, config.said())
