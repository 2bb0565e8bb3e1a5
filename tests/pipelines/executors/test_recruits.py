from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.executors.processes import ProcessesExecutor
from pipelines.executors.recruits import Preparation, Recruits
from tests.contracts.test_executors import DEADLINE_S, Recorder, pump, run
from tests.contracts.workers import fail, make_nothing, make_steps, touch, touch_and_wait, wait_for

Recruit = Callable[..., Recruits]
Employ = Callable[..., tuple[ProcessesExecutor, Recorder]]


@pytest.fixture
def recruit() -> Iterator[Recruit]:
    """Starts recruits, and lets go in the end of those that nobody has hired."""
    made: list[Recruits] = []

    def start(preparation: Preparation | None = None, environments: Sequence[Mapping[str, str]] = ({},)) -> Recruits:
        made.append(Recruits(environments, preparation))
        return made[-1]

    yield start
    for recruits in made:
        recruits.dismiss()


@pytest.fixture
def employ(tmp_path: Path) -> Iterator[Employ]:
    """Makes an executor that may hire recruits, and starts it."""
    made: list[ProcessesExecutor] = []

    def start(
        recruits: Recruits, environments: Sequence[Mapping[str, str]] = ({},), factory: Any = make_steps
    ) -> tuple[ProcessesExecutor, Recorder]:
        executor = ProcessesExecutor(factory, environments, logs=tmp_path / "logs", recruits=recruits)
        made.append(executor)
        handler = Recorder()
        executor.start(handler)
        return executor, handler

    yield start
    for executor in made:
        executor.close()


def processes_of(recruits: Recruits) -> list[psutil.Process]:
    return [psutil.Process(recruit.process.pid) for recruit in recruits._waiting.values()]


def pids_of(executor: ProcessesExecutor, handler: Recorder) -> list[int]:
    """The process that worker 0 is, which has a task for it."""
    pump(executor, lambda: handler.count("room") >= 1)
    run(executor, handler, ("pid", None))
    return handler.pids()


def test_a_recruit_prepares_itself_in_its_environment_and_becomes_the_worker(
    recruit: Recruit, employ: Employ, tmp_path: Path
) -> None:
    environment = {"REGATTA_TEST": "a share of the cores"}
    recruits = recruit(partial(touch, tmp_path / "prepared", "REGATTA_TEST"), [environment])
    (process,) = processes_of(recruits)
    wait_for(tmp_path / "prepared")

    executor, handler = employ(recruits, [environment])

    assert pids_of(executor, handler) == [process.pid]
    assert (tmp_path / "prepared").read_text() == "a share of the cores"
    assert handler.losses() == []
    assert len(recruits) == 0


def test_what_it_prints_is_seen_by_nobody_until_it_is_hired_and_is_in_the_log_then(
    recruit: Recruit, employ: Employ, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recruits = recruit(partial(touch, tmp_path / "prepared"))
    executor, handler = employ(recruits)
    pump(executor, lambda: handler.count("room") == 1)

    run(executor, handler, ("print", "at work"))

    assert (tmp_path / "logs" / "worker-0.log").read_text() == "at work\n"
    assert tuple(capfd.readouterr()) == ("", "")


def test_one_whose_preparation_fails_is_a_worker_like_any_other(
    recruit: Recruit, employ: Employ, tmp_path: Path
) -> None:
    recruits = recruit(partial(fail, tmp_path / "prepared"))
    (process,) = processes_of(recruits)

    assert pids_of(*employ(recruits)) == [process.pid]
    assert (tmp_path / "prepared").exists()


def test_a_worker_that_cannot_be_made_of_it_says_why_in_its_log(
    recruit: Recruit, employ: Employ, tmp_path: Path
) -> None:
    executor, handler = employ(recruit(), factory=make_nothing)

    pump(executor, lambda: handler.count("lost") == 1)

    assert "RuntimeError: no such device" in (tmp_path / "logs" / "worker-0.log").read_text()


def test_one_for_another_environment_is_let_go_and_the_worker_is_a_process_of_its_own(
    recruit: Recruit, employ: Employ, tmp_path: Path
) -> None:
    recruits = recruit(partial(touch_and_wait, tmp_path / "prepared"), [{"OMP_NUM_THREADS": "2"}])
    processes = processes_of(recruits)

    executor, handler = employ(recruits, [{"OMP_NUM_THREADS": "1"}])

    assert pids_of(executor, handler) != [processes[0].pid]
    assert psutil.wait_procs(processes, DEADLINE_S)[1] == []


def test_one_that_died_before_it_was_hired_costs_nothing_but_a_start(
    recruit: Recruit, employ: Employ, tmp_path: Path
) -> None:
    recruits = recruit(partial(touch_and_wait, tmp_path / "prepared"))
    (process,) = processes_of(recruits)
    (there,) = multiprocessing.active_children()
    process.kill()
    there.join(DEADLINE_S)

    executor, handler = employ(recruits)

    assert pids_of(executor, handler) != [process.pid]
    assert handler.losses() == []


def test_those_that_were_started_earlier_are_taken_over_where_the_environment_is_the_wanted_one(
    recruit: Recruit,
) -> None:
    earlier = recruit(None, [{"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "2"}])
    fits, other = processes_of(earlier)
    wanted = [{"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "2"}]

    recruits = Recruits(wanted, None, earlier)

    now = processes_of(recruits)
    try:
        assert [process == fits for process in now] == [True, False, False]
        assert not other.is_running(), "one with another environment is of no use"
        assert len(earlier) == 0
    finally:
        recruits.dismiss()


def test_those_that_nobody_hires_end_in_the_middle_of_what_they_do(recruit: Recruit, tmp_path: Path) -> None:
    recruits = recruit(partial(touch_and_wait, tmp_path / "prepared"), [{}, {}])
    processes = processes_of(recruits)
    wait_for(tmp_path / "prepared")

    recruits.dismiss()
    recruits.dismiss()

    assert len(processes) == 2
    assert not any(process.is_running() for process in processes)


CONTROLLER = """
import sys
from functools import partial
from pathlib import Path
from pipelines.executors.recruits import Recruits
from tests.contracts.workers import touch_and_wait, wait_for

if __name__ == "__main__":
    prepared = Path(sys.argv[1])
    recruits = Recruits([{}, {}], partial(touch_and_wait, prepared))
    try:
        if len(sys.argv) > 2:
            wait_for(prepared)
        print("started", flush=True)
        wait_for(prepared.with_name("never"), 600.0)
    except KeyboardInterrupt:
        recruits.dismiss()
"""


@pytest.fixture
def controller(repository: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A process with recruits; with a word more it waits until one of them is in the middle of its preparation."""
    script = tmp_path / "controller.py"
    script.write_text(CONTROLLER)
    made: list[subprocess.Popen[str]] = []

    def start(*more: str) -> subprocess.Popen[str]:
        made.append(
            subprocess.Popen(
                [sys.executable, str(script), str(tmp_path / "prepared"), *more],
                env={"PYTHONPATH": str(repository), "PATH": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        assert made[-1].stdout is not None
        assert made[-1].stdout.readline() == "started\n"
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("when", [(), ("prepared",)], ids=["while they start", "while they prepare themselves"])
def test_the_death_of_the_controller_ends_its_recruits(
    controller: Callable[..., subprocess.Popen[str]], when: tuple[str, ...]
) -> None:
    process = controller(*when)
    children = psutil.Process(process.pid).children()

    process.kill()

    assert len(children) >= 2
    assert psutil.wait_procs(children, DEADLINE_S)[1] == []


@pytest.mark.parametrize("when", [(), ("prepared",)], ids=["while they start", "while they prepare themselves"])
def test_ctrl_c_ends_them_without_a_word_whatever_they_are_in_the_middle_of(
    controller: Callable[..., subprocess.Popen[str]], when: tuple[str, ...]
) -> None:
    process = controller(*when)
    children = psutil.Process(process.pid).children()

    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=DEADLINE_S)

    assert output == ("", "")
    assert process.returncode == 0
    assert psutil.wait_procs(children, DEADLINE_S)[1] == []
