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
from pipelines.executors.docker.base import ContainerPlan
from pipelines.executors.docker.berth import Berth
from pipelines.executors.docker.containers import COMMAND, Containers
from pipelines.executors.inline import InlineExecutor
from pipelines.executors.processes import ProcessesExecutor, Recycling
from pipelines.executors.reception import Reception
from pipelines.executors.slots import SlotsExecutor
from pipelines.executors.staff import Agency
from tests.contracts.afar import AfarAgency
from tests.contracts.engines import IMAGE, FakeEngine
from tests.contracts.workers import make_eager, make_nothing, make_steps, make_together

# Only a test that fails waits so long; a busy machine can take half a minute to start a few workers.
DEADLINE_S = 120.0


class Recorder:
    """A handler that writes down everything it is told."""

    def __init__(self) -> None:
        self.news: list[tuple[str, int, Any]] = []
        self.answers: dict[Any, Any] = {}
        self.before_answer: Callable[[Any], None] = lambda message: None

    def on_room(self, worker: int, places: int) -> None:
        self.news.append(("room", worker, places))

    def on_rest(self, worker: int, tasks: int) -> None:
        self.news.append(("rest", worker, tasks))

    def on_message(self, worker: int, message: Any) -> Any:
        self.news.append(("said", worker, message))
        self.before_answer(message)
        return self.answers.get(message)

    def on_lost(self, worker: int, loss: Loss) -> None:
        self.news.append(("lost", worker, loss))

    @property
    def room(self) -> int:
        """Places that were told, over all."""
        return sum(places for word, _, places in self.news if word == "room")

    def rests(self) -> list[int]:
        return [tasks for word, _, tasks in self.news if word == "rest"]

    def of_task(self, name: str) -> list[int]:
        """The rounds of a task that `make_together` works on."""
        return [done for _, found, done, _ in self.said() if found == name]

    def heard_by(self, name: str) -> tuple[str, ...]:
        """All answers that such a task had in its last round."""
        heard: list[tuple[str, ...]] = [answers for _, found, _, answers in self.said() if found == name]
        return heard[-1]

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


def each(name: str, rounds: int, **more: Any) -> dict[str, Any]:
    """A task for `make_together`."""
    return {"name": name, "rounds": rounds, **more}


def give(executor: Executor, *tasks: dict[str, Any]) -> None:
    for one in tasks:
        executor.assign(0, one)


def run(executor: Executor, handler: Recorder, *steps: tuple[str, Any]) -> None:
    """Has worker 0, which has room, do one task to its end."""
    rests, rooms = handler.count("rest"), handler.count("room")
    executor.assign(0, task(*steps))
    pump(executor, lambda: handler.count("rest") > rests and handler.count("room") > rooms)


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


class ExecutorContract(ABC):
    """The suite. The executor has one worker, made by `make_steps`, and is warm."""

    @pytest.fixture
    @abstractmethod
    def together(self, tmp_path: Path) -> Iterator[tuple[Executor, Recorder]]:
        """The same with a worker made by `make_together`, which has four places."""

    @pytest.fixture
    @abstractmethod
    def started(self, tmp_path: Path) -> Iterator[tuple[Executor, Recorder]]:
        """A warm executor and what it told so far."""

    def test_a_worker_tells_its_room_once_when_it_is_ready(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started

        executor.wait(0.01)

        assert handler.news == [("room", 0, 1)]

    def test_messages_reach_the_handler_in_order_and_then_the_worker_rests(
        self, started: tuple[Executor, Recorder]
    ) -> None:
        executor, handler = started
        handler.news.clear()

        run(executor, handler, *(("say", number) for number in range(50)))

        *said, room, (word, worker, tasks) = handler.news
        assert said == [("said", 0, number) for number in range(50)]
        assert room == ("room", 0, 1)
        assert (word, worker) == ("rest", 0)
        assert tasks >= 1

    def test_another_handler_hears_of_the_room_and_of_all_that_comes_after(
        self, started: tuple[Executor, Recorder]
    ) -> None:
        executor, before = started
        run(executor, before, ("say", "before"))
        heard, after = len(before.news), Recorder()

        executor.hand_over(after)
        assert after.news == [("room", 0, 1)]
        run(executor, after, ("say", "after"))

        assert after.said() == ["after"]
        assert len(before.news) == heard
        executor.hand_over(before)  # the tests of a class share it

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

    def test_a_worker_has_as_many_tasks_under_way_as_it_has_room_for(
        self, together: tuple[Executor, Recorder], tmp_path: Path
    ) -> None:
        executor, handler = together
        assert handler.room == 4

        give(executor, each("a", 3, until={0: tmp_path / "all given"}), *(each(name, 3) for name in "bcd"))
        (tmp_path / "all given").touch()
        pump(executor, lambda: handler.count("rest") > 0)

        assert [handler.of_task(name) for name in "abcd"] == [[0, 1, 2]] * 4
        rounds = [(name, done) for _, name, done, _ in handler.said()]
        assert rounds.index(("d", 0)) < rounds.index(("a", 2))
        assert handler.rests() == [4]
        assert handler.room == 8

    def test_room_is_told_when_a_task_ends_and_not_only_when_all_have(
        self, together: tuple[Executor, Recorder], tmp_path: Path
    ) -> None:
        executor, handler = together

        def more(message: Any) -> None:
            if message[1:3] == ("long", 2):
                executor.assign(0, each("late", 2))
                (tmp_path / "given").touch()

        handler.before_answer = more
        give(executor, each("long", 9, until={3: tmp_path / "given"}), each("short", 1))
        pump(executor, lambda: handler.rests()[-1:] == [3])

        rounds = [(name, done) for _, name, done, _ in handler.said()]
        assert rounds.index(("late", 1)) < rounds.index(("long", 8))
        first_rest = next(place for place, (word, _, _) in enumerate(handler.news) if word == "rest")
        assert [word for word, _, _ in handler.news[1:first_rest]].count("room") == 3

    def test_every_answer_reaches_its_task_whoever_spoke_when_it_came(
        self, together: tuple[Executor, Recorder], tmp_path: Path
    ) -> None:
        executor, handler = together

        def tells(message: Any) -> None:
            if message[1:3] == ("a", 2):
                for name in "abc":
                    executor.tell(0, (name, f"to {name}"))
                executor.tell(0, ("d", "stop"))
                (tmp_path / "told").touch()

        handler.before_answer = tells
        gates = {0: tmp_path / "all given", 3: tmp_path / "told"}
        give(executor, each("a", 6, until=gates), *(each(name, 20) for name in "bcd"))
        gates[0].touch()
        pump(executor, lambda: handler.rests()[-1:] == [4])

        assert [handler.of_task(name)[-1] for name in "abc"] == [5, 19, 19]
        assert [handler.heard_by(name) for name in "abc"] == [("to a",), ("to b",), ("to c",)]
        assert handler.of_task("d")[-1] < 5

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
        pump(executor, lambda: handler.count("room") == 1)
        yield executor, handler
        executor.close()

    @pytest.fixture
    def together(self, tmp_path: Path) -> Iterator[tuple[Executor, Recorder]]:
        executor, handler = InlineExecutor(make_together), Recorder()
        executor.start(handler)
        pump(executor, lambda: handler.room == 4)
        yield executor, handler
        executor.close()

    def test_what_was_queued_when_it_is_closed_is_not_run(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started
        executor.assign(0, task(("say", "too late")))

        executor.close()
        executor.wait(0.01)

        assert handler.said() == []


class OneWorkerContract(ExecutorContract):
    """The contract on one warm worker for all of it, as to start one takes long."""

    @pytest.fixture(scope="class")
    @classmethod
    @abstractmethod
    def warm(cls) -> Iterator[tuple[Executor, Recorder]]:
        """An executor whose one worker, made by `make_steps`, has told its room."""

    @pytest.fixture
    def started(self, warm: tuple[Executor, Recorder]) -> Iterator[tuple[Executor, Recorder]]:
        executor, handler = warm
        handler.__init__()  # type: ignore[misc]
        handler.on_room(0, 1)
        yield warm
        executor.wait(0)
        assert handler.count("lost") == 0

    # closed in a test of its own, as this class shares its worker
    test_closing_twice_is_fine = None  # type: ignore[assignment]


class TestProcessesExecutor(OneWorkerContract):
    """The contract on one warm process for all of it: a spawn costs half a second and more."""

    @pytest.fixture(scope="class")
    @classmethod
    def warm(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProcessesExecutor, Recorder]]:
        executor = ProcessesExecutor(make_steps, [{}], logs=tmp_path_factory.mktemp("logs"))
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


class DialledContract(OneWorkerContract):
    """The contract on workers that dial in: one warm worker for all of it."""

    @pytest.fixture(scope="class")
    @classmethod
    @abstractmethod
    def hire(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Agency]]:
        """Opens an agency for workers that a factory makes."""

    @pytest.fixture(scope="class")
    @classmethod
    def seen(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A folder that the workers see, too."""
        return tmp_path_factory.mktemp("seen")

    @pytest.fixture(scope="class")
    @classmethod
    def warm(cls, hire: Callable[[Any], Agency], seen: Path) -> Iterator[tuple[SlotsExecutor, Recorder]]:
        executor, handler = SlotsExecutor(hire(make_steps), 1, logs=seen / "warm"), Recorder()
        executor.start(handler)
        pump(executor, lambda: handler.count("room") == 1)
        yield executor, handler
        executor.close()

    @pytest.fixture
    def together(self, hire: Callable[[Any], Agency], seen: Path) -> Iterator[tuple[Executor, Recorder]]:
        executor, handler = SlotsExecutor(hire(make_together), 1, logs=seen / "together"), Recorder()
        executor.start(handler)
        pump(executor, lambda: handler.room == 4)
        yield executor, handler
        executor.close()


class TestContainers(DialledContract):
    """Over a Unix socket, with the same files on both sides."""

    @pytest.fixture(scope="class")
    @classmethod
    def hire(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Agency]]:
        folder = tmp_path_factory.mktemp("engine")
        engine = FakeEngine(folder)

        def hire(factory: Any) -> Agency:
            plan = ContainerPlan(IMAGE, COMMAND, "")
            return Containers(engine, Berth("study", folder, tmp_path_factory.mktemp("logs"), plan, [{}]), factory)

        yield hire
        engine.clear()


class TestDialledFromAfar(DialledContract):
    """Over TCP, by workers that cannot write the controller's files."""

    @pytest.fixture(scope="class")
    @classmethod
    def hire(cls) -> Callable[[Any], Agency]:
        return lambda factory: AfarAgency(factory, Reception.at_port("127.0.0.1"), same_files=False)

    def test_what_it_prints_is_in_its_log_here(self, started: tuple[Executor, Recorder]) -> None:
        executor, handler = started

        run(executor, handler, ("print", "from afar"))
        pump(executor, lambda: executor.log_tail(0) == "from afar")


def test_a_killed_busy_worker_is_reported_with_its_signal_and_replaced_under_its_number(
    make: Make, tmp_path: Path
) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)
    executor.assign(0, task(("pid", None), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.pids()))

    psutil.Process(handler.pids()[0]).kill()
    pump(executor, lambda: handler.count("lost") == 1)
    pump(executor, lambda: handler.count("room") == 2)
    run(executor, handler, ("pid", None))

    assert next(news for news in handler.news if news[0] == "lost")[1] == 0
    assert handler.losses() == [Loss("its process was ended by SIGKILL")]
    assert handler.pids()[0] != handler.pids()[1]


def test_what_a_worker_said_before_it_died_is_heard_even_where_an_answer_comes_too_late(make: Make) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)

    (worker,) = multiprocessing.active_children()
    handler.before_answer = lambda message: worker.join(DEADLINE_S)
    handler.answers["first"] = "stop"
    executor.assign(0, task(("say", "first"), ("say", "second"), ("say", "third"), ("kill yourself", None)))
    pump(executor, lambda: handler.count("lost") == 1)

    assert handler.said() == ["first", "second", "third"]


def test_a_worker_that_raises_is_lost_with_its_exit_code_and_its_log_says_why(make: Make, tmp_path: Path) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)

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
    assert handler.count("room") == 0


def test_recycling_replaces_a_worker_between_two_tasks_and_loses_none(make: Make) -> None:
    executor, handler = make(recycling=Recycling(after_tasks=2))
    pump(executor, lambda: handler.count("room") == 1)

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
    assert handler.count("room") == tasks + 1
    assert [done for word, _, done in handler.news if word == "rest"] == list(range(1, tasks + 1))
    assert len(handler.pids()) == tasks > 2
    assert not psutil.pid_exists(old)
    run(executor, handler, ("pid", None))
    assert handler.pids()[-1] == new


def test_a_worker_that_has_grown_is_replaced(make: Make) -> None:
    executor, handler = make(recycling=Recycling(above_bytes=1))
    pump(executor, lambda: handler.count("room") == 1)

    end = time.monotonic() + DEADLINE_S
    while len(set(handler.pids())) < 2:
        assert time.monotonic() < end
        run(executor, handler, ("pid", None))

    assert handler.count("lost") == 0


def test_a_worker_that_does_not_get_on_is_ended_with_the_reason_and_replaced(make: Make, tmp_path: Path) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)
    executor.assign(0, task(("pid", None), ("wait for", tmp_path / "never")))
    pump(executor, lambda: bool(handler.pids()))
    psutil.Process(handler.pids()[0]).suspend()  # it would not hear anything gentler than SIGKILL

    executor.end(0, "it hangs")
    pump(executor, lambda: handler.count("room") == 2)

    assert handler.losses() == [Loss("it hangs", LossKind.ENDED)]


def test_a_worker_that_grows_beyond_its_cap_is_ended_in_the_middle_of_its_task(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.executors.slots._LOOK_S", 0.0)
    executor, handler = make(recycling=Recycling(cap_bytes=400 << 20))
    pump(executor, lambda: handler.count("room") == 1)

    executor.assign(0, task(("fill MiB", 500), ("wait for", tmp_path / "never")))
    pump(executor, lambda: handler.count("room") == 2)

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
    pump(executor, lambda: handler.count("room") == 1)

    executor.assign(0, task(("say", "about to die"), ("kill yourself", None)))

    def one_more(message: Any) -> None:
        counter.write_text("oom_kill 4\n")

    handler.before_answer = one_more
    pump(executor, lambda: handler.count("lost") == 1)

    assert handler.losses()[0].kind is LossKind.MEMORY


def test_a_worker_that_dies_is_lost_with_all_its_tasks_and_its_room(make: Make) -> None:
    executor, handler = make(make_together)
    pump(executor, lambda: handler.room == 4)

    give(executor, each("a", 10**6), each("b", 10**6), each("c", 1, dies=True))
    pump(executor, lambda: handler.room == 8)

    assert handler.losses() == [Loss("its process was ended by SIGKILL")]
    assert handler.count("rest") == 0
    before = len(handler.said())
    give(executor, *(each(name, 1) for name in "efgh"))
    pump(executor, lambda: handler.rests()[-1:] == [7])  # of all that were ever given
    assert {name for _, name, _, _ in handler.said()[before:]} == set("efgh")


def test_a_worker_of_many_tasks_is_replaced_when_it_has_come_to_rest_and_loses_none(make: Make, tmp_path: Path) -> None:
    executor, handler = make(make_together, recycling=Recycling(above_bytes=1))
    pump(executor, lambda: handler.room == 4)
    first = multiprocessing.active_children()

    give(executor, each("short", 1), each("long", 2, until={1: tmp_path / "go on"}))
    pump(executor, lambda: len(multiprocessing.active_children()) == 2)
    (successor,) = set(multiprocessing.active_children()) - set(first)
    pump(executor, lambda: executor._slots[0].replaceable)
    (tmp_path / "go on").touch()
    pump(executor, lambda: handler.rests()[-1:] == [2])
    assert not first[0].is_alive()
    assert handler.room == 2 + 4  # those that were used, and those of the successor
    give(executor, each("next", 1))
    pump(executor, lambda: handler.rests()[-1:] == [3])

    assert handler.said()[-1][:2] == (successor.pid, "next")
    assert handler.count("lost") == 0


def test_more_tasks_than_a_pipe_has_space_for_keep_nobody_waiting(make: Make) -> None:
    executor, handler = make(make_eager)
    pump(executor, lambda: handler.room == 500)
    psutil.Process(multiprocessing.active_children()[0].pid).suspend()  # it takes nothing

    give(executor, *(each(str(number), 1, ballast="x" * 4000) for number in range(500)))
    psutil.Process(multiprocessing.active_children()[0].pid).resume()
    pump(executor, lambda: handler.rests()[-1:] == [500])

    assert [name for _, name, _, _ in handler.said()] == [str(number) for number in range(500)]


def test_the_end_of_a_log_is_of_the_task_and_of_no_earlier_one(make: Make) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)

    run(executor, handler, ("print", "of the first"))
    run(executor, handler, ("print", "of the second"))

    assert executor.log_tail(0) == "of the second"


def test_a_log_that_has_grown_large_is_put_aside_before_the_next_task(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.executors.logs._MOST_BYTES", 5)
    executor, handler = make()
    pump(executor, lambda: handler.count("room") == 1)
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
    pump(executor, lambda: handler.count("room") == 2)
    assert len(list((tmp_path / "logs").glob("*.pid"))) == 2

    executor.close()

    assert list((tmp_path / "logs").glob("*.pid")) == []


def test_closing_ends_every_process_busy_or_not_and_no_news_come_after_it(make: Make, tmp_path: Path) -> None:
    executor, handler = make(workers=2)
    pump(executor, lambda: handler.count("room") == 2)
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
    pump(executor, lambda: handler.count("room") == 2)
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
