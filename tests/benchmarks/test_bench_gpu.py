"""That the benchmark of GPUs runs, in small and without a GPU, and says so where it cannot."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from pipelines import devices
from pipelines.devices import Device, Inventory
from pipelines.devices.nvml import Nvml
from pipelines.devices.watch import GpuWatch
from tests.benchmarks import bench_gpu, bench_gpu_sampler, bench_gpu_switches, bench_gpu_workers
from tests.pipelines.devices.fake_nvml import Card, FakeNvml


def test_where_there_is_no_gpu_it_says_so_with_what_is_there_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "inventory", lambda: Inventory(remarks=("There is an AMD GPU here.",)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(SystemExit, match=r"no NVIDIA GPU that could be used\. There is an AMD GPU") as told:
        bench_gpu.main([])
    assert str(told.value).endswith("CUDA_VISIBLE_DEVICES=-1 hides what there may be. On the CPU: make bench-lanes")


def test_all_parts_are_run_or_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run: list[Any] = []
    monkeypatch.setattr(devices, "inventory", lambda: Inventory((Device(0, "GPU-a", "NVIDIA H100"),), "nvml"))

    def noted(name: str, given: Any) -> None:
        run.append((name, list(given)))

    for name in bench_gpu.PARTS:
        monkeypatch.setitem(bench_gpu.PARTS, name, partial(noted, name))
    bench_gpu.main([])
    bench_gpu.main(["workers", "--numbers", "1,2"])
    assert [name for name, _ in run] == ["trainer", "widths", "precision", "xla", "workers", "sampler", "workers"]
    assert run[-1] == ("workers", ["--numbers", "1,2"])
    assert "GPU 0 (NVIDIA H100, GPU-a)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="one of trainer, widths, precision, xla, workers, sampler, got 'speed'"):
        bench_gpu.main(["speed"])


def test_ratios_are_told() -> None:
    one = {"epoch_ms": 10.0, "first_s": 1.0, "value": 0.5}
    found = [("fit", "float32", one), ("fit", "mixed_bfloat16", {**one, "epoch_ms": 4.0}), ("2 lanes", "float32", one)]
    lines = bench_gpu_switches.told("precision", "wide", found).splitlines()
    assert lines[2].split()[:4] == ["fit", "mixed_bfloat16", "4.000", "2.500"]
    assert lines[3].split()[-3] == "1.000", "lanes have a first row of their own"
    lines = bench_gpu_workers.told([(1, None, 2.0), (4, 8000, 6.0)]).splitlines()
    assert lines[1].split() == ["1", "grows", "2.000", "1.000", "100.000"]
    assert lines[2].split() == ["4", "8000", "6.000", "3.000", "75.000"]
    assert bench_gpu_sampler.told({"fit": {"without": 10.0, "with": 10.1}}).splitlines()[1].split()[-1] == "1.000"


def test_the_time_of_workers_counts_from_when_all_are_warm() -> None:
    assert bench_gpu_workers.steady_rate([10.0, 12.0, 13.0, 14.0, 15.0, 16.0], 2) == 1.0


def test_a_look_is_timed() -> None:
    clock = iter([0.0, 0.01])
    card = Card("GPU-a", busy=[1])
    watch = GpuWatch(Nvml(FakeNvml(card)), card)
    assert bench_gpu_sampler.look_us(watch, 100, lambda: next(clock)) == 100.0
    assert bench_gpu_sampler.look_us(None) is None


QUICK = ["--set", "epochs=1", "--set", "dataset.samples=2000"]


@pytest.mark.end_to_end
def test_a_switch_is_measured_on_the_cpu_too(capsys: pytest.CaptureFixture[str]) -> None:
    bench_gpu_switches.main(["--switch", "xla", "--model", "small", "--epochs", "1", "--lanes", "2", *QUICK])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[2] for row in rows] == ["off", "on"]
    assert all(float(row[3]) > 0 for row in rows)


@pytest.mark.end_to_end
def test_workers_are_measured_by_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    bench_gpu_workers.main(["--numbers", "1,2", "--each", "1", "--set", "epochs=1"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[:2] for row in rows] == [["1", "grows"], ["2", "grows"]]


@pytest.mark.end_to_end
def test_the_sampler_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    bench_gpu_sampler.main(["--trials", "2", "--rounds", "1", "--set", "epochs=2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "There is nothing to look at."
    assert lines[-3].split()[:2] == ["in", "lanes"]
