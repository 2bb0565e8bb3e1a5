"""The controller on scripted workers: exact budgets, lost workers, interruptions, and studies that go on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import SweepConfig, TrainingConfig
from pipelines.executors.base import Executor
from pipelines.executors.inline import InlineExecutor
from pipelines.history import RunHistory, read_runs
from pipelines.home import StudyFolder
from pipelines.pictures import loss_curve
from pipelines.records import EpochEnded, Stop, TrialResult, TrialSpec, TrialState
from pipelines.study import Counts, Study
from pipelines.sweep import Outcome, Sweep, all_tried
from pipelines.tracking.entries import Logged, RunBegun
from pipelines.tracking.journal import Journal, read_all
from tests.pipelines.scripted import (
    RATE,
    Lost,
    Script,
    ScriptedExecutor,
    Talk,
    as_worker,
    by_trial,
    dies,
    epoch,
    prepared,
    raises,
    recipe,
    started,
    trains,
    val_losses,
)

UID = "uid"
PICTURE = b"\x89PNG"


class Follower:
    """A watcher that writes down what it sees."""

    def __init__(self) -> None:
        self.wanted = 0
        self.counts: list[Counts] = []
        self.results: list[TrialResult] = []
        self.losses: list[tuple[int | None, bool]] = []
        self.epochs = 0

    def began(self, workers: int, wanted: int, counts: Counts) -> None:
        self.wanted = wanted
        self.counts.append(counts)

    def working(self, worker: int, spec: TrialSpec, params: Mapping[str, Any]) -> None:
        pass

    def epoch(self, worker: int, event: EpochEnded) -> None:
        self.epochs += 1

    def ended(self, result: TrialResult, counts: Counts) -> None:
        self.results.append(result)
        self.counts.append(counts)

    def lost(self, worker: int, reason: str, trial: int | None, again: bool) -> None:
        self.losses.append((trial, again))


class Site:
    """A study's folder, in which one controller after another may work."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = StudyFolder(root / "studies" / "tiny")
        self.follower = Follower()
        self.assigned: list[TrialSpec] = []
        self.last_trials = 0

    def sweep(self, config: SweepConfig, script: Script = trains, workers: int = 1) -> Outcome:
        executor = ScriptedExecutor(script, workers)
        self.assigned = executor.assigned
        return self.sweep_on(config, executor, workers)

    def sweep_on(self, config: SweepConfig, executor: Executor, workers: int) -> Outcome:
        self.follower = Follower()
        with closing(Study(config, self.folder.storage)) as study, closing(Journal(self.folder.journal)) as journal:
            sweep = Sweep(
                config,
                study=study,
                data=prepared(self.root),
                executor=executor,
                journal=journal,
                folder=self.folder,
                uid=UID,
                tags={"regatta.study_uid": UID},
                earlier=self.runs(),
                watcher=self.follower,
                on_last_trials=self._note_last_trials,
            )
            executor.start(sweep)
            return sweep.run(workers)

    def _note_last_trials(self) -> None:
        self.last_trials += 1

    def runs(self) -> dict[str, RunHistory]:
        return read_runs(read_all(self.folder.journal))

    def states(self) -> list[str]:
        return [run.tags["regatta.state"] for run in self.runs().values()]

    def counts(self) -> Counts:
        with closing(Study(recipe(), self.folder.storage)) as study:
            return study.counts()

    def copied_to(self, root: Path) -> Site:
        """This site as it is on the disk now: what a controller that is killed this moment leaves."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("*-shm"))
        return Site(root)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A study's folder. Pictures are none: they cost more than all the rest of a scripted sweep."""
    monkeypatch.setattr("pipelines.sweep.loss_curve", lambda curves, *, title, best_epoch: PICTURE)
    return Site(tmp_path / "home")


def assert_each_epoch_once(site: Site) -> None:
    """No point is missing and none is double, in the record as in the study."""
    points: dict[str, list[int]] = {}
    for entry in read_all(site.folder.journal):
        if isinstance(entry, Logged) and "val_loss" in entry.metrics:
            points.setdefault(entry.uid, []).append(entry.step)
    for run in site.runs().values():
        assert points.get(run.uid, []) == list(range(len(points.get(run.uid, [])))), run.uid
        if run.tags["regatta.state"] == "COMPLETE":
            assert len(points[run.uid]) == 4, run.uid


def assert_exactly(site: Site, trials: int, **others: int) -> None:
    """The study and the record agree: so many complete trials, and as many others as are named."""
    assert site.counts() == Counts(complete=trials, **others)
    states = site.states()
    assert states.count("COMPLETE") == trials
    assert len(states) == trials + sum(others.values())
    assert {run.status for run in site.runs().values()} <= {"FINISHED", "FAILED"}
    assert_each_epoch_once(site)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_budget_of_24_trials_makes_exactly_24(site: Site, workers: int) -> None:
    outcome = site.sweep(recipe(24), workers=workers)

    assert outcome == Outcome(Counts(complete=24), interrupted=False, too_many_failures=False)
    assert [spec.number for spec in site.assigned] == list(range(24))
    assert_exactly(site, 24)


def test_more_workers_than_trials_make_no_more_trials(site: Site) -> None:
    site.sweep(recipe(3), workers=8)

    assert len(site.assigned) == 3
    assert_exactly(site, 3)


def test_a_sweep_in_this_process_is_the_same_sweep(site: Site, tmp_path: Path) -> None:
    site.sweep_on(recipe(5), InlineExecutor(lambda: as_worker(trains)), 1)
    other = Site(tmp_path / "other")
    other.sweep(recipe(5))

    assert_exactly(site, 5)
    assert [run.tags["regatta.sampled"] for run in site.runs().values()] == [
        run.tags["regatta.sampled"] for run in other.runs().values()
    ]


def test_trial_n_trains_the_base_config_with_what_was_drawn_and_the_seed_plus_n(site: Site) -> None:
    site.sweep(recipe(4))

    for number, spec in enumerate(site.assigned):
        config = TrainingConfig.model_validate(spec.config)
        assert config.seed == 100 + number
        assert config.epochs == 4
        assert (spec.number, spec.attempt, spec.objective, spec.direction) == (number, 1, "val_loss", "minimize")
    assert len({spec.config["optimizer"]["learning_rate"] for spec in site.assigned}) == 4
    assert len({spec.folder for spec in site.assigned}) == 4


def test_every_trial_is_a_child_of_the_sweep_with_its_tags(site: Site) -> None:
    site.sweep(recipe(2))

    begun = [entry for entry in read_all(site.folder.journal) if isinstance(entry, RunBegun)]
    assert [(entry.uid, entry.parent, entry.experiment, entry.name) for entry in begun] == [
        ("uid-00000", UID, "tiny", "trial-000"),
        ("uid-00001", UID, "tiny", "trial-001"),
    ]
    assert {entry.tags["regatta.study_uid"] for entry in begun} == {UID}


def test_every_trial_with_an_epoch_has_a_picture_of_its_curves(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sweep.loss_curve", loss_curve)
    site.sweep(recipe(3), by_trial({1: raises}))

    drawn = {run.uid for run in site.runs().values() if any(path.endswith(".png") for path in run.files)}
    assert drawn == {"uid-00000", "uid-00002", "uid-00003"}
    picture = (site.folder.trial(2, 1) / "loss_curve.png").read_bytes()
    assert picture.startswith(PICTURE)
    assert len(picture) > 1000


def test_a_picture_that_cannot_be_drawn_costs_no_trial(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_font(*arguments: Any, **more: Any) -> bytes:
        raise RuntimeError("no font")

    monkeypatch.setattr("pipelines.sweep.loss_curve", no_font)

    site.sweep(recipe(3))

    assert_exactly(site, 3)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_trial_that_raises_fails_alone_and_is_replaced(site: Site, workers: int) -> None:
    outcome = site.sweep(recipe(10), by_trial({3: raises, 8: raises}), workers)

    assert outcome == Outcome(Counts(complete=10, failed=2), interrupted=False, too_many_failures=False)
    assert_exactly(site, 10, failed=2)
    assert site.runs()["uid-00003"].tags["regatta.reason"] == "ValueError: no such layer"


@pytest.mark.parametrize(("allowed", "workers"), [(0, 1), (3, 1), (3, 2)])
def test_more_failures_than_the_budget_allows_end_the_sweep(site: Site, allowed: int, workers: int) -> None:
    config = recipe(24, budget={"trials": 24, "failed_trials": allowed})

    outcome = site.sweep(config, raises, workers)

    assert outcome.too_many_failures
    assert not outcome.interrupted
    assert allowed < outcome.counts.failed <= allowed + workers
    assert outcome.counts.complete == 0


def test_failures_of_an_earlier_start_do_not_keep_a_mended_study_from_going_on(site: Site) -> None:
    config = recipe(4, budget={"trials": 4, "failed_trials": 1})
    assert site.sweep(config, raises).too_many_failures

    again = site.sweep(config)

    assert again == Outcome(Counts(complete=4, failed=2), interrupted=False, too_many_failures=False)


def test_as_many_failures_as_the_budget_allows_do_not_end_it(site: Site) -> None:
    config = recipe(4, budget={"trials": 4, "failed_trials": 2})

    outcome = site.sweep(config, by_trial({0: raises, 1: raises}))

    assert outcome == Outcome(Counts(complete=4, failed=2), interrupted=False, too_many_failures=False)


def test_a_config_that_is_not_valid_fails_its_trial_alone(site: Site) -> None:
    config = recipe(5, search_space={"batch_size": [0, 8]}, budget={"trials": 5, "failed_trials": 50})

    outcome = site.sweep(config)

    assert outcome.counts.complete == 5
    assert outcome.counts.failed > 0
    assert len(site.assigned) == 5
    failed = [run for run in site.runs().values() if run.tags["regatta.state"] == "FAILED"]
    assert all("not a valid training config" in run.tags["regatta.reason"] for run in failed)
    assert all(run.status == "FAILED" for run in failed)


def test_a_lost_workers_trial_is_tried_again_once_and_logs_each_epoch_once(site: Site) -> None:
    outcome = site.sweep(recipe(4), by_trial({(1, 1): dies}))

    assert outcome.counts == Counts(complete=4)
    assert [(spec.number, spec.attempt) for spec in site.assigned] == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1)]
    assert site.assigned[1].config == site.assigned[2].config
    assert site.follower.losses == [(1, True)]
    assert site.runs()["uid-00001"].tags["regatta.attempt"] == "2"
    assert "SIGKILL" in site.runs()["uid-00001"].tags["regatta.lost.1"]
    assert_exactly(site, 4)


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_trial_whose_workers_are_lost_too_often_is_given_up_and_replaced(site: Site, retries: int) -> None:
    config = recipe(3, execution={"executor": "inline", "retries": retries})

    outcome = site.sweep(config, by_trial({0: dies}), workers=2)

    assert outcome.counts == Counts(complete=3, failed=1)
    assert [spec.attempt for spec in site.assigned if spec.number == 0] == list(range(1, retries + 2))
    assert site.follower.losses == [(0, True)] * retries + [(0, False)]
    assert site.runs()["uid-00000"].tags["regatta.reason"].startswith("worker lost: ")
    assert_exactly(site, 3, failed=1)


def test_an_idle_worker_that_is_lost_costs_no_trial_and_gets_none(site: Site) -> None:
    class Fragile(ScriptedExecutor):
        """Its second worker dies after it was reported idle, before it was given anything."""

        def wait(self, timeout_s: float) -> None:
            super().wait(timeout_s)
            if not self.assigned and self._handler is not None:
                self._handler.on_lost(1, "its process was ended by SIGSEGV")
                self._fresh.append(1)

    executor = Fragile(trains, 2)

    outcome = site.sweep_on(recipe(4), executor, 2)

    assert outcome.counts == Counts(complete=4)
    assert site.follower.losses == [(None, False)]


def test_the_pruner_stops_the_trial_that_is_worse_and_no_other(site: Site) -> None:
    config = recipe(8, pruner={"name": "median", "n_startup_trials": 2, "n_warmup_steps": 1})

    def bad_or_good(spec: TrialSpec) -> Talk:
        return trains(spec, [9.0] * 4 if spec.number in {4, 5} else [0.9, 0.5, 0.4, 0.3])

    outcome = site.sweep(config, bad_or_good, workers=2)
    runs = site.runs()

    assert outcome.counts == Counts(complete=6, pruned=2)
    pruned = [run for run in runs.values() if run.tags["regatta.state"] == "PRUNED"]
    assert [run.number for run in pruned] == [4, 5]
    assert [len(run.curves["val_loss"]) for run in pruned] == [2, 2]
    assert {run.status for run in pruned} == {"FINISHED"}
    assert_each_epoch_once(site)


def test_a_worker_that_speaks_of_a_trial_it_does_not_have_is_told_to_stop_that_one(site: Site) -> None:
    answers: list[Any] = []

    def confused(spec: TrialSpec) -> Talk:
        other = TrialSpec(**{**vars(spec), "number": 77})
        answers.append((yield epoch(other, 0, 0.1)))
        yield from trains(spec)

    site.sweep(recipe(1), confused)

    assert answers == [Stop(77, 1)]
    assert_exactly(site, 1)


def test_a_word_of_an_older_attempt_changes_nothing(site: Site) -> None:
    def echo(spec: TrialSpec) -> Talk:
        first = TrialSpec(**{**vars(spec), "attempt": 1})
        answer = yield epoch(first, 0, 0.0)
        assert answer == Stop(spec.number, 1)
        yield from trains(spec)

    site.sweep(recipe(1), by_trial({(0, 1): dies, (0, 2): echo}))

    assert_exactly(site, 1)
    assert site.follower.results[0].value == pytest.approx(min(val_losses(site.assigned[0])))


def test_the_last_trials_are_announced_when_a_worker_has_nothing_left_to_do(site: Site) -> None:
    site.sweep(recipe(3), workers=2)

    assert site.last_trials > 0


def interrupts(at_epoch: int, number: signal.Signals = signal.SIGINT) -> Script:
    """A training during which somebody presses Ctrl-C, and which goes on as if nothing were."""

    def talk(spec: TrialSpec) -> Talk:
        yield started(spec)
        for each, value in enumerate(val_losses(spec)):
            if each == at_epoch:
                signal.raise_signal(number)
            yield epoch(spec, each, value)
        yield from ()

    return talk


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGINT), (3, signal.SIGINT), (1, signal.SIGTERM)])
def test_an_interrupted_sweep_closes_its_runs_and_the_next_one_makes_exactly_24(
    site: Site, number: signal.Signals, workers: int
) -> None:
    outcome = site.sweep(recipe(24), by_trial({7: interrupts(2, number)}), workers)

    assert outcome.interrupted
    assert outcome.counts.complete < 24
    killed = [run for run in site.runs().values() if run.status == "KILLED"]
    assert "uid-00007" in {run.uid for run in killed}
    assert {run.status for run in site.runs().values()} == {"FINISHED", "KILLED"}
    assert all("resumes with the same command" in run.tags["regatta.reason"] for run in killed)
    assert site.counts().running == len(killed)

    again = site.sweep(recipe(24), workers=workers)

    assert again == Outcome(Counts(complete=24), interrupted=False, too_many_failures=False)
    assert_exactly(site, 24)
    taken_up = {spec.number: spec.attempt for spec in site.assigned[: len(killed)]}
    assert taken_up == {run.number: 2 for run in killed}
    assert site.runs()["uid-00007"].as_trial("val_loss", None).reason is None


def test_a_trial_that_waits_for_its_second_attempt_is_closed_and_taken_up_too(site: Site) -> None:
    def dies_at_an_interrupt(spec: TrialSpec) -> Talk:
        yield started(spec)
        yield epoch(spec, 0, val_losses(spec)[0])
        signal.raise_signal(signal.SIGINT)
        yield Lost()

    site.sweep(recipe(2), by_trial({(0, 1): dies_at_an_interrupt}))
    assert site.runs()["uid-00000"].status == "KILLED"

    site.sweep(recipe(2))

    assert_exactly(site, 2)


def test_an_interruption_costs_a_trial_none_of_its_retries(site: Site) -> None:
    def loses_its_worker(spec: TrialSpec) -> Talk:
        yield started(spec)
        yield Lost()

    site.sweep(recipe(2), by_trial({(0, 1): interrupts(1)}))
    site.sweep(recipe(2), by_trial({(0, 2): loses_its_worker}))

    assert [spec.attempt for spec in site.assigned if spec.number == 0] == [2, 3]
    assert_exactly(site, 2)


def test_handlers_of_signals_are_as_before_after_a_sweep(site: Site) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    site.sweep(recipe(3), by_trial({1: interrupts(1)}))

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_ends_the_sweep_at_once(site: Site) -> None:
    def twice(spec: TrialSpec) -> Talk:
        yield started(spec)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        site.sweep(recipe(3), twice)

    site.sweep(recipe(3))
    assert_exactly(site, 3)


def test_workers_that_cannot_be_had_any_more_end_the_sweep_and_leave_no_run_open(site: Site) -> None:
    class Broken(ScriptedExecutor):
        def wait(self, timeout_s: float) -> None:
            if len(self.assigned) >= 3:
                raise RuntimeError("worker 0 died 3 times before it was ready")
            super().wait(timeout_s)

    with pytest.raises(RuntimeError, match="died 3 times"):
        site.sweep_on(recipe(6), Broken(trains, 2), 2)

    assert "RUNNING" not in {run.status for run in site.runs().values()}
    site.sweep(recipe(6))
    assert_exactly(site, 6)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("at_epoch", [0, 2, 3])
def test_a_controller_that_is_killed_is_followed_by_one_that_makes_exactly_8(
    site: Site, tmp_path: Path, workers: int, at_epoch: int
) -> None:
    left: list[Site] = []

    def last_words(spec: TrialSpec) -> Talk:
        yield started(spec)
        for number, value in enumerate(val_losses(spec)):
            if number == at_epoch:
                left.append(site.copied_to(tmp_path / "left"))
            yield epoch(spec, number, value)

    site.sweep(recipe(8), by_trial({4: last_words}), workers)
    after = left[0]
    assert "RUNNING" in {run.status for run in after.runs().values()}

    outcome = after.sweep(recipe(8), workers=workers)

    assert outcome.counts == Counts(complete=8)
    assert_exactly(after, 8)


def test_a_controller_that_dies_between_the_record_and_the_study_is_followed_by_one_that_agrees(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Site] = []
    tell = Study.tell

    def die_before_telling(study: Study, number: int, state: TrialState, value: float | None) -> None:
        if number == 2 and not left:
            left.append(site.copied_to(tmp_path / "left"))
        tell(study, number, state, value)

    monkeypatch.setattr(Study, "tell", die_before_telling)
    site.sweep(recipe(6))
    monkeypatch.undo()

    left[0].sweep(recipe(6))

    assert_exactly(left[0], 6)


def test_a_study_goes_on_with_a_larger_budget_and_rests_on_a_smaller_one(site: Site) -> None:
    site.sweep(recipe(4))
    site.sweep(recipe(7), workers=2)
    assert_exactly(site, 7)

    outcome = site.sweep(recipe(5))

    assert site.assigned == []
    assert outcome.counts == Counts(complete=7)


def test_trials_of_a_study_that_goes_on_are_new_ones(site: Site) -> None:
    drawn: list[float] = []
    for trials in (3, 6, 9):
        site.sweep(recipe(trials))
        drawn += [spec.config["optimizer"]["learning_rate"] for spec in site.assigned]

    assert len(set(drawn)) == 9
    assert {run.tags["regatta.sampled"].count(RATE) for run in site.runs().values()} == {1}


SIX = {"model.activation": ["sigmoid", "tanh", "relu"], "model.kernel_initializer": ["glorot_uniform", "he_normal"]}


def six(trials: int = 20, sampler: str = "grid", failed_trials: int = 8) -> SweepConfig:
    """A recipe of six combinations."""
    budget = {"trials": trials, "failed_trials": failed_trials}
    return recipe(trials, search_space=SIX, sampler=sampler, budget=budget)


def tried(site: Site) -> list[str]:
    """What the trials that have a result were sampled as, each with the state it came to."""
    return sorted(run.tags["regatta.sampled"] for run in site.runs().values() if run.tags["regatta.state"] != "FAILED")


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_a_sweep_ends_when_every_combination_is_tried(site: Site, sampler: str, workers: int) -> None:
    outcome = site.sweep(six(sampler=sampler), workers=workers)

    assert outcome == Outcome(Counts(complete=6), interrupted=False, too_many_failures=False, combinations=6)
    assert len(set(tried(site))) == 6
    assert site.follower.wanted == 6
    assert workers < 8 or site.last_trials > 0
    assert_exactly(site, 6)


@pytest.mark.parametrize(("trials", "combinations"), [(4, None), (6, 6)])
def test_a_budget_below_the_combinations_ends_the_sweep_as_ever(
    site: Site, trials: int, combinations: int | None
) -> None:
    outcome = site.sweep(six(trials), workers=2)

    assert outcome == Outcome(Counts(complete=trials), False, False, combinations)
    assert site.follower.wanted == trials


def test_pruned_trials_are_tried_ones(site: Site) -> None:
    config = recipe(search_space=SIX, sampler="grid", pruner={"name": "threshold", "upper": 5.0})
    outcome = site.sweep(config, by_trial({2: lambda spec: trains(spec, [9.0] * 4)}))

    assert outcome == Outcome(Counts(complete=5, pruned=1), False, False, 6)
    assert len(set(tried(site))) == 6


@pytest.mark.parametrize("workers", [1, 3])
def test_a_combination_whose_trial_failed_is_tried_again(site: Site, workers: int) -> None:
    outcome = site.sweep(six(), by_trial({1: raises, 5: raises}), workers)

    assert outcome == Outcome(Counts(complete=6, failed=2), False, False, 6)
    assert len(set(tried(site))) == 6
    assert_exactly(site, 6, failed=2)


def test_a_combination_that_fails_over_and_over_ends_the_sweep_as_too_many_failures_do(site: Site) -> None:
    def without_tanh(spec: TrialSpec) -> Talk:
        return raises(spec) if spec.config["model"]["activation"] == "tanh" else trains(spec)

    outcome = site.sweep(six(failed_trials=5), without_tanh)
    assert outcome == Outcome(Counts(complete=4, failed=6), False, True)

    mended = site.sweep(six(failed_trials=5))
    assert mended == Outcome(Counts(complete=6, failed=6), False, False, 6)
    assert len(set(tried(site))) == 6


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_an_interrupted_grid_goes_on_with_what_is_left(site: Site, workers: int) -> None:
    outcome = site.sweep(six(), by_trial({2: interrupts(1)}), workers)
    assert outcome.interrupted
    assert outcome.combinations is None

    again = site.sweep(six(), workers=workers)

    assert again == Outcome(Counts(complete=6), False, False, 6)
    assert len(set(tried(site))) == 6
    assert_exactly(site, 6)


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("at_trial", [0, 3, 5])
def test_a_controller_that_is_killed_is_followed_by_one_that_tries_the_rest(
    site: Site, tmp_path: Path, sampler: str, workers: int, at_trial: int
) -> None:
    left: list[Site] = []

    def last_words(spec: TrialSpec) -> Talk:
        left.append(site.copied_to(tmp_path / "left"))
        yield from trains(spec)

    site.sweep(six(sampler=sampler), by_trial({at_trial: last_words}), workers)
    outcome = left[0].sweep(six(sampler=sampler), workers=workers)

    assert outcome == Outcome(Counts(complete=6), False, False, 6)
    assert tried(left[0]) == tried(site)
    assert_exactly(left[0], 6)


def test_a_sweep_in_which_everything_is_tried_rests(site: Site) -> None:
    site.sweep(six())

    outcome = site.sweep(six(30))

    assert site.assigned == []
    assert outcome == Outcome(Counts(complete=6), False, False, 6)


@pytest.mark.parametrize(
    ("combinations", "sentence"), [(1, "the only combination is tried"), (6, "all 6 combinations are tried")]
)
def test_the_summary_says_that_everything_is_tried(combinations: int, sentence: str) -> None:
    assert all_tried(combinations) == sentence


def test_pictures_that_an_earlier_controller_did_not_come_to_are_drawn_by_the_next(site: Site) -> None:
    def entries() -> list[bytes]:
        return [line for line in site.folder.journal.read_bytes().splitlines(keepends=True) if b".png" not in line]

    site.sweep(recipe(2))
    site.folder.journal.write_bytes(b"".join(entries()))
    for path in site.folder.root.rglob("*.png"):
        path.unlink()

    site.sweep(recipe(2))

    assert all((site.folder.trial(number, 1) / "loss_curve.png").is_file() for number in range(2))
    assert {run.status for run in site.runs().values()} == {"FINISHED"}
