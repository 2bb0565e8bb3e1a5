"""What every executor promises, tried on each of them."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.errors import ExecutorError
from pipelines.executors import memory, pids
from pipelines.executors.base import Executor, Loss, LossKind
from pipelines.executors.inline import InlineExecutor
from pipelines.executors.processes import ProcessesExecutor, Recycling
from tests.contracts.workers import make_nothing, make_steps

DEADLINE_S = 30.0


class Recorder:
    """A handler that writes down everything it is told."""

    def __init__(self) -> None:
        self.news: list[tuple[str, int, Any]] = []
        self.answers: dict[Any, Any] = {}
        self.before_answer: Callable[[Any], None] = lambda message: None

    def on_idle(self, worker: int) -> None:
        self.news.append(("idle", worker, None))

    def on_message(self, worker: int, message: Any) -> Any:
        self.news.append(("said", worker, message))
        self.before_answer(message)
        return self.answers.get(message)

    def on_lost(self, worker: int, loss: Loss) -> None:
        self.news.append(("lost", worker, loss))

    def losses(self) -> list[Loss]:
        return [loss for kind, _, loss in self.news if kind == "lost"]

    def said(self) -> list[Any]:
        return [message for kind, _, message in self.news if kind == "said"]

    def count(self, kind: str) -> int:
        return sum(found == kind for found, _, _ in self.news)

    def pids(self) -> list[int]:
        return [message[1] for message in self.said() if isinstance(message, tuple) and message[0] == "pid"]


def pump(executor: Executor, until: Callable[[], bool]) -> None:
    """Lets the executor deliver news until a condition holds."""
    end = time.monotonic() + DEADLINE_S
    while not until():
        assert time.monotonic() < end, "the executor did not get there in time"
        executor.wait(0.2)


def task(*steps: tuple[str, Any]) -> dict[str, Any]:
    return {"steps": steps}


def run(executor: Executor, handler: Recorder, *steps: tuple[str, Any]) -> None:
    """Has worker 0, which is idle, do one task to its end."""
    before = handler.count("idle")
    executor.assign(0, task(*steps))
    pump(executor, lambda: handler.count("idle") > before)


class ExecutorContract(ABC):
    """The suite. The executor has one worker, made by `make_steps`, and is warm."""

    @pytest.fixture
    @abstractmethod
    def started(self, tmp_path: Path) -> Iterator[tuple[Executor, Recorder]]:
        """A warm executor and what it told so far."""

    def test_a_worker_is_reported_idle_once_when_it_is_ready(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started

        executor.wait(0.01)

        assert handler.news == [("idle", 0, None)]

    def test_messages_reach_the_handler_in_order_and_then_the_worker_is_idle(
        self, started: tuple[Executor, Recorder]
    ) -> None:
        executor, handler = started
        handler.news.clear()

        run(executor, handler, *(("say", number) for number in range(50)))

        assert handler.news == [*(("said", 0, number) for number in range(50)), ("idle", 0, None)]

    def test_an_answer_reaches_the_worker(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started
        handler.answers[("epoch", 2)] = "stop"

        run(executor, handler, ("say until answered", "epoch"))

        assert handler.said()[-1] == ("answer", "stop")

    def test_an_answer_that_nothing_asked_for_is_found_at_the_next_word(
        self, started: tuple[Executor, Recorder]
    ) -> None:
        executor, handler = started

        def tells(message: Any) -> None:
            if message == ("epoch", 1):
                executor.tell(0, "pause")

        handler.before_answer = tells
        run(executor, handler, ("say until answered", "epoch"))

        assert handler.said()[-1] == ("answer", "pause")

    def test_a_late_answer_is_not_taken_for_a_task(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started
        handler.answers["last word"] = {"steps": [("say", "an answer was worked on")]}

        run(executor, handler, ("say", "last word"))
        run(executor, handler, ("say", "second task"))

        assert handler.said() == ["last word", "second task"]

    def test_tasks_follow_one_another_in_the_same_warm_worker(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started

        for _ in range(3):
            run(executor, handler, ("pid", None))

        assert len(handler.pids()) == 3
        assert len(set(handler.pids())) == 1

    def test_closing_twice_is_fine(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started
        told = list(handler.news)

        executor.close()
        executor.close()

        assert handler.news == told


class TestInlineExecutor(ExecutorContract):
    @pytest.fixture
    def started(self, tmp_path: Path) -> Iterator[tuple[Executor, Recorder]]:
        executor, handler = InlineExecutor(make_steps), Recorder()
        executor.start(handler)
        pump(executor, lambda: handler.count("idle") == 1)
        yield executor, handler
        executor.close()

    def test_what_was_queued_when_it_is_closed_is_not_run(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started
        executor.assign(0, task(("say", "too late")))

        executor.close()
        executor.wait(0.01)

        assert handler.said() == []


class TestProcessesExecutor(ExecutorContract):
    """The contract on one warm process for all of it: a spawn costs half a second and more."""

    @pytest.fixture(scope="class")
    @classmethod
    def warm(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProcessesExecutor, Recorder]]:
        executor = ProcessesExecutor(make_steps, [{}], logs=tmp_path_factory.mktemp("logs"))
        handler = Recorder()
        executor.start(handler)
        pump(executor, lambda: handler.count("idle") == 1)
        yield executor, handler
        executor.close()

    @pytest.fixture
    def started(self, warm: tuple[ProcessesExecutor, Recorder]) -> Iterator[tuple[Executor, Recorder]]:
        executor, handler = warm
        handler.__init__()  # type: ignore[misc]
        handler.on_idle(0)
        yield warm
        executor.wait(0)
        assert handler.count("lost") == 0

    # closed in a test of its own, as this class shares its worker
    test_closing_twice_is_fine = None  # type: ignore[assignment]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[ProcessesExecutor, Recorder]]]:
    """Makes executors of worker processes and closes them after the test."""
    made: list[ProcessesExecutor] = []

    def start(factory: Any = make_steps, workers: int = 1, **settings: Any) -> tuple[ProcessesExecutor, Recorder]:
        executor, handler = ProcessesExecutor(factory, [{}] * workers, logs=tmp_path / "logs", **settings), Recorder()
        made.append(executor)
        executor.start(handler)
        return executor, handler

    yield start
    for executor in made:
        executor.close()


Make = Callable[..., tuple[ProcessesExecutor, Recorder]]


def test_a_killed_busy_worker_is_reported_with_its_signal_and_replaced_under_its_number(
    make: Make, tmp_path: Path
) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("idle") == 1)
    executor.assign(0, task(("pid", None), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.pids()))

    psutil.Process(handler.pids()[0]).kill()
    pump(executor, lambda: handler.count("lost") == 1)
    pump(executor, lambda: handler.count("idle") == 2)
    run(executor, handler, ("pid", None))

    assert next(news for news in handler.news if news[0] == "lost")[1] == 0
    assert handler.losses() == [Loss("its process was ended by SIGKILL")]
    assert handler.pids()[0] != handler.pids()[1]


def test_what_a_worker_said_before_it_died_is_heard_even_where_an_answer_comes_too_late(make: Make) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("idle") == 1)

    (worker,) = multiprocessing.active_children()
    handler.before_answer = lambda message: worker.join(DEADLINE_S)
    handler.answers["first"] = "stop"
    executor.assign(0, task(("say", "first"), ("say", "second"), ("say", "third"), ("kill yourself", None)))
    pump(executor, lambda: handler.count("lost") == 1)

    assert handler.said() == ["first", "second", "third"]


def test_a_worker_that_raises_is_lost_with_its_exit_code_and_its_log_says_why(make: Make, tmp_path: Path) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("idle") == 1)

    executor.assign(0, task(("raise", "out of ideas")))
    pump(executor, lambda: handler.count("lost") == 1)

    assert handler.losses() == [Loss("its process exited with code 1")]
    assert "RuntimeError: out of ideas" in (tmp_path / "logs" / "worker-0.log").read_text()
    assert executor.log_tail(0).endswith("RuntimeError: out of ideas")


def test_a_worker_that_never_gets_ready_ends_in_one_error_with_the_end_of_its_log(make: Make) -> None:
    executor, handler = make(make_nothing)

    with pytest.raises(ExecutorError, match="died 3 times before it was ready") as caught:
        pump(executor, lambda: False)

    assert "RuntimeError: no such device" in str(caught.value)
    assert handler.count("lost") == 2
    assert handler.count("idle") == 0


def test_recycling_replaces_a_worker_between_two_tasks_and_loses_none(make: Make) -> None:
    executor, handler = make(recycling=Recycling(after_tasks=2))
    pump(executor, lambda: handler.count("idle") == 1)

    tasks = 0
    end = time.monotonic() + DEADLINE_S
    while len(set(handler.pids())) < 2:
        assert time.monotonic() < end
        run(executor, handler, ("pid", None))
        tasks += 1
    for _ in range(3):  # the news of the old one's end must not reach the new one
        executor.wait(0.05)
    old, new = dict.fromkeys(handler.pids())

    assert handler.count("lost") == 0
    assert handler.count("idle") == tasks + 1
    assert len(handler.pids()) == tasks > 2
    assert not psutil.pid_exists(old)
    run(executor, handler, ("pid", None))
    assert handler.pids()[-1] == new


def test_a_worker_that_has_grown_is_replaced(make: Make) -> None:
    executor, handler = make(recycling=Recycling(above_bytes=1))
    pump(executor, lambda: handler.count("idle") == 1)

    end = time.monotonic() + DEADLINE_S
    while len(set(handler.pids())) < 2:
        assert time.monotonic() < end
        run(executor, handler, ("pid", None))

    assert handler.count("lost") == 0


def test_a_worker_that_does_not_get_on_is_ended_with_the_reason_and_replaced(make: Make, tmp_path: Path) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("idle") == 1)
    executor.assign(0, task(("pid", None), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.pids()))
    psutil.Process(handler.pids()[0]).suspend()  # it would not hear anything gentler than SIGKILL

    executor.end(0, "it hangs")
    pump(executor, lambda: handler.count("idle") == 2)

    assert handler.losses() == [Loss("it hangs", LossKind.ENDED)]


def test_a_worker_that_grows_beyond_its_cap_is_ended_in_the_middle_of_its_task(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.executors.processes._LOOK_S", 0.0)
    executor, handler = make(recycling=Recycling(cap_bytes=400 << 20))
    pump(executor, lambda: handler.count("idle") == 1)

    executor.assign(0, task(("fill MiB", 500), ("wait for", tmp_path / "never")))
    pump(executor, lambda: handler.count("idle") == 2)

    (loss,) = handler.losses()
    assert loss.kind is LossKind.MEMORY
    assert "may use 400 (execution.memory_cap_mb)" in loss.reason


def test_a_kill_while_the_system_ends_processes_for_lack_of_memory_is_for_lack_of_memory(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\nhigh 0\noom 0\noom_kill 3\n")
    monkeypatch.setattr(memory, "_COUNTERS", (tmp_path / "absent", counter))
    executor, handler = make()
    pump(executor, lambda: handler.count("idle") == 1)

    executor.assign(0, task(("say", "about to die"), ("kill yourself", None)))

    def one_more(message: Any) -> None:
        counter.write_text("oom_kill 4\n")

    handler.before_answer = one_more
    pump(executor, lambda: handler.count("lost") == 1)

    assert handler.losses()[0].kind is LossKind.MEMORY


def test_the_end_of_a_log_is_of_the_task_and_of_no_earlier_one(make: Make) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("idle") == 1)

    run(executor, handler, ("print", "of the first"))
    run(executor, handler, ("print", "of the second"))

    assert executor.log_tail(0) == "of the second"


def test_a_log_that_has_grown_large_is_put_aside_before_the_next_task(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.executors.logs._MOST_BYTES", 5)
    executor, handler = make()
    pump(executor, lambda: handler.count("idle") == 1)
    run(executor, handler, ("print", "more than five bytes"))

    run(executor, handler, ("print", "of the same process"))

    assert (tmp_path / "logs" / "worker-0.log").read_text() == "of the same process\n"
    assert (tmp_path / "logs" / "worker-0.log.1").read_text() == "more than five bytes\n"
    assert executor.log_tail(0) == "of the same process"


def test_a_worker_that_outlives_its_controller_is_found_and_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        pids.note_pid(tmp_path, 0, worker.pid)
        stranger = tmp_path / "worker-7-1.pid"  # a number that the system has given to another process since
        stranger.write_text('{"pid": 1, "create_time": 12.0}')

        found = [process and process.pid for process in pids.left_over(tmp_path).values()]
        ended = pids.end_left_over(tmp_path)

        assert found == [worker.pid, None]
        assert ended == 1
        assert not psutil.pid_exists(worker.pid)
    assert pids.left_over(tmp_path) == {}


def test_no_note_of_a_worker_stays_when_all_is_closed(make: Make, tmp_path: Path) -> None:
    executor, handler = make(workers=2)
    pump(executor, lambda: handler.count("idle") == 2)
    assert len(list((tmp_path / "logs").glob("*.pid"))) == 2

    executor.close()

    assert list((tmp_path / "logs").glob("*.pid")) == []


def test_closing_ends_every_process_busy_or_not_and_no_news_come_after_it(make: Make, tmp_path: Path) -> None:
    executor, handler = make(workers=2)
    pump(executor, lambda: handler.count("idle") == 2)
    executor.assign(1, task(("pid", None), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.pids()))
    processes = [psutil.Process(child.pid) for child in multiprocessing.active_children()]
    told = len(handler.news)

    executor.close()
    executor.close()

    assert len(processes) == 2
    assert psutil.wait_procs(processes, DEADLINE_S)[1] == []
    assert len(handler.news) == told


CONTROLLER = """
import sys
from pathlib import Path
from pipelines.executors.processes import ProcessesExecutor
from tests.contracts.test_executors import Recorder, pump, task
from tests.contracts.workers import make_steps

if __name__ == "__main__":
    executor, handler = ProcessesExecutor(make_steps, [{}, {}], logs=Path(sys.argv[1])), Recorder()
    executor.start(handler)
    pump(executor, lambda: handler.count("idle") == 2)
    executor.assign(1, task(("say until answered", "epoch")))
    pump(executor, lambda: bool(handler.said()))
    print("both at work", flush=True)
    pump(executor, lambda: False)
"""


def test_the_death_of_the_controller_ends_its_workers(repository: Path, tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(CONTROLLER)
    controller = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "logs")],
        env={"PYTHONPATH": str(repository), "PATH": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    with controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "both at work\n"
        children = psutil.Process(controller.pid).children()

        controller.kill()
        controller.wait(DEADLINE_S)

    assert len(children) >= 2
    assert psutil.wait_procs(children, DEADLINE_S)[1] == []
