"""A sweep from its recipe to its summary, on scripted workers and a tracker in memory."""

from __future__ import annotations

import io
import json
import multiprocessing
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import conduct, launch
from pipelines.datasets.prepared import PreparedData
from pipelines.ending import arrival, closing
from pipelines.ending.upshot import Summary
from pipelines.errors import (
    ConfigError,
    DataError,
    ExecutorError,
    HomeError,
    NothingToPromote,
    PromotionRefused,
    ServiceError,
    TrackingError,
)
from pipelines.executors.recruits import Recruits
from pipelines.history import RunHistory, read_runs
from pipelines.home import Home
from pipelines.packaging.scoring import Scores
from pipelines.placing import Placement
from pipelines.promote import StudyOnDisk
from pipelines.promotion.outcome import Promoted
from pipelines.promotion.policy import Decision
from pipelines.recipe.config import SweepConfig
from pipelines.records import Stop, StudyHistory, TrialHistory, TrialSpec
from pipelines.report import Draft, to_html
from pipelines.staffing import Ahead
from pipelines.study import Counts
from pipelines.terminal.summary import show_summary
from pipelines.tracking.base import Unavailable
from pipelines.tracking.journal import read_all
from pipelines.tracking.memory import MemoryTracker
from pipelines.tracking.models import Version
from pipelines.tracking.run import Run
from tests.pipelines.scripted import (
    Script,
    ScriptedExecutor,
    Talk,
    by_trial,
    dies,
    ended,
    epoch,
    prepared,
    raises,
    recipe,
    started,
    trains,
)

SERVER = "http://tracking.example:5000"


class Gone(MemoryTracker):
    """A server that cannot be reached."""

    def experiment(self, name: str) -> str:
        raise Unavailable("connection refused")


class Site:
    """Everything around `run_sweep`, replaceable."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.tracker = MemoryTracker()
        self.script: Script = trains
        self.executors: list[ScriptedExecutor] = []
        self.place = Placement(2, "off")
        self.output = io.StringIO()
        self.prepared = False

    def make_executor(self, config: SweepConfig, folder: Any, place: Placement, **more: Any) -> ScriptedExecutor:
        self.executors.append(ScriptedExecutor(self.script, place.workers, 1 if place.lanes == "off" else 64))
        return self.executors[-1]

    def prepare(self, spec: Any, folder: Path | None, cache: Path, task: Any) -> PreparedData:
        self.prepared = True
        return prepared(cache)

    def run(self, config: SweepConfig | None = None, **how: Any) -> Summary:
        console = Console(file=self.output, width=200)
        return launch.run_sweep(
            config or recipe(3), console=console, **{"command": "regatta sweep tiny.yaml", "promote": False, **how}
        )

    def runs(self) -> dict[str, RunHistory]:
        return read_runs(read_all(self.home.study("tiny").journal))


@pytest.fixture
def site(regatta_home: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(Home(regatta_home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    monkeypatch.setattr(conduct, "make_tracker", lambda uri: site.tracker)
    monkeypatch.setattr(conduct, "make_executor", site.make_executor)
    monkeypatch.setattr(conduct, "find_place", lambda config, data, **more: site.place)
    monkeypatch.setattr(conduct, "make_judge_executor", lambda folder: ScriptedExecutor(trains))
    monkeypatch.setattr(conduct, "prepare", site.prepare)
    monkeypatch.setattr("pipelines.controller.painting.loss_curve", lambda curves, *, title, best_epoch: b"<svg/>")
    return site


def test_trials_train_many_at_once_where_their_place_says_so_and_people_are_told(site: Site) -> None:
    site.place = Placement(1, "auto", 5, "Trains up to 5 trials at once, in one program.")
    summary = site.run(recipe(12))

    assert summary.counts == Counts(complete=12)
    assert site.executors[0].most == 5
    assert site.output.getvalue().count("Trains up to 5 trials at once, in one program.\n") == 1


def test_the_json_summary_has_the_keys_that_others_rely_on(site: Site) -> None:
    summary = site.run()
    told = summary.to_json()

    assert set(told) == {
        "study", "experiment_id", "parent_run_id", "trials", "best", "registered", "seconds", "journal",
        "ended", "problem", "not_promoted", "address", "report",
    }  # fmt: skip
    assert told["ended"] == {"by": "trials", "text": "all 3 trials are done"}
    assert set(told["trials"]) == {"complete", "pruned", "failed"}
    assert set(told["best"]) == {"trial", "run_id", "epoch", "value", "params"}
    assert set(told["journal"]) == {"written", "delivered"}
    assert told["registered"] is None
    assert told["study"] == "tiny"
    assert told["trials"] == {"complete": 3, "pruned": 0, "failed": 0}
    assert told["journal"]["written"] == told["journal"]["delivered"] > 0
    best = site.tracker.runs[told["best"]["run_id"]]
    assert best.tags["regatta.trial"] == str(told["best"]["trial"])
    assert best.parent_run_id == told["parent_run_id"]
    assert dict(best.curve("val_loss"))[told["best"]["epoch"]] == told["best"]["value"]


def test_a_finished_sweep_leaves_a_closed_parent_with_the_report_and_every_trial_below_it(site: Site) -> None:
    summary = site.run()
    assert summary.parent_run_id is not None
    parent = site.tracker.runs[summary.parent_run_id]

    assert parent.status == "FINISHED"
    assert "report.html" in parent.files
    assert parent.params["objective"] == "val_loss"
    assert "Best: trial" in parent.tags["mlflow.note.content"]
    assert parent.tags["regatta.kind"] == "sweep"
    assert len(site.tracker.runs) == 4
    assert {"lineage/1/recipe.yaml", "lineage/1/lineage.json"} <= set(parent.files)
    assert parent.tags["regatta.ended_by"] == "trials"
    assert parent.curve("system/seconds_trials")
    assert {run.status for run in site.tracker.runs.values()} == {"FINISHED"}
    assert all(executor.closed for executor in site.executors)
    assert summary.report.is_file()
    assert summary.address is not None
    assert summary.address.startswith(f"{SERVER}/#/experiments/0/runs?")


def test_a_study_that_is_done_says_so_and_starts_no_worker(site: Site) -> None:
    site.run()

    summary = site.run()

    assert (
        "Study 'tiny' is done already: all 3 trials are done. More: --trials N. Anew: --fresh."
        in site.output.getvalue()
    )
    assert site.executors[1].assigned == []
    assert summary.counts == Counts(complete=3)
    assert summary.best is not None
    assert len(site.tracker.runs) == 4


def test_the_same_recipe_with_a_larger_budget_goes_on_with_the_study(site: Site) -> None:
    first = site.run()
    second = site.run(recipe(5))

    assert second.counts == Counts(complete=5)
    assert "Study 'tiny' goes on: 3 trials are done." in site.output.getvalue()
    assert second.parent_run_id == first.parent_run_id
    assert len(site.tracker.runs) == 6


@pytest.mark.parametrize(
    ("config", "how", "why"),
    [
        (recipe(3, epochs=5), {}, "as the recipe has changed (epochs)."),
        (
            recipe(3, batch_size=64, model={"name": "dense", "units": [9]}),
            {},
            "as the recipe has changed (model.units, batch_size).",
        ),
        (
            recipe(3, seed=7, epochs=2, batch_size=1, precision="mixed_bfloat16", xla="off", class_weight="balanced"),
            {},
            "as the recipe has changed (class_weight, epochs, batch_size, precision, xla and 1 more).",
        ),
        (recipe(3), {"fresh": True}, "as --fresh asks."),
    ],
)
def test_another_study_of_the_same_name_keeps_the_one_before_aside(
    site: Site, config: SweepConfig, how: dict[str, Any], why: str
) -> None:
    first = site.run()
    second = site.run(config, **how)

    assert f"A new study 'tiny' begins, {why}" in site.output.getvalue()
    assert second.counts == Counts(complete=3)
    assert second.parent_run_id != first.parent_run_id
    assert len(list((site.home.study("tiny").root / "earlier").iterdir())) == 1
    assert len(site.tracker.runs) == 8


def test_each_trial_says_which_code_of_the_users_it_ran_and_changed_code_is_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = tmp_path / "my_model_code.py"
    code.write_text("def make(inputs, head): return None\n", encoding="utf-8")
    model = {"name": "function", "function": "my_model_code:make"}
    site.run(recipe(2, model=model))
    site.run(recipe(3, model=model))
    assert "Your own code" not in site.output.getvalue()

    code.write_text("def make(inputs, head): return 1\n", encoding="utf-8")
    site.run(recipe(4, model=model))

    assert (
        site.output.getvalue().count("Your own code has changed since study 'tiny' was last run (my_model_code)") == 1
    )
    digests = {run.number: run.tags["regatta.user_code_sha256"] for run in site.runs().values()}
    assert digests[0] == digests[1] == digests[2] != digests[3] == digests[None]
    assert json.loads(site.runs()[next(iter(site.runs()))].tags["regatta.user_code"]).keys() == {"my_model_code"}


def test_an_interrupted_sweep_closes_everything_and_goes_on_where_it_stopped(site: Site) -> None:
    def interrupted(spec: TrialSpec) -> Talk:
        yield started(spec)
        signal.raise_signal(signal.SIGINT)
        answer = yield epoch(spec, 0, 0.5)
        assert answer == Stop(spec.number, spec.attempt, pause=True)
        yield ended(spec, paused=True)

    site.script = by_trial({1: interrupted})
    first = site.run(promote=True)
    assert first.interrupted
    assert first.promoted is None
    assert "RUNNING" not in {run.status for run in site.tracker.runs.values()}
    assert "trials stop after the epoch they are at" in site.output.getvalue()
    assert "Ctrl-C again stops at once" in site.output.getvalue()
    assert site.tracker.runs[first.parent_run_id or ""].status == "KILLED"

    site.script = trains
    second = site.run()

    assert re.search(r"; (trial \d+ goes|trials \d.* go) on\.", site.output.getvalue())
    assert not second.interrupted
    assert second.counts == Counts(complete=3)
    assert {run.status for run in site.tracker.runs.values()} == {"FINISHED"}
    assert len(site.tracker.runs) == 4


def test_workers_that_cannot_be_had_leave_no_run_open(site: Site) -> None:
    def breaks(spec: TrialSpec) -> Talk:
        yield started(spec)
        raise ExecutorError("Worker 0 died 3 times before it was ready")

    site.script = breaks

    with pytest.raises(ExecutorError):
        site.run()

    assert {run.status for run in site.runs().values()} == {"KILLED"}
    assert {run.status for run in site.tracker.runs.values()} == {"KILLED"}


def test_a_sweep_without_one_complete_trial_has_no_best(site: Site) -> None:
    site.script = raises
    summary = site.run(recipe(3, budget={"trials": 3, "failed_trials": 1}))

    assert summary.best is None
    assert site.tracker.runs[summary.parent_run_id or ""].status == "FAILED"
    assert summary.to_json()["best"] is None
    assert summary.to_json()["trials"]["complete"] == 0


def test_a_server_that_is_never_there_costs_no_trial_and_no_promotion_is_tried(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "_NEVER_REACHED_S", 0.0)
    monkeypatch.setattr(arrival, "_LAST_CALL_S", 0.0)
    site.tracker = Gone()

    summary = site.run(promote=True)

    assert summary.counts == Counts(complete=3)
    assert (summary.delivered, summary.parent_run_id, summary.experiment_id) == (0, None, None)
    assert summary.written > 0
    assert summary.problem == "connection refused"
    assert "regatta sync, then regatta promote tiny" in (summary.not_promoted or "")
    assert f"Waiting for the MLflow server at {SERVER}" in site.output.getvalue()
    assert summary.report.is_file()


def test_a_server_of_our_own_that_went_away_is_started_again_before_the_sweep_ends(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.tracker = Gone()
    asked: list[bool] = []

    def tracking_server(*, wait: bool) -> str:
        asked.append(wait)
        site.tracker.__class__ = MemoryTracker
        return SERVER

    monkeypatch.setattr(conduct, "tracking_server", tracking_server)

    summary = site.run()

    assert asked == [False]
    assert summary.delivered == summary.written


def test_a_server_of_our_own_that_is_only_starting_is_no_trouble(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.tracker = Gone()
    asked: list[bool] = []

    def on_its_way() -> bool:
        asked.append(True)
        if "Waiting" in site.output.getvalue():
            site.tracker.__class__ = MemoryTracker
        return True

    monkeypatch.setattr(conduct, "begin_tracking_server", lambda: (SERVER, on_its_way))
    monkeypatch.setattr(conduct, "tracking_server", lambda wait: pytest.fail("it is started already"))

    summary = site.run()

    said = site.output.getvalue()
    assert asked
    assert summary.delivered == summary.written
    assert "takes nothing" not in said
    assert "connection refused" not in said
    assert re.search(
        rf"Waiting for the MLflow server at {SERVER}, which is still starting: \d+ entries to deliver\.", said
    )


def promoted(trial: TrialHistory, *, wins: bool = True) -> Promoted:
    decision = Decision(wins, "test_accuracy 0.9 against the champion's 0.8: better by 0.1")
    version = Version("tiny", "3", "models:/m-1", trial.run_id, {}, (), 0)
    return Promoted(decision, version, Scores({"test_accuracy": 0.9, "test_loss": 0.1}), None, trial)


Promote = Callable[..., Promoted]


@pytest.fixture
def promotes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrialHistory, str, str]]:
    """What was promoted: the trial, the server, the experiment."""
    asked: list[tuple[TrialHistory, str, str]] = []

    def promote_with(judge: Any, study: StudyOnDisk, best: Sequence[TrialHistory], *where: str, **how: Any) -> Promoted:
        asked.append((best[0], study.server, *where))  # type: ignore[arg-type]
        return promoted(best[0])

    monkeypatch.setattr(conduct, "promote_with", promote_with)
    return asked


def test_the_best_trial_is_promoted_with_the_run_that_the_server_has_of_it(
    site: Site, promotes: list[tuple[TrialHistory, str, str]]
) -> None:
    summary = site.run(promote=True)
    parent = site.tracker.runs[summary.parent_run_id or ""]

    ((best, server, experiment_id),) = promotes
    assert summary.best == best
    assert best.run_id in site.tracker.runs
    assert (server, experiment_id) == (SERVER, summary.experiment_id)
    assert summary.to_json()["registered"] == {"name": "tiny", "version": "3", "alias": "champion"}
    assert parent.tags["regatta.decision"].startswith("test_accuracy 0.9")
    assert parent.curve("test_accuracy") == [(0, 0.9)]
    assert summary.written == summary.delivered


def test_the_report_is_drafted_while_the_judge_is_at_it_and_is_the_same_as_one_that_was_not(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted: list[set[str | None]] = []

    class Noted(Draft):
        def sections_for(self, history: StudyHistory) -> Any:
            sections = super().sections_for(history)
            drafted.append({trial.run_id for trial in history.trials} if sections else set())
            return sections

    def promote_with(judge: Any, study: StudyOnDisk, best: Sequence[TrialHistory], *where: str, **how: Any) -> Promoted:
        judge._meanwhile()
        return promoted(best[0])

    monkeypatch.setattr(conduct, "promote_with", promote_with)
    monkeypatch.setattr(closing, "Draft", Noted)

    summary = site.run(promote=True)

    assert drafted == [set(site.tracker.runs) - {summary.parent_run_id}]
    report = summary.report.read_text()
    assert report == to_html(summary.history)
    assert "test accuracy" in report
    assert f"Ended: {summary.ending.text}" in report
    assert summary.history.phases.keys() >= {"data", "trials", "promotion"}


def test_a_promotion_that_meets_a_server_which_is_away_is_tried_again_when_everything_has_arrived(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Callable[[TrialHistory], Promoted]] = []

    def away(best: TrialHistory) -> Promoted:
        raise TrackingError("the server cannot be reached")

    def promote_with(judge: Any, study: StudyOnDisk, best: Sequence[TrialHistory], *where: str, **how: Any) -> Promoted:
        answers.append(away if not answers else promoted)
        return answers[-1](best[0])

    monkeypatch.setattr(closing.Closing, "_has_taken", lambda closing, candidates: True)
    monkeypatch.setattr(conduct, "promote_with", promote_with)

    summary = site.run(promote=True)

    assert answers == [away, promoted]
    assert summary.not_promoted is None
    assert summary.to_json()["registered"] == {"name": "tiny", "version": "3", "alias": "champion"}


def test_what_can_never_be_promoted_is_judged_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def fails(*arguments: Any, **how: Any) -> Promoted:
        tried.append(1)
        raise NothingToPromote("the checkpoint is gone")

    monkeypatch.setattr(closing.Closing, "_has_taken", lambda closing, candidates: True)
    monkeypatch.setattr(conduct, "promote_with", fails)

    assert site.run(promote=True).not_promoted == "the checkpoint is gone"
    assert tried == [1]


@pytest.mark.parametrize("error", [NothingToPromote("the checkpoint is gone"), TrackingError("the server refused")])
def test_a_promotion_that_cannot_be_leaves_a_whole_summary(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*arguments: Any, **how: Any) -> Promoted:
        raise error

    monkeypatch.setattr(conduct, "promote_with", fails)

    summary = site.run(promote=True)

    assert summary.not_promoted == str(error)
    assert summary.to_json()["registered"] is None
    assert summary.best is not None
    assert site.tracker.runs[summary.parent_run_id or ""].status == "FINISHED"


def test_a_rule_that_keeps_the_best_trial_out_of_the_registry_is_a_refusal(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **how: Any) -> Promoted:
        raise PromotionRefused("promotion.parity allows 0.0001: too much by 0.1")

    monkeypatch.setattr(conduct, "promote_with", fails)

    summary = site.run(promote=True)

    assert summary.refused
    assert "promotion.parity" in str(summary.not_promoted)


def test_as_many_candidates_are_offered_as_the_recipe_wants_the_best_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[TrialHistory]] = []

    def promote_with(judge: Any, study: StudyOnDisk, best: Sequence[TrialHistory], *where: str, **how: Any) -> Promoted:
        asked.append(list(best))
        return promoted(best[0])

    monkeypatch.setattr(conduct, "promote_with", promote_with)

    summary = site.run(recipe(4, promotion={"top_k": 3}), promote=True)

    (candidates,) = asked
    values = [trial.value or 0.0 for trial in candidates]
    assert len(candidates) == 3
    assert values == sorted(values)
    assert candidates[0] == summary.best
    assert all(trial.run_id in site.tracker.runs for trial in candidates)


def test_the_version_is_told_which_run_has_its_evidence_when_that_has_arrived(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str | None] = []

    def promote_with(judge: Any, study: StudyOnDisk, best: Sequence[TrialHistory], *where: str, **how: Any) -> Promoted:
        Run(study.journal, "evidence").begin("tiny promotions", "judged", tags={}, params={})
        Run(study.journal, "evidence").end("FINISHED")
        return replace(promoted(best[0]), evidence="evidence")

    def note_evidence(promoted: Promoted, server: str, run_id: Any, experiment_id: Any) -> Promoted:
        noted.append(run_id(promoted.evidence))
        where = f"{server}/{experiment_id('tiny promotions')}/{noted[-1]}"
        return replace(promoted, evidence_run=noted[-1], evidence_address=where)

    monkeypatch.setattr(conduct, "promote_with", promote_with)
    monkeypatch.setattr(closing, "note_evidence", note_evidence)

    summary = site.run(promote=True)

    (run_id,) = [run_id for run_id, run in site.tracker.runs.items() if run.uid == "evidence"]
    assert noted == [run_id]
    assert f"evidence: {SERVER}/1/{run_id}" in shown(summary)


@pytest.fixture
def started_ahead(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether processes were started before the data was there, for each time that they were started."""
    started: list[bool] = []

    def recruit(config: SweepConfig, **more: Any) -> Ahead:
        started.append(not site.prepared)
        return Ahead()

    monkeypatch.setattr(launch, "recruit", recruit)
    monkeypatch.setattr(conduct, "recruit", recruit)
    return started


def test_processes_of_a_new_study_are_started_before_its_data_is_prepared(
    site: Site, started_ahead: list[bool]
) -> None:
    site.run()
    assert started_ahead == [True]


def test_a_study_that_goes_on_starts_them_when_it_knows_that_it_does_and_one_that_is_done_never(
    site: Site, started_ahead: list[bool]
) -> None:
    site.run()
    site.run()
    assert started_ahead == [True]

    site.run(recipe(4))
    assert started_ahead == [True, False]


def test_processes_that_were_started_for_nothing_are_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    recruits = Recruits([{}])
    (process,) = multiprocessing.active_children()
    monkeypatch.setattr(launch, "recruit", lambda config, **more: Ahead(recruits=recruits))

    def fails(*arguments: Any) -> None:
        raise DataError("the file is gone")

    monkeypatch.setattr(conduct, "prepare", fails)
    with pytest.raises(DataError):
        site.run()

    assert len(recruits) == 0
    assert process not in multiprocessing.active_children()


def test_workers_that_cannot_be_had_are_told_before_anything_is_prepared(
    site: Site, started_ahead: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(config: SweepConfig, *, cache: Path) -> None:
        raise ServiceError("There is no engine.")

    monkeypatch.setattr(launch, "make_sure", fails)
    with pytest.raises(ServiceError):
        site.run()

    assert started_ahead == []
    assert not site.prepared


def test_a_study_that_somebody_else_runs_starts_no_process(site: Site, started_ahead: list[bool]) -> None:
    with site.home.study("tiny").locked(), pytest.raises(HomeError):
        site.run()
    assert started_ahead == []


def test_a_study_that_somebody_else_runs_is_one_sentence(site: Site) -> None:
    with site.home.study("tiny").locked(), pytest.raises(HomeError, match="stop it; or give this sweep another name"):
        site.run()


def test_the_lock_is_free_again_after_a_sweep_and_after_one_that_broke(site: Site) -> None:
    site.run()
    with site.home.study("tiny").locked():
        pass


def shown(summary: Summary) -> str:
    output = io.StringIO()
    show_summary(summary, Console(file=output, width=100), command="regatta sweep tiny.yaml")
    assert not any(line.endswith(" ") for line in output.getvalue().splitlines())
    return " ".join(output.getvalue().split())


def test_the_summary_for_people_says_what_came_of_it_where_to_look_and_what_to_type(
    site: Site, promotes: list[tuple[TrialHistory, str, str]]
) -> None:
    summary = site.run(promote=True)
    text = shown(summary)

    assert "3 complete, 0 pruned, 0 failed" in text
    assert f"trial {summary.best and summary.best.number}, val_loss" in text
    assert "champion tiny version 3 is the champion: test accuracy 0.9000" in text
    assert f"all {summary.written} entries of the journal are in MLflow" in text
    assert f"report: {summary.report}" in text
    assert summary.address is not None
    assert summary.address in text
    assert "make predict" in text


def test_what_to_type_next_works_in_a_folder_without_a_makefile_too(
    site: Site,
    promotes: list[tuple[TrialHistory, str, str]],
    tmp_path: Path,
    regatta_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    summary = site.run(promote=True)
    root = Path.cwd()
    assert "Next: make up-local && make predict" in shown(summary)

    monkeypatch.chdir(tmp_path)

    make = f"make -C {root} REGATTA_HOME={regatta_home}"
    assert f"Next: {make} up-local && {make} predict ARGS=" in shown(summary)


def test_the_time_of_a_study_is_that_of_all_its_starts_and_that_of_a_start_is_told_as_such(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.run()
    monkeypatch.setattr(conduct, "wall_seconds", lambda entries, uid: 95.0)  # what the journal tells of earlier starts

    second = site.run()

    assert first.seconds == pytest.approx(first.study_seconds, abs=1.0)
    assert f"0 failed, in {first.seconds:.0f} s " in shown(first)
    assert second.study_seconds == pytest.approx(95.0 + second.seconds, abs=1.0)
    assert f"in {second.study_seconds:.0f} s over all starts; this one took {second.seconds:.0f} s" in shown(second)
    assert second.history.seconds == pytest.approx(95.0 + second.seconds, abs=1.0)
    (parent,) = [run for run in site.runs().values() if run.tags.get("regatta.kind") == "sweep"]
    assert parent.summary["seconds"] == pytest.approx(95.0 + second.seconds, abs=1.0)
    assert second.to_json()["seconds"] < 95


def test_what_the_time_went_to_adds_up_over_the_starts_of_a_study(site: Site) -> None:
    first = site.run()
    second = site.run(recipe(5))

    assert first.history.phases.keys() <= second.history.phases.keys()
    assert all(second.history.phases[name] >= seconds for name, seconds in first.history.phases.items())
    assert second.history.phases["trials"] > first.history.phases["trials"]


def test_the_summary_for_people_says_what_is_still_to_be_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_NEVER_REACHED_S", 0.0)
    monkeypatch.setattr(arrival, "_LAST_CALL_S", 0.0)
    site.tracker = Gone()
    summary = site.run(promote=True)
    text = shown(summary)

    assert f"0 of {summary.written} entries are in MLflow" in text
    assert "regatta sync (connection refused)" in text
    assert "not judged" in text
    assert "make predict" not in text


def test_progress_tells_each_trial_on_a_line_with_the_best_marked(site: Site) -> None:
    site.script = by_trial({0: raises, (1, 1): dies})
    site.run()
    lines = site.output.getvalue().splitlines()

    assert sum("COMPLETE" in line for line in lines) == 3
    assert any("FAILED" in line and "ValueError: no such layer" in line for line in lines)
    assert any("was lost" in line and "trial 1 goes on from its last epoch" in line for line in lines)
    assert sum("best so far" in line for line in lines) >= 1


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        ({"target": 100.0}, "a trial reached"),
        ({"no_improvement_trials": 1}, "the last trial brought no new best"),
        ({"wall_s": 1e-9}, "the 1e-09 s of wall time are used"),
        ({"checkpoint_mb": 1e-6}, "the 1e-06 MiB of checkpoints are written"),
    ],
)
def test_what_ended_a_sweep_is_said_and_said_again_where_nothing_is_left(
    site: Site, budget: dict[str, Any], text: str
) -> None:
    config = recipe(50, budget={"trials": 50, **budget})

    first = site.run(config)
    site.output.truncate(0)
    second = site.run(config)

    (name,) = budget
    assert first.ending.by == second.ending.by == name
    assert first.counts.complete + first.counts.pruned < 50
    assert text in first.ending.text
    assert f". More: --set budget.{name}=…. Anew: --fresh." in site.output.getvalue()
    assert f"ended {text[0].upper()}{text[1:]}" in shown(second)
    assert site.executors[1].assigned == []


def test_what_looks_like_a_slip_of_the_recipe_is_said_before_it_trains(site: Site) -> None:
    site.run(recipe(2, search_space={}))

    assert site.output.getvalue().startswith("Nothing varies but the seed: ")


def test_a_study_that_could_not_begin_leaves_nothing_behind(site: Site) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        site.run(recipe(3, warm_start={"study": "nowhere"}))

    assert site.home.studies() == []
    assert {path.name for path in site.home.study("tiny").root.iterdir()} <= {"lock"}


def test_a_study_that_could_not_begin_takes_no_other_studys_place(site: Site) -> None:
    first = site.run()
    with pytest.raises(ConfigError, match="nowhere"):
        site.run(recipe(3, epochs=5, warm_start={"study": "nowhere"}))

    again = site.run(recipe(4))

    assert again.parent_run_id == first.parent_run_id
    assert again.counts == Counts(complete=4)


def test_a_server_that_lost_its_data_is_said_to_have(site: Site) -> None:
    site.run()
    site.tracker.runs.clear()

    site.run(recipe(5))

    assert len(site.tracker.runs) == 6
