"""What every executor promises, of one whose workers are actors of a Ray cluster on this machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.errors import ExecutorError, ServiceError
from pipelines.executors.base import Executor, LossKind
from pipelines.executors.dialling import DialledAgency
from pipelines.executors.ray.agency import DriverLine, RayAgency, own_address
from pipelines.executors.ray.baggage import pack
from pipelines.executors.ray.executor import RayExecutor
from pipelines.executors.ray.words import Connect
from pipelines.executors.reception import Reception
from pipelines.executors.slots import Recycling
from tests.contracts.test_executors import DEADLINE_S, OneWorkerContract, Recorder, give, pump, run, task
from tests.contracts.workers import make_nothing, make_steps, make_together
from tests.sites import ROOT

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed here; make test-stack installs it, or pip install -r requirements/ray.txt",
    ),
]


class Shared(RayAgency):
    """An agency that leaves the driver to others when it is closed."""

    def close(self) -> None:
        DialledAgency.close(self)


def connect(folder: Path, **changes: Any) -> DriverLine:
    """A cluster of this machine alone, whose nodes get the code of these tests."""
    code = pack(folder / "code.zip", {"worker": "tests.contracts.workers:make_steps"}, ROOT)
    told: dict[str, Any] = {
        "needs": {"CPU": 1},
        "cores": 4,
        "object_store_bytes": 100 << 20,
        "variables": {"REGATTA_NODE_HOME": str(folder / "node"), "OMP_NUM_THREADS": "3"},
    }
    return DriverLine(Connect(None, str(code), **{**told, **changes}), folder / "ray.log")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DriverLine]:
    line = connect(tmp_path_factory.mktemp("ray"))
    yield line
    line.close()


def agency(driver: DriverLine, factory: Any) -> Shared:
    made = Shared(driver, Reception.at_port(own_address(None)), factory)
    made.connected(60)
    return made


Make = Callable[..., tuple[RayExecutor, Recorder]]


@pytest.fixture
def make(driver: DriverLine, tmp_path: Path) -> Iterator[Make]:
    """Makes executors, and closes them after the test."""
    made: list[RayExecutor] = []

    def start(factory: Any = make_steps, workers: int = 1, **settings: Any) -> tuple[RayExecutor, Recorder]:
        executor = RayExecutor(agency(driver, factory), workers, logs=tmp_path / "logs", **settings)
        handler = Recorder()
        made.append(executor)
        executor.start(handler)
        return executor, handler

    yield start
    for executor in made:
        executor.close()


class TestRayExecutor(OneWorkerContract):
    """The contract, on one warm actor for all of it."""

    @pytest.fixture(scope="class")
    @classmethod
    def warm(
        cls, driver: DriverLine, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[tuple[RayExecutor, Recorder]]:
        executor = RayExecutor(agency(driver, make_steps), 1, logs=tmp_path_factory.mktemp("logs"))
        handler = Recorder()
        executor.start(handler)
        pump(executor, lambda: handler.count("room") == 1)
        yield executor, handler
        executor.close()

    @pytest.fixture
    def together(self, make: Make) -> tuple[Executor, Recorder]:
        executor, handler = make(make_together)
        pump(executor, lambda: handler.room == 4)
        return executor, handler


def test_a_killed_actor_is_reported_and_replaced_under_its_number(make: Make, tmp_path: Path) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)
    executor.assign(0, task(("pid", None), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.pids()))

    psutil.Process(handler.pids()[0]).kill()
    pump(executor, lambda: handler.count("lost") == 1)
    pump(executor, lambda: handler.count("room") == 2)
    run(executor, handler, ("pid", None))

    (loss,) = handler.losses()
    assert (loss.kind, loss.reason) == (LossKind.DIED, "its process was ended from outside, or broke off")
    assert handler.pids()[0] != handler.pids()[1]


def test_what_a_worker_raises_is_its_loss_and_in_its_log(make: Make) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)

    executor.assign(0, task(("print", "this is the last I do"), ("raise", "out of ideas")))
    pump(executor, lambda: handler.count("lost") == 1)

    assert [loss.reason for loss in handler.losses()] == ["RuntimeError: out of ideas"]
    log = executor.log_tail(0)
    assert "this is the last I do" in log
    assert "RuntimeError: out of ideas" in log


def test_a_worker_that_is_ended_is_lost_for_the_reason_that_was_given(make: Make, tmp_path: Path) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)
    executor.assign(0, task(("pid", None), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.pids()))

    executor.end(0, "it made no step for 900 s")
    pump(executor, lambda: handler.count("lost") == 1)

    assert [(loss.reason, loss.kind) for loss in handler.losses()] == [("it made no step for 900 s", LossKind.ENDED)]
    assert (
        psutil.wait_procs([psutil.Process(pid) for pid in handler.pids() if psutil.pid_exists(pid)], DEADLINE_S)[1]
        == []
    )


def test_a_worker_that_cannot_be_made_ends_in_one_error_with_the_end_of_its_log(make: Make) -> None:
    executor, _ = make(make_nothing)

    with pytest.raises(ExecutorError, match="before it was ready") as caught:
        pump(executor, lambda: False)

    assert "RuntimeError: no such device" in str(caught.value)


def test_workers_wait_for_a_place_and_follow_the_room_that_there_is(make: Make) -> None:
    executor, handler = make(workers=1, follows=True)

    pump(executor, lambda: handler.count("room") == 4)  # of four cores; it was started with one worker

    assert sorted(worker for word, worker, _ in handler.news if word == "room") == [0, 1, 2, 3]
    give(executor, task(("say", "done")))
    pump(executor, lambda: handler.said() == ["done"])


def test_workers_that_are_ended_while_they_start_give_their_places_back(make: Make) -> None:
    for _ in range(3):
        executor, _ = make(workers=4)
        executor.close()

    executor, handler = make(workers=4)
    pump(executor, lambda: handler.count("room") == 4)  # of four cores


def test_a_worker_that_is_due_makes_room_for_its_successor_when_it_rests(make: Make) -> None:
    executor, handler = make(workers=4, recycling=Recycling(after_tasks=2))  # there is no place for a fifth
    pump(executor, lambda: handler.count("room") == 4)

    for _ in range(3):
        run(executor, handler, ("pid", None))

    first, second, third = handler.pids()
    assert first == second != third
    assert handler.count("lost") == 0
    assert [tasks for word, worker, tasks in handler.news if (word, worker) == ("rest", 0)] == [1, 2, 3]


def variables(handler: Recorder) -> list[tuple[str, str | None]]:
    """What workers said of their environment."""
    return [(said[1], said[2]) for said in handler.said() if isinstance(said, tuple) and said[0] == "variable"]


def test_a_worker_without_a_gpu_sees_none_and_has_the_environment_that_was_given(make: Make) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)

    run(executor, handler, ("variable", "CUDA_VISIBLE_DEVICES"), ("variable", "OMP_NUM_THREADS"))

    assert variables(handler) == [("CUDA_VISIBLE_DEVICES", "-1"), ("OMP_NUM_THREADS", "3")]


def test_workers_get_the_gpus_that_ray_gives_them_two_to_a_gpu_where_each_needs_a_half(tmp_path: Path) -> None:
    line = connect(tmp_path, gpus=2, needs={"CPU": 1, "GPU": 0.5})
    made = RayAgency(line, Reception.at_port(own_address(None)), make_steps)
    assert made.connected(60).places == 4
    executor, handler = RayExecutor(made, 4, logs=tmp_path / "logs"), Recorder()
    executor.start(handler)
    pump(executor, lambda: handler.count("room") == 4)

    for worker in range(4):
        executor.assign(worker, task(("variable", "CUDA_VISIBLE_DEVICES")))
    pump(executor, lambda: len(variables(handler)) == 4)
    executor.close()

    assert sorted(str(device) for _, device in variables(handler)) == ["0", "0", "1", "1"]


def test_a_node_gets_the_packages_that_it_is_to_have(tmp_path: Path) -> None:
    line = connect(tmp_path, cores=1, pins=("tabulate==0.9.0",), always=True)
    made = RayAgency(line, Reception.at_port(own_address(None)), make_steps)
    made.connected(60)
    executor, handler = RayExecutor(made, 1, logs=tmp_path / "logs"), Recorder()
    executor.start(handler)

    try:
        pump_long(executor, lambda: handler.count("room") == 1)
        run(executor, handler, ("variable", "VIRTUAL_ENV"))
    finally:
        executor.close()

    assert "runtime_resources/pip" in str(variables(handler)[0][1])


def pump_long(executor: Executor, until: Callable[[], bool]) -> None:
    """As `pump`, for what an installer does first."""
    end = time.monotonic() + 150.0
    while not until():
        assert time.monotonic() < end, "the executor did not get there in time"
        executor.wait(0.2)


def test_closing_ends_all_actors(make: Make, tmp_path: Path) -> None:
    executor, handler = make(workers=2)
    pump(executor, lambda: handler.count("room") == 2)
    for worker in (0, 1):
        executor.assign(worker, task(("pid", None), ("wait for", tmp_path / "never")))
    pump(executor, lambda: len(handler.pids()) == 2)
    processes = [psutil.Process(pid) for pid in handler.pids()]

    executor.close()
    executor.close()

    assert psutil.wait_procs(processes, DEADLINE_S)[1] == []


def test_when_what_speaks_with_the_cluster_is_gone_one_sentence_says_so(tmp_path: Path) -> None:
    line = connect(tmp_path, cores=1)
    made = RayAgency(line, Reception.at_port(own_address(None)), make_steps)
    made.connected(60)
    executor, handler = RayExecutor(made, 1, logs=tmp_path / "logs"), Recorder()
    executor.start(handler)
    pump(executor, lambda: handler.count("room") == 1)

    line._process.kill()

    with pytest.raises(ExecutorError, match=r"The Ray cluster of this machine is gone.* by the same command\."):
        pump(executor, lambda: False)
    executor.close()


def test_a_cluster_that_is_not_there_is_an_error_that_says_where(tmp_path: Path) -> None:
    code = pack(tmp_path / "code.zip", {}, tmp_path)
    line = DriverLine(Connect("127.0.0.1:9", str(code), {"CPU": 1}), tmp_path / "ray.log")
    made = RayAgency(line, Reception.at_port("127.0.0.1"), make_steps)

    with pytest.raises(ServiceError, match=r"The Ray cluster at 127\.0\.0\.1:9 cannot be used: "):
        made.connected(60)
    made.close()


CONTROLLER = """
import sys
from pathlib import Path
from pipelines.executors.ray.executor import RayExecutor
from tests.contracts.test_executors import Recorder, pump, task
from tests.contracts.test_ray_executor import agency, connect
from tests.contracts.workers import make_steps

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    executor, handler = RayExecutor(agency(connect(folder), make_steps), 1, logs=folder / "logs"), Recorder()
    executor.start(handler)
    pump(executor, lambda: handler.count("room") == 1)
    executor.assign(0, task(("pid", None), ("say until answered", "epoch")))
    pump(executor, lambda: bool(handler.pids()))
    print(handler.pids()[0], flush=True)
    pump(executor, lambda: False)
"""


def test_the_death_of_the_controller_ends_its_actors_and_a_cluster_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(CONTROLLER)
    controller = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
    )
    with controller:
        assert controller.stdout is not None
        worker = psutil.Process(int(controller.stdout.readline()))
        family = psutil.Process(controller.pid).children(recursive=True)

        controller.kill()
        controller.wait(DEADLINE_S)

    assert len(family) > 3
    assert psutil.wait_procs([worker, *family], DEADLINE_S)[1] == []
