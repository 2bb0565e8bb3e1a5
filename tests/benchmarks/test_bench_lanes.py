"""That the benchmark of lanes measures what it says, and runs, in small; what it finds is nobody's to assert."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipelines.executors.base import Desk
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import Ended, EpochEnded, Started, TrialSpec
from tests.benchmarks import (
    bench_lanes,
    bench_lanes_quality,
    bench_lanes_sweep,
    bench_lanes_trainer,
    bench_lanes_widths,
)
from tests.benchmarks.bench_lanes_sweep import PeerTimes, Swept, peer_times
from tests.benchmarks.bench_lanes_trainer import Fitted
from tests.benchmarks.bench_lanes_widths import after_the_first, draw
from tests.benchmarks.lanes_parts import PROBLEMS, Problem, as_choice
from tests.benchmarks.peers.plain_keras import Choice, compiled_model
from tests.benchmarks.peers.plain_keras import Problem as PeersProblem
from tests.benchmarks.toy_desk import Drive, Trained
from tests.pipelines.scripted import spec_for

PEERS = Path(__file__).resolve().parent / "peers"
QUICK = ["--set", "epochs=1", "--set", "model.units=[8]"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return Problem.prepared("digits", tmp_path_factory.mktemp("prepared"))


class Racer:
    """A worker with three places that advances all its trials by an epoch in turn, and takes more when one ends."""

    def __init__(self, epochs: int = 2, error: str | None = None) -> None:
        self.most_at_once = 0
        self._epochs, self._error, self._offered = epochs, error, False

    def __call__(self, desk: Desk) -> None:
        if not self._offered:
            self._offered = True
            desk.offer(3)
        running: list[Iterator[Any]] = []
        while True:
            while (spec := desk.take()) is not None:
                running.append(self._talk(spec))
            if not running:
                return
            self.most_at_once = max(self.most_at_once, len(running))
            for talk in list(running):
                word = next(talk)
                desk.say(word)
                if isinstance(word, Ended):
                    running.remove(talk)
                    desk.offer(1)

    def _talk(self, spec: TrialSpec) -> Iterator[Any]:
        yield Started(spec.number, 1, 0, {"regatta.trainer": "lanes"})
        for epoch in range(self._epochs):
            yield EpochEnded(spec.number, 1, epoch, {"loss": 1.0, "val_loss": float(spec.number - epoch)}, 0)
        yield Ended(spec.number, 1, 0, error=self._error, phases={"fit": 0.5})


def test_a_worker_gets_a_trial_for_each_place_that_it_has_and_all_of_them_are_trained(tmp_path: Path) -> None:
    racer = Racer()
    drive = Drive(racer)
    specs = [spec_for(tmp_path, number) for number in range(7)]

    first, second = drive.train(specs), drive.train([replace(spec, number=spec.number + 7) for spec in specs])

    assert racer.most_at_once == 3
    assert first.values == {number: number - 1.0 for number in range(7)}
    assert set(second.values) == set(range(7, 14)), "what was said of the first lot is not counted again"
    assert len(first.epochs) == 14
    assert first.cpu > 0
    assert 0 < first.first_epoch <= first.epochs[-1][0] <= first.seconds
    assert first.phases == {"fit": 3.5}
    assert first.facts == {"regatta.trainer": "lanes"}


def test_a_worker_that_leaves_trials_lying_is_an_error_and_not_a_fast_one(tmp_path: Path) -> None:
    def lazy(desk: Desk) -> None:
        desk.take()

    with pytest.raises(RuntimeError, match="1 trials waiting, 0 under way and room for 0"):
        Drive(lazy).train([spec_for(tmp_path)])


def test_a_trial_that_fails_is_an_error_and_not_a_fast_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Trial 0 failed: ValueError: no"):
        Drive(Racer(error="ValueError: no")).train([spec_for(tmp_path)])


def test_the_first_epoch_of_every_lane_is_left_out_of_the_steady_time() -> None:
    epochs = ((5.0, 0), (5.5, 1), (6.0, 0), (6.5, 1), (7.0, 0), (7.5, 1))
    assert after_the_first(trained(epochs)) == (2.0, 4)


def trained(epochs: tuple[tuple[float, int], ...] = ((1.0, 0), (2.0, 1)), seconds: float = 2.0) -> Trained:
    return Trained(
        seconds, 0.5 * seconds, epochs[0][0], epochs, {"fit": 1.0}, {"regatta.trainer": "lanes: 2 at once"}, {0: 0.5}
    )


def test_lanes_are_told_against_the_faster_way_to_feed_fit() -> None:
    ways = {"tf.data": Fitted([1.0, 3.0], [2.0, 2.5], [10, 10]), "arrays": Fitted([4.0], [5.0], [10])}
    lines = bench_lanes_trainer.told(ways, trained(), trained(seconds=1.0), 2, "auto").splitlines()
    assert lines[1].split()[-6:] == ["2", "2.000", "0.500", "1.000", "2.250", "200.000"]
    assert lines[2].split()[-6:] == ["1", "4.000", "0.250", "0.500", "5.000", "400.000"]
    assert lines[3].split()[-6:] == ["2", "1.000", "1.000", "2.000", "0.500", "1000.000"]
    assert lines[4].split()[-6:] == ["2", "0.500", "2.000", "4.000", "0.250", "500.000"]
    assert lines[5].startswith("The lanes took 2.00 s, and 1.00 s when all was compiled")
    assert lines[-1] == "regatta.trainer: lanes: 2 at once"


def test_what_a_peer_starts_with_is_counted_once_and_so_is_its_slow_first_trial() -> None:
    clock = {"first_trial": 1010.0, "trials": [5.0, 2.0, 4.0], "best": 0.1}
    times = peer_times(clock, begun=1000.0, seconds=22.0)
    assert times == PeerTimes(10.0, (5.0, 2.0, 4.0), 1.0, 0.1)
    assert times.whole(256) == 10.0 + 5.0 + 255 * 3.0 + 1.0
    assert PeerTimes(10.0, (5.0,), 0.0, 0.1).whole(3) == 25.0


def test_the_sweep_is_told_with_the_ratios_and_with_what_its_seconds_went_to() -> None:
    summary = {
        "best": {"value": 0.1},
        "trials": {"complete": 4, "pruned": 0, "failed": 0},
        "journal": {"written": 9, "delivered": 9},
        "registered": {"name": "lanes_digits", "version": "1"},
    }
    swept = Swept(10.0, summary, {"trials": 6.0, "promotion": 1.0}, 4, 4)
    text = bench_lanes_sweep.told(swept, {"optuna_mlflow": PeerTimes(2.0, (5.0, 1.0), 0.0, 0.2)}, 4)
    lines = [line.split() for line in text.splitlines()]
    assert lines[2][-4:] == ["10.000", "1.000", "1.000", "-"]
    assert ["trials", "6.000", "0.600"] in lines
    assert ["starting,", "reporting,", "ending", "3.000", "0.300"] in lines
    assert "4 runs of trials and 4 checkpoints; 9 of 9 entries" in text


def test_the_search_is_judged_by_medians_and_says_how_certain_it_is() -> None:
    text = bench_lanes_quality.told({1: 0.1, 2: 0.2, 3: 0.4}, {1: 0.2, 2: 0.2, 3: 0.1})
    assert text.splitlines()[-1] == "The mean of the 3 ratios is 1.083, with a standard error of 0.507."
    assert "error" not in bench_lanes_quality.told({1: 0.1}, {1: 0.2})
    assert text.splitlines()[-2].split() == ["median", "0.200", "0.200", "1.000"]
    assert text.splitlines()[1].split() == ["1", "0.100", "0.200", "2.000"]


def test_numbers_of_lanes_are_told_and_drawn(tmp_path: Path) -> None:
    one = {
        "lanes": 1,
        "first_epoch_s": 2.0,
        "lane_epoch_ms": 4.0,
        "before_mib": 500.0,
        "resident_mib": 600.0,
        "peak_mib": 650.0,
    }
    found = [one, {**one, "lanes": 2, "lane_epoch_ms": 2.5}]
    assert bench_lanes_widths.told(found).splitlines()[2].split() == [
        "2",
        "2.500",
        "1.600",
        "2.000",
        "600",
        "650",
        "150",
    ]
    assert bench_lanes_widths.told([{**one, "gpu_mib": 70.0}]).splitlines()[1].split()[-1] == "70"
    draw({"digits": found}, tmp_path / "out" / "picture.png")
    assert (tmp_path / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_peers_search_the_very_space_of_the_recipe(problem: str) -> None:
    from pipelines.recipe.reading import read_recipe
    from tests.benchmarks.lanes_parts import recipe_path

    space = SearchSpace(read_recipe(recipe_path(problem)).search_space)
    assert distributions(space.sample) == distributions(Choice.drawn)


def distributions(draws: Any) -> list[str]:
    """Everything that is ever drawn, whatever it is called."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found: dict[str, Any] = {}
    for _ in range(30):
        trial = study.ask()
        draws(trial)
        found |= trial.distributions
    return sorted(map(repr, found.values()))


def test_no_peer_imports_anything_of_regatta() -> None:
    files = sorted(PEERS.glob("*.py"))
    assert len(files) >= 4
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] not in {"pipelines", "services"}, f"{file.name} imports {name}"
                assert not name.startswith("tests.") or name.startswith("tests.benchmarks.peers."), file.name


def test_trials_are_the_same_each_time_and_a_peer_gets_them_with_their_settings(
    digits: Problem, tmp_path: Path
) -> None:
    specs = digits.specs(12, tmp_path)
    assert specs == digits.specs(12, tmp_path)
    kinds = {spec.config["optimizer"]["name"] for spec in specs}
    assert kinds == {"adam", "rmsprop", "sgd"}
    for spec in specs:
        choice = as_choice(spec.config)
        assert choice.patience == spec.config["callbacks"]["early_stopping"]["patience"]
        assert set(choice.optimizer) == {"name", "learning_rate"} | (
            {"momentum", "nesterov"} if choice.optimizer["name"] == "sgd" else set()
        )
        assert all(spec.config["optimizer"][key] == value for key, value in choice.optimizer.items())
    changed = digits.specs(1, tmp_path, changes={"callbacks": {}})[0]
    assert changed.config["callbacks"] == {}


def test_a_peers_model_begins_and_learns_as_regattas_does(digits: Problem, tmp_path: Path, keras: Any) -> None:
    import numpy as np

    from pipelines.recipe.config import TrainingConfig
    from pipelines.training.fit import build_model

    spec = digits.specs(1, tmp_path)[0]
    digits.write_for_peers(tmp_path / "problem.json")
    problem = PeersProblem.read(tmp_path / "problem.json")
    ours = build_model(TrainingConfig.model_validate(spec.config), digits.data.facts, 36)
    keras.utils.set_random_seed(spec.config["seed"])
    theirs = compiled_model(problem, as_choice(spec.config))

    assert [weights.shape for weights in ours.get_weights()] == [weights.shape for weights in theirs.get_weights()]
    theirs.set_weights(ours.get_weights())
    x, y, _, _ = problem.arrays
    np.testing.assert_allclose(theirs(x[:50]), ours(x[:50]), rtol=1e-6)
    assert theirs.optimizer.get_config()["learning_rate"] == ours.optimizer.get_config()["learning_rate"]
    one, other = (model.evaluate(x, y, verbose=0, return_dict=True) for model in (ours, theirs))
    assert one == pytest.approx(other, rel=1e-5)


def test_a_part_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SystemExit, match="one of trainer, sweep, widths, quality, got 'speed'"):
        bench_lanes.main(["speed"])


@pytest.mark.end_to_end
def test_the_trainer_is_measured_against_fit(capsys: pytest.CaptureFixture[str]) -> None:
    bench_lanes_trainer.main(["--problem", "digits", "--trials", "3", "--fits", "2", "--lanes", "2", *QUICK])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The trainer alone on digits: 1149 samples, batches of 32, 1 epochs; on ")
    ways = {line.split("  ")[0].strip(): line for line in (line.strip() for line in lines[2:6])}
    assert list(ways) == [
        "Model.fit, tf.data",
        "Model.fit, arrays",
        "lanes 2, compiling counted",
        "lanes 2, compiled before",
    ]


@pytest.mark.end_to_end
def test_each_number_of_lanes_is_measured_in_a_process_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bench_lanes_widths.main(["--problem", "digits", "--widths", "1,2", "--epochs", "2", "--out", str(tmp_path)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:4]]
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(float(row[1]) > 0 and int(row[-1]) > 0 for row in rows)
    assert (tmp_path / "lanes_widths.png").exists()


@pytest.mark.end_to_end
def test_a_whole_sweep_is_measured_against_both_peers(capsys: pytest.CaptureFixture[str]) -> None:
    bench_lanes_sweep.main(["--trials", "2", "--peer-trials", "1", "--lanes", "2", "--workers", "1", *QUICK])
    text = capsys.readouterr().out
    assert "The server has 2 runs of trials and 2 checkpoints" in text
    assert "Champion: version 1 of lanes_digits." in text
    for name in bench_lanes_sweep.PEERS.values():
        assert f"{name} (1 trials run)" in text


@pytest.mark.end_to_end
def test_a_search_with_lanes_is_compared_with_one_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    bench_lanes_quality.main(["--trials", "2", "--seeds", "3", "--quick", *QUICK])
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[0] == "median"
    assert all(float(value) > 0 for value in last[1:])
