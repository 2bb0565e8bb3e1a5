"""A study with candidates of a known strength, a registry in a folder, and a judge without TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.checkpoints import sha256_of
from pipelines.datasets.prepared import PreparedData
from pipelines.errors import NothingToPromote
from pipelines.history import RunHistory, read_runs
from pipelines.inputs import InputFacts
from pipelines.packaging.scoring import score
from pipelines.promotion.evidence import worst_mistakes
from pipelines.promotion.judge import Answers, Judged, JudgeRequest
from pipelines.promotion.outcome import Candidate, Promoted
from pipelines.promotion.policy import Measured
from pipelines.promotion.promoter import Promoter
from pipelines.promotion.record import Record
from pipelines.promotion.seeds import Repeated
from pipelines.records import TrialHistory, TrialState
from pipelines.tasks import Task
from pipelines.tracking.journal import Journal, read_all
from tests.pipelines.registry import FolderRegistry
from tests.pipelines.scripted import prepared, recipe

SAMPLES = 1000
TRUTH = np.arange(SAMPLES) % 10
UID = "0123456789ab"


def trial(number: int, value: float | None = 0.25, state: TrialState = TrialState.COMPLETE) -> TrialHistory:
    return TrialHistory(number, 1, state, {}, value, 2, {}, run_id=f"run-{number}")


def outputs(accuracy: float) -> np.ndarray:
    """What a model says that is right on the first of the samples, that share of them."""
    said = np.full((SAMPLES, 10), 0.02, np.float32)
    named = np.where(np.arange(SAMPLES) < round(accuracy * SAMPLES), TRUTH, (TRUTH + 1) % 10)
    said[np.arange(SAMPLES), named] = 0.82
    return said


def seal(folder: Path) -> Path:
    """Writes a manifest that names every file."""
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))
    return folder


class Bench:
    """A study whose candidates' strengths are known: a checkpoint's text is its test accuracy."""

    def __init__(self, root: Path, study: str = "tiny", registry: Any = None) -> None:
        self.root, self.study = root, study
        self.registry: Any = registry if registry is not None else FolderRegistry(root / "registry")
        self.experiment_id = "1"
        self.requests: list[JudgeRequest] = []
        self.policy: dict[str, Any] = {"metric": "test_accuracy"}
        self.shape = (8, 8)
        self.labels = list("0123456789")
        self.unjudgeable: dict[int, str] = {}
        self.latency_ms = 0.1
        self.changed: tuple[str, ...] = ()
        self.dataset = {"sha256": "d" * 64, "split_sha256": "5" * 64}
        self.journal = Journal(root / "study" / "journal.jsonl")
        self.run_ids: dict[str, str] = {}
        self.records: list[Record] = []

    def judge(self, request: JudgeRequest) -> Judged:
        self.requests.append(request)
        number = int(request.source["trial"])
        if number in self.unjudgeable:
            raise NothingToPromote(self.unjudgeable[number])
        accuracy = float(Path(request.checkpoint).read_text())
        mine, theirs = outputs(accuracy), None
        if request.champion is not None:
            theirs = outputs(float((Path(request.champion) / "model.onnx").read_text()))
        assert request.outputs is not None
        mistakes = worst_mistakes(Task.MULTICLASS, TRUTH, mine)
        Answers(TRUTH, mine, theirs, mistakes, np.zeros((len(mistakes), 8, 8), np.uint8)).write(request.outputs)
        package = Path(request.package)
        package.mkdir()
        (package / "model.onnx").write_text(Path(request.checkpoint).read_text())
        contract = {
            "name": request.name,
            "task": "multiclass",
            "input": {"shape": [None, *self.shape]},
            "labels": self.labels,
            "source": dict(request.source),
            "dataset": self.dataset,
        }
        (package / "contract.json").write_text(json.dumps(contract))
        seal(package)
        measured = Measured(
            score(Task.MULTICLASS, mine, TRUTH), bytes=2000, latency_ms=self.latency_ms, parity=1e-7, allowed=1e-4
        )
        scores = None if theirs is None else score(Task.MULTICLASS, theirs, TRUTH)
        return Judged(measured, scores, changed=self.changed)

    def candidate(self, accuracy: float | str, number: int = 0, value: float = 0.25) -> Candidate:
        path = self.root / f"{number}-{accuracy}.keras"
        path.write_text(str(accuracy))
        return Candidate(
            replace(trial(number, value), run_id=self.run_of(number)), path, {"seed": number}, {"own": str(number)}
        )

    def run_of(self, number: int) -> str:
        """The server's id of a trial's run."""
        return f"run-{number}"

    def promote(
        self,
        *candidates: Candidate,
        force: bool = False,
        challenges: bool = False,
        repeated: Sequence[Repeated] = (),
        data: Any = None,
    ) -> Promoted:
        config = recipe(study=self.study, promotion=self.policy)
        record = Record(self.journal, self.study, UID, lambda uid: self.run_ids.get(uid))
        self.records.append(record)
        promoter = Promoter(
            config, data or self.data(), self.registry, self.judge, record, user_folder=self.root / "mine"
        )
        return promoter.promote(
            candidates, experiment_id=self.experiment_id, force=force, challenges=challenges, repeated=repeated
        )

    def data(self) -> PreparedData:
        return prepared(self.root)

    @property
    def facts(self) -> InputFacts:
        return self.data().facts

    def runs(self) -> list[RunHistory]:
        """What the journal tells, a run each promotion."""
        return list(read_runs(read_all(self.journal.path)).values())

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.registry.kept[int(version) - 1].tags)
