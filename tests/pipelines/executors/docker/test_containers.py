from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.errors import ExecutorError
from pipelines.executors.base import Loss, LossKind
from pipelines.executors.docker import containers as module
from pipelines.executors.docker.adrift import CONTROLLER, NOTE, Adrift, are_noted
from pipelines.executors.docker.base import ContainerPlan
from pipelines.executors.docker.berth import Berth
from pipelines.executors.docker.containers import COMMAND, Containers
from pipelines.executors.reception import Reception
from pipelines.executors.slots import Recycling, SlotsExecutor
from tests.contracts.engines import IMAGE, FakeEngine
from tests.contracts.test_executors import DEADLINE_S, Recorder, pump, run, task
from tests.contracts.workers import make_nothing, make_steps, wait_for

PLAN = ContainerPlan(IMAGE, COMMAND, "", memory_bytes=512 << 20)
LABELS = ("study", Path("/studies/study"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    (tmp_path / "engine").mkdir()
    engine = FakeEngine(tmp_path / "engine")
    yield engine
    engine.clear()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


Make = Callable[..., tuple[SlotsExecutor, Recorder]]


@pytest.fixture
def make(engine: FakeEngine, logs: Path) -> Iterator[Make]:
    made: list[SlotsExecutor] = []

    def start(
        factory: Any = make_steps, environments: Any = ({},), recycling: Recycling | None = None, **more: Any
    ) -> tuple[SlotsExecutor, Recorder]:
        agency = Containers(engine, Berth(*LABELS, logs, PLAN, environments), factory, **more)
        executor, handler = SlotsExecutor(agency, len(environments), logs=logs, recycling=recycling), Recorder()
        made.append(executor)
        executor.start(handler)
        return executor, handler

    yield start
    for executor in made:
        executor.close()


def ready(executor: SlotsExecutor, handler: Recorder, places: int = 1) -> None:
    pump(executor, lambda: handler.count("room") >= places)


def test_each_container_is_of_the_plan_with_its_own_share_and_its_labels(make: Make, engine: FakeEngine) -> None:
    environments = [{"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "-1"}, {"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}]
    executor, handler = make(environments=environments)
    ready(executor, handler, 2)

    first, second = sorted(engine.plans.values(), key=lambda plan: plan.labels["regatta.worker"])
    assert first.labels == {
        "regatta.study": "study",
        "regatta.folder": "/studies/study",
        "regatta.worker": "0",
        "regatta.controller": CONTROLLER,
    }
    assert first.name.startswith("regatta-study-0-")
    assert first.environment["OMP_NUM_THREADS"] == "2"
    assert (first.gpu, second.gpu) == (None, "GPU-8932f937")
    assert second.environment["CUDA_VISIBLE_DEVICES"] == "0"  # of the one that it sees
    assert (first.image, first.memory_bytes) == (IMAGE, 512 << 20)


def test_a_container_that_somebody_kills_is_lost_with_its_signal_and_replaced(
    make: Make, engine: FakeEngine, tmp_path: Path
) -> None:
    executor, handler = make()
    ready(executor, handler)
    executor.assign(0, task(("say", "begun"), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.said()))

    engine.kill("c0")
    ready(executor, handler, 2)

    assert handler.losses() == [Loss("its container was ended by SIGKILL")]
    run(executor, handler, ("say", "goes on"))
    pump(executor, lambda: list(engine.there) == ["c1"])


def test_one_that_the_system_ends_for_lack_of_memory_is_lost_to_that_and_says_its_limit(
    make: Make, engine: FakeEngine, tmp_path: Path
) -> None:
    executor, handler = make()
    ready(executor, handler)
    executor.assign(0, task(("say", "begun"), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.said()))

    engine.starve("c0")
    pump(executor, lambda: handler.count("lost") == 1)

    (loss,) = handler.losses()
    assert loss.kind is LossKind.MEMORY
    assert "may use 512 MiB (execution.docker.memory_mb)" in loss.reason


def test_a_kill_while_the_machine_is_out_of_memory_is_for_lack_of_memory_too(
    make: Make, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "vmstat"
    counter.write_text("oom_kill 3\n")
    monkeypatch.setattr("pipelines.executors.memory._COUNTERS", (counter,))
    executor, handler = make()
    ready(executor, handler)

    counter.write_text("oom_kill 4\n")
    engine.kill("c0")
    pump(executor, lambda: handler.count("lost") == 1)

    assert handler.losses()[0].kind is LossKind.MEMORY


def test_what_a_worker_prints_is_in_its_log_and_what_a_container_says_before_it_dies_too(
    make: Make, engine: FakeEngine, logs: Path
) -> None:
    executor, handler = make()
    ready(executor, handler)
    run(executor, handler, ("print", "at work"))
    executor.assign(0, task(("raise", "out of ideas")))
    pump(executor, lambda: handler.count("lost") == 1)

    assert (logs / "worker-0.log").read_text().startswith("at work\n")
    assert executor.log_tail(0).endswith("RuntimeError: out of ideas")
    assert handler.losses() == [Loss("its container exited with code 1")]


def test_a_worker_that_never_gets_ready_ends_in_one_error_with_the_end_of_its_log(make: Make) -> None:
    executor, _ = make(make_nothing)

    with pytest.raises(ExecutorError, match="died 3 times before it was ready") as caught:
        pump(executor, lambda: False)

    assert "RuntimeError: no such device" in str(caught.value)


def test_a_container_whose_program_is_not_there_ends_in_one_error_with_its_words(
    engine: FakeEngine, logs: Path
) -> None:
    plan = ContainerPlan(IMAGE, ("python", "-m", "pipelines.no_such_module"), "")
    executor = SlotsExecutor(Containers(engine, Berth(*LABELS, logs, plan, [{}]), make_steps), 1, logs=logs)
    executor.start(Recorder())

    with pytest.raises(ExecutorError, match="exited with code 1"), closing(executor):
        pump(executor, lambda: False)

    assert "No module named pipelines.no_such_module" in (logs / "worker-0.log").read_text()


def test_an_engine_that_cannot_start_it_ends_in_one_error_with_its_reason(make: Make, engine: FakeEngine) -> None:
    engine.refuses = "no space left on device"
    executor, handler = make()

    with pytest.raises(ExecutorError, match="its container could not be had: no space left on device"):
        pump(executor, lambda: False)

    assert handler.count("room") == 0


def test_one_that_does_not_report_in_time_is_a_start_that_failed(engine: FakeEngine, logs: Path) -> None:
    now = [0.0]
    plan = ContainerPlan(IMAGE, ("sleep", "60"), "")
    agency = Containers(engine, Berth(*LABELS, logs, plan, [{}]), make_steps, patience_s=5, clock=lambda: now[0])
    executor = SlotsExecutor(agency, 1, logs=logs, clock=lambda: now[0])
    handler = Recorder()
    executor.start(handler)

    def later() -> bool:
        now[0] += 3.0
        return False

    with pytest.raises(ExecutorError, match="it did not report to the controller in time"), closing(executor):
        pump(executor, later)

    assert engine.there == {}


def test_recycling_replaces_a_container_between_two_tasks_and_removes_the_old_one(
    make: Make, engine: FakeEngine, logs: Path
) -> None:
    executor, handler = make(recycling=Recycling(after_tasks=2))
    ready(executor, handler)

    end = time.monotonic() + DEADLINE_S
    while len(set(handler.pids())) < 2:
        assert time.monotonic() < end
        run(executor, handler, ("pid", None))
    pump(executor, lambda: "c0" not in engine.there)

    assert handler.count("lost") == 0
    assert len(list(logs.glob(f"*{NOTE}"))) == len(engine.there)


def test_a_worker_says_itself_how_much_memory_it_fills(make: Make, engine: FakeEngine) -> None:
    executor, handler = make(recycling=Recycling(after_tasks=None, above_bytes=1))
    ready(executor, handler)

    run(executor, handler, ("say", "a word"))
    pump(executor, lambda: len(engine.plans) == 2)

    assert executor._slots[0].current.memory > 1 << 20


def test_closing_ends_and_removes_every_container_busy_or_not(
    make: Make, engine: FakeEngine, logs: Path, tmp_path: Path
) -> None:
    executor, handler = make(environments=({}, {}))
    ready(executor, handler, 2)
    executor.assign(1, task(("say", "begun"), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.said()))
    processes = [psutil.Process(engine.process(container).pid) for container in engine.there]

    executor.close()
    executor.close()

    assert engine.there == {}
    assert psutil.wait_procs(processes, DEADLINE_S)[1] == []
    assert {path.name for path in logs.iterdir()} == {"worker-0.log", "worker-1.log"}


def test_one_that_is_closed_before_its_container_is_there_leaves_none(
    make: Make, engine: FakeEngine, logs: Path
) -> None:
    for _ in range(5):
        executor, _ = make(environments=({}, {}))
        executor.close()

    assert engine.there == {}
    assert not are_noted(logs)


def test_recruits_get_ready_before_it_is_known_what_they_work_on_and_are_hired_then(
    engine: FakeEngine, logs: Path, tmp_path: Path
) -> None:
    prepare = (f"{__name__}:touch_at", (str(tmp_path / "prepared"), "REGATTA_TEST"))
    berth = Berth(*LABELS, logs, PLAN, [{"REGATTA_TEST": "a share of the cores"}])
    agency = Containers(engine, berth, prepare=prepare)
    agency.recruit(0)
    wait_for(tmp_path / "prepared")
    assert len(agency) == 1

    agency.factory = make_steps
    executor, handler = SlotsExecutor(agency, 1, logs=logs), Recorder()
    with closing(executor):
        executor.start(handler)
        ready(executor, handler)

    assert (tmp_path / "prepared").read_text() == "a share of the cores"
    assert list(engine.plans) == ["c0"]


def test_recruits_that_nobody_hires_leave_nothing(engine: FakeEngine, logs: Path) -> None:
    agency = Containers(engine, Berth(*LABELS, logs, PLAN, [{}, {}]))
    agency.recruit(0)
    agency.recruit(1)

    agency.dismiss()
    agency.dismiss()

    assert engine.there == {}
    assert list(logs.iterdir()) == []


def test_a_recruit_that_died_meanwhile_costs_nothing_but_a_start(engine: FakeEngine, logs: Path) -> None:
    agency = Containers(engine, Berth(*LABELS, logs, PLAN, [{}]))
    agency.recruit(0)
    end = time.monotonic() + DEADLINE_S
    while not any(engine.there.values()):
        assert time.monotonic() < end
    engine.kill("c0")
    agency._waiting[0].body.join(DEADLINE_S)

    agency.factory = make_steps
    executor, handler = SlotsExecutor(agency, 1, logs=logs), Recorder()
    with closing(executor):
        executor.start(handler)
        ready(executor, handler)

    assert handler.losses() == []


def test_a_disk_that_takes_no_sockets_is_one_sentence(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Reception, "at_path", fails)
    with pytest.raises(
        ExecutorError, match=r"none can be made in .*logs \(Operation not supported\)\. Set REGATTA_HOME"
    ):
        make()


def test_an_engine_that_is_away_for_a_moment_costs_no_worker(
    make: Make, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOKS_S", 0.01)
    engine.away.set()
    executor, handler = make()
    for _ in range(5):
        executor.wait(0.02)
    engine.away.clear()
    ready(executor, handler)
    run(executor, handler, ("say", "at work"))

    engine.away.set()
    run(executor, handler, ("say", "still at work"))
    engine.away.clear()

    assert handler.losses() == []


def test_a_container_that_ends_while_the_engine_is_away_is_lost_all_the_same(
    make: Make, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOKS_S", 0.01)
    monkeypatch.setattr("pipelines.executors.staff._DIES_S", 0.05)
    executor, handler = make()
    ready(executor, handler)
    engine.away.set()
    engine.process("c0").kill()
    pump(executor, lambda: handler.count("lost") == 1)
    engine.away.clear()
    ready(executor, handler, 2)

    assert handler.losses() == [Loss("the line to it broke")]


SCRIPT = """
import sys
from pathlib import Path
from tests.contracts.engines import FakeEngine
from tests.contracts.test_executors import Recorder, pump, task
from tests.pipelines.executors.docker.test_containers import PLAN, LABELS, Berth, Containers, SlotsExecutor, make_steps

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    engine = FakeEngine(folder)
    agency = Containers(engine, Berth(*LABELS, folder / "logs", PLAN, [{}, {}]), make_steps)
    executor, handler = SlotsExecutor(agency, 2, logs=folder / "logs"), Recorder()
    executor.start(handler)
    pump(executor, lambda: handler.count("room") == 2)
    executor.assign(1, task(("say", "begun"), ("wait for", folder / "never")))
    pump(executor, lambda: bool(handler.said()))
    print(*(process.pid for process in engine.there.values()), flush=True)
    pump(executor, lambda: False)
"""


def test_the_death_of_the_controller_ends_its_workers_in_the_middle_of_what_they_do(
    repository: Path, tmp_path: Path
) -> None:
    script = tmp_path / "controller.py"
    script.write_text(SCRIPT)
    controller = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={"PYTHONPATH": str(repository), "PATH": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    with controller:
        assert controller.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in controller.stdout.readline().split()]
        controller.kill()
        controller.wait(DEADLINE_S)

    assert len(workers) == 2
    assert psutil.wait_procs(workers, DEADLINE_S)[1] == []
    assert are_noted(tmp_path / "logs")  # nobody has removed their containers


def test_containers_of_a_controller_that_is_gone_are_found_by_their_labels_and_removed(
    engine: FakeEngine, logs: Path
) -> None:
    mine = ContainerPlan(IMAGE, ("sleep", "60"), "a", {"regatta.study": "study", "regatta.folder": "/studies/study"})
    other = ContainerPlan(IMAGE, ("sleep", "60"), "b", {"regatta.study": "study", "regatta.folder": "/elsewhere/study"})
    ours = replace(mine, labels={**mine.labels, "regatta.controller": CONTROLLER})
    for plan in (mine, mine, other, ours):
        engine.create(plan)
    engine.start("c0")
    logs.mkdir()
    (logs / f"worker-0-abc{NOTE}").write_text(json.dumps({"name": "a"}))
    (logs / "dial-1.sock").touch()
    assert are_noted(logs)

    adrift = Adrift.of("study", Path("/studies/study"), logs, engine)
    assert adrift.running == 1
    adrift.remove()

    assert list(engine.there) == ["c2", "c3"]
    assert list(logs.iterdir()) == []


def touch_at(path: str, variable: str) -> None:
    """`tests.contracts.workers.touch`, of what JSON can say."""
    from tests.contracts.workers import touch

    partial(touch, Path(path), variable)()
