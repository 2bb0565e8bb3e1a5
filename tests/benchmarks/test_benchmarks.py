"""That the benchmarks run, in small: what they measure is nobody's to assert."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pipelines.controller import painting
from pipelines.tracking.journal import Journal
from tests.benchmarks import bench_scale
from tests.benchmarks.__main__ import main as run_benchmarks
from tests.benchmarks.bench_many_trials import PARTS, draw, measure, ratio, told
from tests.benchmarks.bench_tracking import epochs_ms
from tests.benchmarks.bench_tracking import told as told_of_epochs
from tests.benchmarks.parts import draw_nothing, percentile, table, trivial_recipe


def test_every_trial_of_a_sweep_is_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(painting), "loss_curve", vars(painting)["loss_curve"])
    draw_nothing()

    costs = measure(trivial_recipe(12, sampler="tpe"), tmp_path)

    assert len(costs.cpu) == len(costs.wall) == 12
    assert set(costs.parts) == set(PARTS)
    assert all(len(costs.parts[part]) == 12 for part in PARTS)
    assert all(sum(costs.parts[part]) > 0 for part in PARTS), "each part has its share of the time"
    assert len(told(costs, 6).splitlines()) == 3
    draw({"tpe": costs}, tmp_path / "out" / "picture.png")
    assert (tmp_path / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_last_tenth_is_compared_with_the_first() -> None:
    assert ratio([1.0] * 10 + [9.0] * 80 + [3.0] * 10) == 3.0


def test_the_first_epoch_in_which_keras_compiles_does_not_count() -> None:
    assert epochs_ms([10.0, 10.5, 10.75]) == [500.0, 250.0]


def test_what_an_epoch_pays_is_told_in_two_tables() -> None:
    trial = {
        "keras": [0.0, 0.1, 0.2],
        "alone": [0.0, 0.2, 0.4],
        "whole": [0.0, 0.3, 0.6],
        "tracking": [0.001, 0.002, 0.001],
        "computing": [0.001, 0.001, 0.001],
        "phases": {"tracking": 0.006, "states": 0.03},
    }
    lines = [line.split() for line in told_of_epochs([trial, trial]).splitlines()]
    assert lines[1] == ["keras", "100.000", "100.000", "0.500"]
    assert lines[3] == ["whole", "300.000", "300.000", "1.500"]
    assert ["tracking", "1.000", "2.000", "0.003"] in lines
    assert ["states,", "a", "trial's", "mean", "10.000", "10.000", "0.033"] in lines


def test_a_benchmark_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(
        SystemExit, match="one of many_trials, tracking, mlflow_page, scale, lanes, serving, gpu, got 'speed'"
    ):
        run_benchmarks(["speed"])


def test_a_table_is_aligned_to_the_right() -> None:
    assert table(["name", "ms"], [["a", 1.0], ["longer", 12.5]]).splitlines() == [
        "  name      ms",
        "     a   1.000",
        "longer  12.500",
    ]
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0


def test_what_a_server_takes_and_what_the_controller_hears_is_counted(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.jsonl")) as journal:
        uids = bench_scale.write(journal, bench_scale.Shape(3, 4), "scale")
        assert journal.written == 1 + 3 * (1 + 4 + 1)
    assert uids == ["scale-00000", "scale-00001", "scale-00002"]

    took, runs = bench_scale.deliver("memory:", bench_scale.Shape(3, 4), "small", tmp_path)
    assert took > 0
    assert len(set(runs.values())) == 3

    words, of_cpu = bench_scale.listen(2, 50, tmp_path)
    assert 0 < words <= of_cpu
