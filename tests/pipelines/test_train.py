"""One training outside a sweep, on a scripted worker and a tracker in memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import train as training
from pipelines.errors import ConfigError
from pipelines.records import Failure, TrialSpec, TrialState
from pipelines.tracking.memory import MemoryTracker
from pipelines.tracking.runs import LoggedRun
from tests.pipelines.scripted import (
    Lost,
    Script,
    ScriptedExecutor,
    Talk,
    ended,
    prepared,
    recipe,
    started,
    trains,
    val_losses,
)


class Site:
    """Everything around `train`, replaceable."""

    def __init__(self) -> None:
        self.tracker = MemoryTracker()
        self.executors: list[ScriptedExecutor] = []
        self.output = io.StringIO()

    def train(
        self, script: Script, monkeypatch: pytest.MonkeyPatch, what: training.Training | None = None
    ) -> training.Trained:
        def executor(factory: Any, environments: Any, *, logs: Path) -> ScriptedExecutor:
            (settings,) = factory.args
            assert settings.lanes == "off"
            self.executors.append(ScriptedExecutor(script, places=3))  # more room than there are trainings
            return self.executors[-1]

        monkeypatch.setattr(training, "ProcessesExecutor", executor)
        return training.train(what or training.from_recipe(recipe()), Console(file=self.output, width=200))


@pytest.fixture
def site(regatta_home: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    monkeypatch.setattr(training, "make_tracker", lambda uri: site.tracker)
    monkeypatch.setattr(training, "prepare", lambda spec, folder, cache, task: prepared(cache))
    return site


def test_a_training_is_handed_out_once_and_tracked_like_a_trial(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    found = site.train(trains, monkeypatch)
    (executor,) = site.executors

    assert len(executor.assigned) == 1
    assert found.result.state is TrialState.COMPLETE
    assert found.result.value == pytest.approx(min(val_losses(executor.assigned[0])))
    assert [line.split("  ")[0] for line in site.output.getvalue().splitlines()] == [
        f"epoch {number} ({number + 1} of 4)" for number in range(4)
    ]
    assert site.tracker.runs[found.run_id or ""].status == "FINISHED"
    assert executor.closed


def test_a_training_whose_worker_is_lost_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(spec: TrialSpec) -> Talk:
        yield started(spec)
        yield Lost()

    found = site.train(dies, monkeypatch)

    assert (found.result.state, found.result.failure) == (TrialState.FAILED, Failure.LOST)
    assert found.result.reason == "worker lost: its process was ended by SIGKILL"


def test_a_training_that_ends_without_a_word_fails_and_keeps_nobody_waiting(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wordless(spec: TrialSpec) -> Talk:
        yield started(spec)

    found = site.train(wordless, monkeypatch)

    assert found.result.reason == "worker lost: it stopped working on the training and did not say why"


def test_a_training_whose_own_code_is_wrong_says_why(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(spec: TrialSpec) -> Talk:
        yield started(spec)
        yield ended(spec, error="ValueError: no such layer")

    found = site.train(raises, monkeypatch)

    assert (found.result.state, found.result.reason) == (TrialState.FAILED, "ValueError: no such layer")


def test_a_run_that_is_trained_again_is_held_against_its_record(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.train(trains, monkeypatch)
    run = site.tracker.runs[first.run_id or ""]
    summary = {name: run.curve(name)[-1][1] for name in run.points}
    logged = LoggedRun("r1", "tiny", run.tags, summary)
    monkeypatch.setattr(training, "read_run", lambda server, run_id: logged)
    monkeypatch.setattr(training, "read_curve", lambda server, run_id, metric: dict(run.curve(metric)))
    monkeypatch.setattr(training, "tracking_server", lambda wait: "http://tracking.example:5000")

    found = site.train(trains, monkeypatch, training.from_run("r1"))

    assert first.again is None
    assert "again" not in first.to_json()
    assert found.again is not None
    assert found.again.same
    assert found.to_json()["again"]["run_id"] == "r1"
    assert (found.again.value, found.again.epoch) == (first.result.value, first.result.epoch)
    assert site.tracker.runs[found.run_id or ""].tags["regatta.again"] == "r1"


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (
            {"regatta.config": '{"epochs": 0}'},
            "The config of run 'r1' is not one that this version of Regatta reads: e",
        ),
        ({"regatta.config": "{"}, "the config that run 'r1' logged is no JSON"),
        ({}, "run 'r1' is no training of Regatta's: it has no tag 'regatta.config'"),
        (
            {"regatta.config": '{"model": {"name": "function", "function": "not_here_at_all:make"}}'},
            "Run 'r1' needs code of yours that cannot be had here: model.function: must name code that can be imported",
        ),
    ],
)
def test_a_run_that_cannot_be_trained_again_says_why_in_words(
    site: Site, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], words: str
) -> None:
    objective = recipe().objective.model_dump_json()
    logged = LoggedRun("r1", "tiny", {**tags, "regatta.objective": objective})
    monkeypatch.setattr(training, "read_run", lambda server, run_id: logged)

    with pytest.raises(ConfigError) as caught:
        training.from_run("r1")

    assert words in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert "type=" not in str(caught.value)
