from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines import devices, early
from pipelines.early import early_workers
from pipelines.executors.recruits import Recruits
from pipelines.home import Home
from pipelines.worker import shares


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch, regatta_home: Path) -> list[tuple[Any, ...]]:
    """What processes prepare themselves with; here they do nothing."""
    asked: list[tuple[Any, ...]] = []

    def start(environments: Any = (), preparation: Any = None) -> Recruits:
        asked.append(preparation.args if preparation else ())
        return Recruits(environments)

    monkeypatch.setattr(early, "Recruits", start)
    monkeypatch.setattr(devices, "cores", lambda: 2)
    monkeypatch.setattr(devices, "gpus", list)
    return asked


def test_the_worker_of_lanes_is_there_before_the_recipe_is_read_and_goes_when_nobody_wants_it(
    prepared: list[tuple[Any, ...]],
) -> None:
    with early_workers(None, "auto", None) as found:
        (recruit,) = found._waiting.values()
        process = psutil.Process(recruit.process.pid)
        assert process.is_running()
        assert recruit.environment == shares(2, 1, [])[0]
    modules, programs = prepared[-1]
    assert "pipelines.training.lanes.trainer" in modules
    assert programs == str(Home.from_environment().lanes)
    assert not process.is_running()


def test_there_is_one_a_gpu_which_keeps_no_programs(
    prepared: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "gpus", lambda: ["GPU-a", "GPU-b"])
    with early_workers("processes", None, "auto") as found:
        seen = [recruit.environment["CUDA_VISIBLE_DEVICES"] for recruit in found._waiting.values()]
    assert seen == ["GPU-a", "GPU-b"]
    assert prepared[-1][1] == ""


@pytest.mark.parametrize(
    ("executor", "workers", "lanes"),
    [("inline", None, None), ("ray", None, None), ("docker", None, None), (None, "2", None), (None, None, "off")],
)
def test_where_the_command_line_says_where_trials_train_nothing_is_guessed(
    executor: str | None, workers: str | None, lanes: str | None
) -> None:
    with early_workers(executor, workers, lanes) as found:
        assert len(found) == 0
