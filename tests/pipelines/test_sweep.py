"""The controller on scripted workers: exact budgets, lost workers, interruptions, and studies that go on."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.controller.budgets import Ending, Meter, spent_before
from pipelines.controller.failures import Remedy
from pipelines.executors.base import Desk, Executor, Loss, LossKind, Worker
from pipelines.executors.inline import InlineExecutor
from pipelines.history import RunHistory, read_runs, wall_seconds
from pipelines.home import StudyFolder
from pipelines.pictures import loss_curve
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.records import EpochEnded, Failure, Started, Stepped, Stop, TrialResult, TrialSpec
from pipelines.study import Counts, Study
from pipelines.sweep import Outcome, Sweep
from pipelines.tracking.entries import Logged, RunBegun
from pipelines.tracking.journal import Journal, read_all
from tests.pipelines.scripted import (
    RATE,
    Lost,
    Script,
    ScriptedExecutor,
    Silence,
    Talk,
    Word,
    as_worker,
    by_trial,
    checkpoint,
    dies,
    ended,
    epoch,
    prepared,
    raises,
    recipe,
    started,
    trains,
    val_losses,
)

UID = "uid"
PICTURE = b"<svg "


class Follower:
    """A watcher that writes down what it sees."""

    def __init__(self) -> None:
        self.wanted = 0
        self.counts: list[Counts] = []
        self.results: list[TrialResult] = []
        self.losses: list[tuple[int | None, Remedy | None]] = []
        self.texts: list[str] = []
        self.endings: list[Ending] = []
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

    def trouble(self, worker: int, text: str, remedies: Mapping[int, Remedy]) -> None:
        self.losses.extend(remedies.items() if remedies else [(None, None)])
        self.texts.append(text)

    def ending(self, ending: Ending) -> None:
        self.endings.append(ending)


class Site:
    """A study's folder, in which one controller after another may work."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = StudyFolder(root / "studies" / "tiny")
        self.follower = Follower()
        self.assigned: list[TrialSpec] = []
        self.last_trials = 0

    def sweep(
        self, config: SweepConfig, script: Script = trains, workers: int = 1, places: int = 1, **more: Any
    ) -> Outcome:
        executor = ScriptedExecutor(script, workers, places)
        self.assigned = executor.assigned
        return self.sweep_on(config, executor, workers, **more)

    def sweep_on(
        self,
        config: SweepConfig,
        executor: Executor,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
        most: int | None = None,
    ) -> Outcome:
        self.follower = Follower()
        entries = list(read_all(self.folder.journal))
        earlier = read_runs(entries)
        with closing(Study(config, self.folder.storage)) as study, closing(Journal(self.folder.journal)) as journal:
            sweep = Sweep(
                config,
                study=study,
                data=prepared(self.root).folder,
                executor=executor,
                journal=journal,
                folder=self.folder,
                uid=UID,
                tags={"regatta.study_uid": UID},
                earlier=earlier,
                meter=Meter(
                    config.budget,
                    config.objective.sense,
                    study.counts(),
                    spent_before(earlier.values(), wall_seconds(entries, UID), config.objective.metric),
                    combinations=study.combinations,
                    clock=clock,
                ),
                watcher=self.follower,
                on_last_trials=self._note_last_trials,
                clock=clock,
            )
            executor.start(sweep)
            return sweep.run(workers, most)

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
    """A study's folder. Pictures are none."""
    monkeypatch.setattr("pipelines.controller.painting.loss_curve", lambda curves, *, title, best_epoch: PICTURE)
    return Site(tmp_path / "home")


def over(outcome: Outcome) -> tuple[str, Counts]:
    """What ended a sweep, and what it came to."""
    return outcome.ending.by, outcome.counts


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

    assert over(outcome) == ("trials", Counts(complete=24))
    assert [spec.number for spec in site.assigned] == list(range(24))
    assert_exactly(site, 24)


def test_more_workers_than_trials_make_no_more_trials(site: Site) -> None:
    site.sweep(recipe(3), workers=8)

    assert len(site.assigned) == 3
    assert_exactly(site, 3)


@pytest.mark.parametrize(("workers", "places"), [(1, 4), (1, 64), (2, 7), (3, 16)])
def test_workers_that_train_many_at_once_make_exactly_24(site: Site, workers: int, places: int) -> None:
    executor = ScriptedExecutor(by_trial({5: raises}), workers, places)

    outcome = site.sweep_on(recipe(24), executor, workers)

    assert over(outcome) == ("trials", Counts(complete=24, failed=1))
    assert [spec.number for spec in executor.assigned] == list(range(25))
    assert executor.most == min(24, workers * places)
    assert_exactly(site, 24, failed=1)


@pytest.mark.parametrize("most", [1, 5])
def test_no_more_trials_are_under_way_than_may_be(site: Site, most: int) -> None:
    executor = ScriptedExecutor(trains, 2, 8)

    site.sweep_on(recipe(24), executor, 2, most=most)

    assert executor.most == most
    assert_exactly(site, 24)


def test_trials_are_spread_over_workers_that_have_room(site: Site) -> None:
    beside: dict[int, int] = {}

    def counts(spec: TrialSpec) -> Talk:
        for worker, _ in executor._talks:
            beside[worker] = max(beside.get(worker, 0), sum(other == worker for other, _ in executor._talks))
        yield from trains(spec)

    executor = ScriptedExecutor(counts, 3, 16)
    site.sweep_on(recipe(12), executor, 3)

    assert beside == {0: 4, 1: 4, 2: 4}


class Unheard(ScriptedExecutor):
    """Notes how many trials were under way without an ended epoch, at each trial that was handed out."""

    def __init__(self, places: int) -> None:
        self.silent: set[int] = set()
        self.noted: list[int] = []
        super().__init__(self._speaks, 1, places)

    def assign(self, worker: int, task: TrialSpec) -> None:
        self.silent.add(task.number)
        self.noted.append(len(self.silent))
        super().assign(worker, task)

    def _speaks(self, spec: TrialSpec) -> Talk:
        talk = trains(spec)
        word = next(talk)
        with suppress(StopIteration):
            while True:
                if isinstance(word, EpochEnded):
                    self.silent.discard(spec.number)
                word = talk.send((yield word))


def test_where_a_sampler_learns_trials_in_lanes_begin_in_turns_that_grow(site: Site) -> None:
    executor = Unheard(32)

    site.sweep_on(recipe(96, sampler="tpe"), executor, 1, Clock(), most=32)  # a slow machine draws in several goes

    assert executor.noted[:17] == [*range(1, 17), 1]  # the next one is drawn when the others have ended an epoch
    assert max(executor.noted[:32]) == 16
    assert executor.most == 32  # all lanes are in use some epochs later
    assert_exactly(site, 96)


@pytest.mark.parametrize(("sampler", "most"), [("random", 32), ("tpe", None)])
def test_trials_that_nothing_is_learnt_for_begin_at_once(site: Site, sampler: str, most: int | None) -> None:
    executor = Unheard(32)

    site.sweep_on(recipe(40, sampler=sampler), executor, 1, Clock(), most=most)

    assert max(executor.noted) == 32
    assert_exactly(site, 40)


def test_a_sampler_that_takes_its_time_over_many_trials_keeps_nobody_unheard(site: Site) -> None:
    clock = Clock()
    heard: list[int] = []

    class Slow(ScriptedExecutor):
        def wait(self, timeout_s: float) -> None:
            heard.append(len(self.assigned))
            super().wait(timeout_s)

        def assign(self, worker: int, task: TrialSpec) -> None:
            clock.now += 0.03
            super().assign(worker, task)

    site.sweep_on(recipe(16), Slow(trains, 1, 16), 1, clock)

    assert heard[:5] == [0, 2, 4, 6, 8]
    assert_exactly(site, 16)


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
    monkeypatch.setattr("pipelines.controller.painting.loss_curve", loss_curve)
    site.sweep(recipe(3), by_trial({1: raises}))

    drawn = {run.uid for run in site.runs().values() if any(path.endswith(".svg") for path in run.files)}
    assert drawn == {"uid-00000", "uid-00002", "uid-00003"}
    picture = (site.folder.trial(2, 1) / "loss_curve.svg").read_bytes()
    assert picture.startswith(PICTURE)
    assert len(picture) > 1000


def test_a_study_whose_pictures_were_drawn_in_another_form_keeps_them(site: Site) -> None:
    site.sweep(recipe(2))
    site.folder.journal.write_bytes(site.folder.journal.read_bytes().replace(b"curve.svg", b"curve.png"))

    site.sweep(recipe(3))

    kinds = [Path(path).suffix for run in site.runs().values() for path in run.files if "loss_curve" in path]
    assert sorted(kinds) == [".png", ".png", ".svg"]


def test_a_picture_that_cannot_be_drawn_costs_no_trial(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_font(*arguments: Any, **more: Any) -> bytes:
        raise RuntimeError("no font")

    monkeypatch.setattr("pipelines.controller.painting.loss_curve", no_font)

    site.sweep(recipe(3))

    assert_exactly(site, 3)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_trial_that_raises_fails_alone_and_is_replaced(site: Site, workers: int) -> None:
    outcome = site.sweep(recipe(10), by_trial({3: raises, 8: raises}), workers)

    assert over(outcome) == ("trials", Counts(complete=10, failed=2))
    assert_exactly(site, 10, failed=2)
    assert site.runs()["uid-00003"].tags["regatta.reason"] == "ValueError: no such layer"


@pytest.mark.parametrize(("allowed", "workers"), [(0, 1), (3, 1), (3, 2)])
def test_more_failures_than_the_budget_allows_end_the_sweep(site: Site, allowed: int, workers: int) -> None:
    config = recipe(24, budget={"trials": 24, "failed_trials": allowed, "same_failures": 50})

    outcome = site.sweep(config, raises, workers)

    assert outcome.ending.by == "failed_trials"
    assert allowed < outcome.counts.failed <= allowed + workers
    assert outcome.counts.complete == 0


def test_failures_of_an_earlier_start_do_not_keep_a_mended_study_from_going_on(site: Site) -> None:
    config = recipe(4, budget={"trials": 4, "failed_trials": 1})
    assert site.sweep(config, raises).ending.by == "failed_trials"

    again = site.sweep(config)

    assert over(again) == ("trials", Counts(complete=4, failed=2))


def test_as_many_failures_as_the_budget_allows_do_not_end_it(site: Site) -> None:
    config = recipe(4, budget={"trials": 4, "failed_trials": 2})

    outcome = site.sweep(config, by_trial({0: raises, 1: raises}))

    assert over(outcome) == ("trials", Counts(complete=4, failed=2))


def test_a_config_that_is_not_valid_fails_its_trial_alone(site: Site) -> None:
    config = recipe(
        5, search_space={"batch_size": [0, 8]}, budget={"trials": 5, "failed_trials": 50, "same_failures": 50}
    )

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
    assert site.follower.losses == [(1, Remedy.AGAIN)]
    assert site.runs()["uid-00001"].tags["regatta.attempt"] == "2"
    assert "SIGKILL" in site.runs()["uid-00001"].tags["regatta.lost.1"]
    assert_exactly(site, 4)


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_trial_whose_workers_are_lost_too_often_is_given_up_and_replaced(site: Site, retries: int) -> None:
    config = recipe(3, execution={"executor": "inline", "retries": retries})

    outcome = site.sweep(config, by_trial({0: lambda spec: dies(spec, after=0)}), workers=2)

    assert outcome.counts == Counts(complete=3, failed=1)
    assert [spec.attempt for spec in site.assigned if spec.number == 0] == list(range(1, retries + 2))
    assert site.follower.losses == [(0, Remedy.AGAIN)] * retries + [(0, Remedy.FAIL)]
    assert site.runs()["uid-00000"].tags["regatta.reason"].startswith("worker lost: ")
    assert_exactly(site, 3, failed=1)


def test_a_lost_worker_loses_all_its_trials_and_no_other_worker_any(site: Site) -> None:
    outcome = site.sweep(recipe(12), by_trial({(3, 1): dies}), workers=2, places=3)

    assert over(outcome) == ("trials", Counts(complete=12))
    assert site.follower.losses == [(1, Remedy.AGAIN), (3, Remedy.AGAIN), (5, Remedy.AGAIN)]
    assert len(site.follower.texts) == 1
    again = {spec.number for spec in site.assigned if spec.attempt == 2}
    assert again == {1, 3, 5}
    assert_exactly(site, 12)


@pytest.mark.parametrize("at_epoch", [0, 1])
def test_a_trial_that_takes_its_neighbours_down_with_it_fails_alone(site: Site, at_epoch: int) -> None:
    culprit = by_trial({2: lambda spec: dies(spec, after=at_epoch)})

    outcome = site.sweep(recipe(8), culprit, places=4)

    assert over(outcome) == ("trials", Counts(complete=8, failed=1))
    assert site.runs()["uid-00002"].tags["regatta.failure"] == "lost_worker"
    assert_exactly(site, 8, failed=1)
    tried_alone = [spec for spec in site.assigned if spec.alone]
    assert {spec.number for spec in tried_alone} >= {2}
    assert all(spec.attempt > 1 for spec in tried_alone)


def test_trials_whose_program_breaks_again_and_again_are_tried_without_one(site: Site) -> None:
    def breaks_among_others(spec: TrialSpec) -> Talk:
        if spec.alone:
            yield from trains(spec)
            return
        yield started(spec)
        yield ended(spec, error="InternalError: the program broke", failure=Failure.LOST)

    outcome = site.sweep(recipe(3), breaks_among_others, places=3)

    assert over(outcome) == ("trials", Counts(complete=3))
    assert sorted((spec.number, spec.attempt, spec.alone) for spec in site.assigned) == [
        (number, attempt, attempt == 3) for number in range(3) for attempt in (1, 2, 3)
    ]
    assert_exactly(site, 3)


def test_the_time_of_a_lost_worker_is_shared_by_the_trials_it_had(site: Site) -> None:
    clock = Clock()

    def slow_death(spec: TrialSpec) -> Talk:
        yield started(spec)
        clock.now += 30.0
        yield Lost()

    site.sweep(
        recipe(3, execution={"executor": "inline", "retries": 0}), by_trial({1: slow_death}), places=3, clock=clock
    )

    assert site.runs()["uid-00001"].summary["seconds"] == 10.0 + 30.0  # and then alone
    assert [site.runs()[f"uid-0000{number}"].summary["seconds"] for number in (0, 2)] == [11.5, 11.5]


def test_a_device_that_breaks_costs_a_trial_no_attempt_of_its_own(site: Site) -> None:
    lost = iter([LossKind.DIED, LossKind.DEVICE, LossKind.DEVICE])

    def on_broken_devices(spec: TrialSpec) -> Talk:
        yield started(spec)
        kind = next(lost, None)
        if kind is not None:
            yield Lost("the device GPU-a is taken out of the rotation", kind)
        yield from trains(spec)

    outcome = site.sweep(recipe(1, execution={"executor": "inline", "retries": 1}), on_broken_devices)

    assert over(outcome) == ("trials", Counts(complete=1))
    assert [(spec.number, spec.attempt) for spec in site.assigned] == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_an_idle_worker_that_is_lost_costs_no_trial_and_gets_none(site: Site) -> None:
    class Fragile(ScriptedExecutor):
        """Its second worker dies after it was reported idle, before it was given anything."""

        def wait(self, timeout_s: float) -> None:
            super().wait(timeout_s)
            if not self.assigned and self._handler is not None:
                self._handler.on_lost(1, Loss("its process was ended by SIGSEGV"))
                self._fresh.append(1)

    executor = Fragile(trains, 2)

    outcome = site.sweep_on(recipe(4), executor, 2)

    assert outcome.counts == Counts(complete=4)
    assert site.follower.losses == [(None, None)]


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


def test_the_pruner_stops_the_trial_that_is_worse_and_none_beside_it(site: Site) -> None:
    config = recipe(12, pruner={"name": "median", "n_startup_trials": 4, "n_warmup_steps": 1})

    def bad_or_good(spec: TrialSpec) -> Talk:
        return trains(spec, [9.0] * 4 if spec.number in {5, 6, 9} else [0.9, 0.5, 0.4, 0.3])

    outcome = site.sweep(config, bad_or_good, places=4)

    assert outcome.counts == Counts(complete=9, pruned=3)
    pruned = [run.number for run in site.runs().values() if run.tags["regatta.state"] == "PRUNED"]
    assert pruned == [5, 6, 9]
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
    """A training during which somebody presses Ctrl-C, and which pauses when it is told to."""

    def talk(spec: TrialSpec) -> Talk:
        yield started(spec)
        for each, value in enumerate(val_losses(spec)):
            if each == at_epoch:
                signal.raise_signal(number)
            answer = yield epoch(spec, each, value)
            if isinstance(answer, Stop):
                assert answer == Stop(spec.number, spec.attempt, pause=True)
                yield ended(spec, paused=True)
                return

    return talk


@pytest.mark.parametrize(
    ("workers", "places", "number"),
    [
        (1, 1, signal.SIGINT),
        (3, 1, signal.SIGINT),
        (1, 1, signal.SIGTERM),
        (1, 8, signal.SIGINT),
        (2, 8, signal.SIGINT),
    ],
)
def test_an_interrupted_sweep_closes_its_runs_and_the_next_one_makes_exactly_24(
    site: Site, number: signal.Signals, workers: int, places: int
) -> None:
    outcome = site.sweep(recipe(24), by_trial({7: interrupts(2, number)}), workers, places)

    assert outcome.interrupted
    assert outcome.counts.complete < 24
    killed = [run for run in site.runs().values() if run.status == "KILLED"]
    assert "uid-00007" in {run.uid for run in killed}
    assert {run.status for run in site.runs().values()} <= {"FINISHED", "KILLED"}
    assert [ending.by for ending in site.follower.endings] == ["interrupted"]
    assert all("goes on with the same command" in run.tags["regatta.reason"] for run in killed)
    assert site.counts().running == len(killed)

    again = site.sweep(recipe(24), workers=workers, places=places)

    assert over(again) == ("trials", Counts(complete=24))
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


@pytest.mark.parametrize(("workers", "places"), [(1, 1), (3, 1), (1, 5)])
@pytest.mark.parametrize("at_epoch", [0, 2, 3])
def test_a_controller_that_is_killed_is_followed_by_one_that_makes_exactly_8(
    site: Site, tmp_path: Path, workers: int, places: int, at_epoch: int
) -> None:
    left: list[Site] = []

    def last_words(spec: TrialSpec) -> Talk:
        yield started(spec)
        for number, value in enumerate(val_losses(spec)):
            if number == at_epoch:
                left.append(site.copied_to(tmp_path / "left"))
            yield epoch(spec, number, value)

    site.sweep(recipe(8), by_trial({(4, 1): last_words}), workers, places)
    after = left[0]
    assert "RUNNING" in {run.status for run in after.runs().values()}

    outcome = after.sweep(recipe(8), workers=workers, places=places)

    assert outcome.counts == Counts(complete=8)
    assert_exactly(after, 8)


def test_a_controller_that_dies_between_the_record_and_the_study_is_followed_by_one_that_agrees(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Site] = []
    tell = Study.tell

    def die_before_telling(study: Study, number: int, *told: Any, **more: Any) -> None:
        if number == 2 and not left:
            left.append(site.copied_to(tmp_path / "left"))
        tell(study, number, *told, **more)

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
    budget = {"trials": trials, "failed_trials": failed_trials, "same_failures": 50}
    return recipe(trials, search_space=SIX, sampler=sampler, budget=budget)


def tried(site: Site) -> list[str]:
    """What the trials that have a result were sampled as, each with the state it came to."""
    return sorted(run.tags["regatta.sampled"] for run in site.runs().values() if run.tags["regatta.state"] != "FAILED")


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_a_sweep_ends_when_every_combination_is_tried(site: Site, sampler: str, workers: int) -> None:
    outcome = site.sweep(six(sampler=sampler), workers=workers)

    assert over(outcome) == ("combinations", Counts(complete=6))
    assert len(set(tried(site))) == 6
    assert site.follower.wanted == 6
    assert workers < 8 or site.last_trials > 0
    assert_exactly(site, 6)


@pytest.mark.parametrize("trials", [4, 6])
def test_a_budget_below_the_combinations_ends_the_sweep_as_ever(site: Site, trials: int) -> None:
    outcome = site.sweep(six(trials), workers=2)

    assert over(outcome) == ("trials", Counts(complete=trials))
    assert site.follower.wanted == trials


def test_pruned_trials_are_tried_ones(site: Site) -> None:
    config = recipe(search_space=SIX, sampler="grid", pruner={"name": "threshold", "upper": 5.0})
    outcome = site.sweep(config, by_trial({2: lambda spec: trains(spec, [9.0] * 4)}))

    assert over(outcome) == ("trials", Counts(complete=5, pruned=1))
    assert len(set(tried(site))) == 6


@pytest.mark.parametrize("workers", [1, 3])
def test_a_combination_whose_trial_failed_is_tried_once_more_at_the_next_start(site: Site, workers: int) -> None:
    outcome = site.sweep(six(), by_trial({1: raises, 5: raises}), workers)

    assert over(outcome) == ("combinations", Counts(complete=4, failed=2))
    assert outcome.ending.text.startswith("all 6 combinations are tried, and trials 1, 5 failed; ")
    assert len(set(tried(site))) == 4

    mended = site.sweep(six(), workers=workers)

    assert over(mended) == ("combinations", Counts(complete=6, failed=2))
    assert mended.ending.text == "all 6 combinations are tried"
    assert len(set(tried(site))) == 6
    assert_exactly(site, 6, failed=2)


@pytest.mark.parametrize("workers", [1, 3])
def test_combinations_that_end_their_worker_come_to_an_end(site: Site, workers: int) -> None:
    def without_tanh(spec: TrialSpec) -> Talk:
        return dies(spec) if spec.config["model"]["activation"] == "tanh" else trains(spec)

    outcome = site.sweep(six(failed_trials=5), without_tanh, workers)

    assert over(outcome) == ("combinations", Counts(complete=4, failed=2))
    assert len({run.tags["regatta.sampled"] for run in site.runs().values()}) == 6


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_an_interrupted_grid_goes_on_with_what_is_left(site: Site, workers: int) -> None:
    outcome = site.sweep(six(), by_trial({2: interrupts(1)}), workers)
    assert outcome.interrupted

    again = site.sweep(six(), workers=workers)

    assert over(again) == ("combinations", Counts(complete=6))
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

    assert over(outcome) == ("combinations", Counts(complete=6))
    assert tried(left[0]) == tried(site)
    assert_exactly(left[0], 6)


def test_a_sweep_in_which_everything_is_tried_rests(site: Site) -> None:
    site.sweep(six())

    outcome = site.sweep(six(30))

    assert site.assigned == []
    assert over(outcome) == ("combinations", Counts(complete=6))


def test_pictures_that_an_earlier_controller_did_not_come_to_are_drawn_by_the_next(site: Site) -> None:
    def entries() -> list[bytes]:
        return [line for line in site.folder.journal.read_bytes().splitlines(keepends=True) if b".svg" not in line]

    site.sweep(recipe(2))
    site.folder.journal.write_bytes(b"".join(entries()))
    for path in site.folder.root.rglob("*.svg"):
        path.unlink()

    site.sweep(recipe(2))

    assert all((site.folder.trial(number, 1) / "loss_curve.svg").is_file() for number in range(2))
    assert {run.status for run in site.runs().values()} == {"FINISHED"}


def test_what_stops_running_trials_pauses_them_and_the_next_start_goes_on_with_them(site: Site) -> None:
    config = recipe(10, budget={"trials": 10, "target": 50.0})

    outcome = site.sweep(config, by_trial({0: lambda spec: trains(spec, [0.5])}), workers=3)
    paused = [run for run in site.runs().values() if run.status == "KILLED"]

    assert outcome.ending.by == "target"
    assert not outcome.interrupted
    assert outcome.counts == Counts(complete=1, running=2)
    assert all("50 was asked for; the trial goes on" in run.tags["regatta.reason"] for run in paused)

    again = site.sweep(recipe(10), workers=3)

    assert over(again) == ("trials", Counts(complete=10))
    assert {run.status for run in site.runs().values()} == {"FINISHED"}
    assert [spec.attempt for spec in site.assigned[:2]] == [2, 2]


class Clock:
    """Seconds that pass only when a script says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_stops_running_trials_is_seen_while_a_worker_in_this_process_trains_many_at_once(site: Site) -> None:
    config = recipe(12, budget={"trials": 12, "target": 0.5})
    script = by_trial({0: lambda spec: trains(spec, [0.9, 0.4])}, lambda spec: trains(spec, [0.9] * 9))

    outcome = site.sweep_on(config, InlineExecutor(lambda: at_once(script, places=2)), 1)

    assert over(outcome) == ("target", Counts(complete=1, running=1))
    assert [len(epochs) for epochs in epochs_by_trial(site).values()] == [2, 4]


def at_once(script: Script, places: int) -> Worker:
    """A worker that has trials talk in turn, as long as it has any."""
    offered = False

    def work(desk: Desk) -> None:
        nonlocal offered
        if not offered:
            offered = True
            desk.offer(places)
        talks: dict[int, Talk] = {}
        while (spec := desk.take()) is not None:
            talks[spec.number] = script(spec)
        words: dict[int, Word] = {number: next(talk) for number, talk in talks.items()}
        heard: dict[int, Stop] = {}
        while words:
            for number in list(words):
                heard |= {answer.trial: answer for answer in desk.say(words[number])}
                try:
                    words[number] = talks[number].send(heard.pop(number, None))
                except StopIteration:
                    del words[number]

    return work


def epochs_by_trial(site: Site) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for entry in read_all(site.folder.journal):
        if isinstance(entry, Logged) and "val_loss" in entry.metrics and entry.step is not None:
            found.setdefault(entry.uid, []).append(entry.step)
    return found


@pytest.mark.parametrize("budget", ["wall_s", "device_s"])
def test_time_that_is_used_up_ends_the_sweep_after_the_epoch(site: Site, budget: str) -> None:
    clock = Clock()

    def slow(spec: TrialSpec) -> Talk:
        talk = trains(spec)
        answer = None
        while True:
            clock.now += 1.0
            try:
                answer = yield talk.send(answer)
            except StopIteration:
                return

    outcome = site.sweep(recipe(50, budget={"trials": 50, budget: 20.0}), slow, clock=clock)

    assert outcome.ending.by == budget
    assert 20.0 <= clock.now - 100.0 <= 24.0
    assert 0 < outcome.counts.complete < 5


def silent(spec: TrialSpec) -> Talk:
    yield started(spec)
    yield epoch(spec, 0, val_losses(spec)[0])
    yield Silence()


class Impatient(ScriptedExecutor):
    """Time flies while nothing is said."""

    def __init__(self, script: Script, clock: Clock, step: float, places: int = 1) -> None:
        super().__init__(script, 1, places)
        self._clock = clock
        self._step = step

    def wait(self, timeout_s: float) -> None:
        self._clock.now += self._step
        super().wait(timeout_s)


@pytest.mark.parametrize(("hangs", "counts"), [(1, Counts(complete=3)), (2, Counts(complete=3, failed=1))])
def test_a_trial_that_makes_no_step_is_ended_and_tried_once_more(site: Site, hangs: int, counts: Counts) -> None:
    clock = Clock()
    executor = Impatient(by_trial({(0, attempt): silent for attempt in range(1, hangs + 1)}), clock, 5.0)

    outcome = site.sweep_on(recipe(3), executor, 1, clock)

    assert outcome.counts == counts
    assert site.runs()["uid-00000"].tags["regatta.lost.1"] == "it made no step for 900 s (execution.hung_after_s)"
    assert site.runs()["uid-00000"].tags.get("regatta.failure") == ("hung" if hangs == 2 else None)
    assert "log_tail.txt" in "".join(site.runs()["uid-00000"].files) or hangs == 1
    assert_exactly(site, 3, **({"failed": 1} if hangs == 2 else {}))


def test_a_hung_trial_has_its_worker_ended_once_and_its_neighbours_go_on(site: Site) -> None:
    clock = Clock()
    ends: list[str] = []

    class Watched(Impatient):
        def end(self, worker: int, reason: str) -> None:
            ends.append(reason)
            super().end(worker, reason)

    def hangs_beside_trial_1(spec: TrialSpec) -> Talk:
        return silent(spec) if any(number == 1 for _, number in executor._talks) or spec.number == 1 else trains(spec)

    executor = Watched(lambda spec: waits_for_all(hangs_beside_trial_1, spec), clock, 5.0, places=4)
    outcome = site.sweep_on(recipe(6), executor, 1, clock)

    assert outcome.counts == Counts(complete=6, failed=1)
    assert len(ends) == 3  # twice with its neighbours, and alone
    for number in (0, 1, 2, 3):
        assert [loss for loss in site.follower.losses if loss[0] == number][:2] == [
            (number, Remedy.AGAIN),
            (number, Remedy.ALONE),
        ]
    assert site.follower.losses[-1] == (1, Remedy.FAIL)
    assert site.runs()["uid-00001"].tags["regatta.failure"] == "hung"
    assert_exactly(site, 6, failed=1)


def waits_for_all(script: Script, spec: TrialSpec) -> Talk:
    """Begins with a word, so that all trials of a round are there when the script begins."""
    yield Stepped(spec.number, spec.attempt)
    yield from script(spec)


def test_a_controller_that_was_stopped_itself_takes_no_trial_for_hung(site: Site) -> None:
    clock = Clock()

    outcome = site.sweep_on(recipe(2), Impatient(trains, clock, 4000.0), 1, clock)

    assert outcome.counts == Counts(complete=2)
    assert site.follower.losses == []


def out_of_memory(spec: TrialSpec) -> Talk:
    yield started(spec)
    yield ended(spec, error="ResourceExhaustedError: OOM when allocating", failure=Failure.MEMORY)


def killed_for_memory(spec: TrialSpec) -> Talk:
    yield started(spec)
    yield Lost("it used too much", LossKind.MEMORY)


@pytest.mark.parametrize(("workers", "places"), [(3, 1), (1, 3)])
@pytest.mark.parametrize("script", [out_of_memory, killed_for_memory])
def test_a_trial_without_enough_memory_is_tried_by_itself_before_it_counts_as_infeasible(
    site: Site, script: Script, workers: int, places: int
) -> None:
    beside: list[int] = []

    def alone(spec: TrialSpec) -> Talk:
        beside.append(len(executor._talks))
        yield from script(spec)

    executor = ScriptedExecutor(by_trial({(1, 1): script, (1, 2): alone}), workers, places)
    outcome = site.sweep_on(recipe(8), executor, workers)
    run = site.runs()["uid-00001"]

    assert outcome.counts == Counts(complete=8, failed=1)
    assert [loss for loss in site.follower.losses if loss[0] == 1] == [(1, Remedy.ALONE), (1, Remedy.FAIL)]
    assert {remedy for _, remedy in site.follower.losses[:-1]} == {Remedy.ALONE}
    assert beside == [1]  # itself
    assert run.tags["regatta.failure"] == "out_of_memory"
    assert run.status == "FAILED"
    assert_exactly(site, 8, failed=1)


def test_a_trial_alone_on_one_worker_is_infeasible_at_once(site: Site) -> None:
    outcome = site.sweep(recipe(2), by_trial({0: out_of_memory}))

    assert outcome.counts == Counts(complete=2, failed=1)
    assert [spec.attempt for spec in site.assigned if spec.number == 0] == [1]


def test_a_loss_that_is_not_finite_prunes_its_trial_and_says_where(site: Site) -> None:
    def breaks(spec: TrialSpec) -> Talk:
        yield started(spec)
        yield epoch(spec, 0, 0.5)
        yield EpochEnded(spec.number, spec.attempt, 1, {"loss": float("inf"), "val_loss": 0.4}, 1_700_000_000_001)
        yield checkpoint(spec, 1)
        yield ended(spec, pruned=True, failure=Failure.NOT_FINITE)

    outcome = site.sweep(recipe(3), by_trial({1: breaks}))
    run = site.runs()["uid-00001"]

    assert outcome.counts == Counts(complete=2, pruned=1)
    assert run.status == "FINISHED"
    assert run.tags["regatta.failure"] == "not_finite"
    assert run.tags["regatta.reason"] == "loss was infinite in epoch 1"


def test_the_same_exception_in_a_row_stops_the_sweep_and_is_shown(site: Site) -> None:
    outcome = site.sweep(recipe(20), by_trial(dict.fromkeys(range(2, 20), raises)))

    assert over(outcome) == ("same_failures", Counts(complete=2, failed=3))
    assert outcome.ending.text.endswith("the last, trial 4: ValueError: no such layer")


def test_workers_that_die_of_every_trial_stop_the_sweep(site: Site) -> None:
    outcome = site.sweep(recipe(20), by_trial(dict.fromkeys(range(2, 20), dies)))

    assert over(outcome) == ("same_failures", Counts(complete=2, failed=3))
    assert "trial 4: worker lost: " in outcome.ending.text


def test_a_full_disk_under_a_worker_stops_the_sweep_and_costs_no_trial(site: Site) -> None:
    def no_room(spec: TrialSpec) -> Talk:
        yield started(spec)
        yield ended(spec, error="OSError: [Errno 28] No space left on device", failure=Failure.DISK)

    outcome = site.sweep(recipe(4), by_trial({2: no_room}))

    assert over(outcome) == ("disk", Counts(complete=2, running=1))
    site.sweep(recipe(4))
    assert_exactly(site, 4)


def test_a_worker_that_says_nothing_of_its_trials_end_loses_it(site: Site) -> None:
    def wordless(spec: TrialSpec) -> Talk:
        yield started(spec)

    outcome = site.sweep(recipe(2), by_trial({(0, 1): wordless}))

    assert outcome.counts == Counts(complete=2)
    assert site.follower.losses == [(0, Remedy.AGAIN)]


def test_a_worker_of_many_that_says_nothing_of_one_trials_end_loses_that_one(site: Site) -> None:
    def wordless(spec: TrialSpec) -> Talk:
        yield started(spec)

    outcome = site.sweep(recipe(4), by_trial({(1, 1): wordless}), places=4)

    assert outcome.counts == Counts(complete=4)
    assert site.follower.losses == [(1, Remedy.AGAIN)]
    assert_exactly(site, 4)


def test_what_an_attempt_tells_again_is_logged_once_and_prunes_nothing(site: Site) -> None:
    def goes_on(spec: TrialSpec) -> Talk:
        yield Started(spec.number, spec.attempt, 1_700_000_000_000, {}, first_epoch=2)
        values = val_losses(spec)
        for number in range(2):
            answer = yield replace(epoch(spec, number, values[number]), retold=True)
            assert answer is None
        for number in (2, 3):
            yield epoch(spec, number, values[number])
        yield checkpoint(spec, 3)
        yield ended(spec)

    config = recipe(4, pruner={"name": "threshold", "upper": 0.0})
    site.sweep(config, by_trial({(0, 1): lambda spec: dies(spec, after=1), (0, 2): goes_on}))
    run = site.runs()["uid-00000"]

    assert run.tags["regatta.resumed_at_epoch"] == "2"
    assert sorted(run.curves["val_loss"]) == [0, 1, 2, 3]
    assert_each_epoch_once(site)


def test_checkpoints_beyond_those_to_keep_are_dropped_while_the_sweep_runs(site: Site) -> None:
    site.sweep(recipe(9, checkpoints={"keep": 3}), workers=2)
    trials = sorted(
        (run.as_trial("val_loss", None) for run in site.runs().values()), key=lambda trial: trial.value or 9.0
    )

    for place, trial in enumerate(trials):
        assert (site.folder.trial(trial.number, 1) / "best.keras").is_file() == (place < 3), trial
        assert (trial.dropped is None) == (place < 3)
    site.sweep(recipe(12, checkpoints={"keep": 1}))  # a later controller knows of them
    left = list(site.folder.root.rglob("best.keras"))
    assert len(left) == 1


def test_the_states_of_a_trial_that_is_over_are_removed(site: Site) -> None:
    def keeps_states(spec: TrialSpec) -> Talk:
        folder = Path(spec.states)
        folder.mkdir(parents=True)
        (folder / "state").write_text("…")
        yield from trains(spec)

    site.sweep(recipe(3), keeps_states)

    assert list((site.folder.root / "states").iterdir()) == []
