"""Judges a checkpoint on the sealed test part and packages it: the part of a promotion that needs TensorFlow.

It runs in a process of its own, so that the controller stays small and its terminal free of TensorFlow's messages.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import TrainingConfig
from pipelines.datasets import Samples
from pipelines.datasets.prepared import open_prepared
from pipelines.datasets.sealed import open_sealed
from pipelines.errors import RegattaError
from pipelines.executors.base import Answer
from pipelines.package import Scores, build_package, load_checkpoint, onnx_outputs, outputs_of, score
from pipelines.tracking.models import warm_up

GOLDEN_SAMPLES = 16


@dataclass(frozen=True)
class JudgeRequest:
    """What to judge.

    Attributes:
        name: The registered model's name.
        config: The training config of the candidate.
        checkpoint: Its `.keras` file.
        data: Folder of the prepared data that it trained on.
        user_folder: Where the user keeps data files, or None.
        champion: Folder of the champion's verified package, or None where there is no champion.
        source: Where the candidate comes from, for the contract.
        package: Where its package goes; what a judge left there that died over it is replaced.
    """

    name: str
    config: Mapping[str, Any]
    checkpoint: str
    data: str
    user_folder: str | None
    champion: str | None
    source: Mapping[str, Any]
    package: str


@dataclass(frozen=True)
class Judged:
    """What came of a request. Either `scores` is there, or `error` says what is wrong, for a person to read."""

    scores: Scores | None = None
    champion_scores: Scores | None = None
    error: str | None = None
    traceback: str | None = None


class JudgeWorker:
    """A worker for one kind of task: a `JudgeRequest`, answered by one `Judged`."""

    def __init__(self) -> None:
        """Imports what it will need, so that it is warm when the request comes."""
        warm_up()

    def __call__(self, request: JudgeRequest, answer: Answer) -> None:
        """Judges and packages one candidate."""
        try:
            answer(judge(request))
        except RegattaError as error:
            answer(Judged(error=str(error)))
        except Exception as error:
            text = f"The checkpoint {request.checkpoint} could not be packaged: {type(error).__name__}: {error}"
            answer(Judged(error=text, traceback=traceback.format_exc()))


def judge(request: JudgeRequest) -> Judged:
    """Scores candidate and champion on the same sealed samples, and writes the candidate's package.

    Raises:
        DataError: The data is not what the candidate trained on.
        TrackingError: The candidate's two forms disagree.
    """
    config = TrainingConfig.model_validate(request.config)
    spec = config.dataset
    data = open_prepared(Path(request.data))
    task = config.goal(data.facts).task
    folder = Path(request.user_folder) if request.user_folder else None
    test = open_sealed(spec, folder, sha256=data.sha256, split_sha256=data.split_sha256, task=config.task)
    model = load_checkpoint(Path(request.checkpoint))
    scores = score(task, outputs_of(model, test.x), test.y)
    theirs = None
    if request.champion is not None:
        theirs = score(task, onnx_outputs(Path(request.champion) / "model.onnx", test.x, data.facts), test.y)
    shutil.rmtree(request.package, ignore_errors=True)
    build_package(
        model,
        Path(request.package),
        name=request.name,
        task=task,
        facts=data.facts,
        golden=golden_samples(test),
        scores=scores,
        source=request.source,
        dataset={"name": spec.name, "sha256": data.sha256, "split_sha256": data.split_sha256},
    )
    return Judged(scores, theirs)


def golden_samples(test: Samples) -> Samples:
    """A fixed number of samples for checks, and for people.

    The first sample of each class, then the second of each, and so on; where a number is predicted, samples whose
    targets are spread evenly from the smallest to the largest.
    """
    truth = np.asarray(test.y)
    if not np.issubdtype(truth.dtype, np.integer):
        ranked = np.argsort(truth, kind="stable")
        places = np.linspace(0, len(ranked) - 1, min(GOLDEN_SAMPLES, len(ranked))).round().astype(np.int64)
        return test.take(ranked[places])
    rank = np.empty(len(truth), np.int64)
    for label in np.unique(truth):
        rank[truth == label] = np.arange((truth == label).sum())
    return test.take(np.lexsort((truth, rank))[:GOLDEN_SAMPLES].astype(np.int64))
