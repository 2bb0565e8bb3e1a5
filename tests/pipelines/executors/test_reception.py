from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.calling import CallFailed, _connect, answer_call, dial, introduce
from pipelines.executors.reception import Invitation, Reception
from pipelines.executors.serving import MEMORY, PRINTED, REST, ROOM, SAID, TASK
from pipelines.executors.wire import Wire
from tests.contracts.workers import make_steps

DEADLINE_S = 60.0


class Desk:
    """A reception with a clock that is told the time, and who has arrived."""

    def __init__(self, reception: Callable[[Callable[[], float]], Reception]) -> None:
        self.now = 0.0
        self.reception = reception(lambda: self.now)
        self.arrived: list[Wire] = []

    def expect(self) -> Invitation:
        return self.reception.expect(self.arrived.append)

    def until(self, condition: Callable[[], bool]) -> None:
        pause, tries = threading.Event(), 0
        while not condition():
            assert tries < DEADLINE_S * 100, "it did not come to that"
            self.reception.attend()
            pause.wait(0.01)
            tries += 1


@pytest.fixture(params=["unix", "deep unix", "tcp"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    def at(clock: Callable[[], float]) -> Reception:
        if request.param == "tcp":
            made = Reception.at_port("127.0.0.1")
        else:
            folder = tmp_path / ("deep" * 40) if request.param == "deep unix" else tmp_path
            folder.mkdir(exist_ok=True)
            made = Reception.at_path(folder / "dial.sock")
        made._clock = clock
        return made

    desk = Desk(at)
    yield desk
    for wire in desk.arrived:
        wire.close()
    desk.reception.close()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def call(invitation: Invitation) -> Connection:
    pipe = dial(invitation, timeout_s=DEADLINE_S)
    introduce(pipe, invitation, timeout_s=DEADLINE_S)
    return pipe


def raw(desk: Desk) -> socket.socket:
    """Somebody who connects, and has heard the challenge."""
    stranger = _connect(desk.reception.address, DEADLINE_S)
    desk.until(lambda: len(desk.reception._callers) > 0)
    assert stranger.recv(1024)
    return stranger


def is_sent_away(desk: Desk, stranger: socket.socket) -> bool:
    desk.until(lambda: not desk.reception._callers)
    with suppress(ConnectionResetError):
        assert stranger.recv(1024) == b""
    stranger.close()
    return not desk.arrived


def test_who_is_invited_is_put_through_and_can_be_talked_to(desk: Desk, callers: ThreadPoolExecutor) -> None:
    called = callers.submit(call, desk.expect())
    desk.until(lambda: bool(desk.arrived))
    pipe, (wire,) = called.result(DEADLINE_S), desk.arrived

    pipe.send("hello")
    while not wire.has_word:
        wire.listen()
    wire.send("and welcome")

    assert wire.take() == "hello"
    assert pipe.recv() == "and welcome"
    pipe.close()


def test_an_invitation_is_good_for_one_call(desk: Desk, callers: ThreadPoolExecutor) -> None:
    invitation = desk.expect()
    called = callers.submit(call, invitation)
    desk.until(lambda: bool(desk.arrived))
    called.result(DEADLINE_S).close()

    again = callers.submit(call, invitation)
    desk.until(again.done)

    with pytest.raises(CallFailed, match="hung up"):
        again.result()
    assert len(desk.arrived) == 1


@pytest.mark.parametrize("wrong", [{"key": "00" * 32}, {"name": "somebody else"}])
def test_who_does_not_know_the_key_is_sent_away_and_the_invitation_stays_good(
    desk: Desk, callers: ThreadPoolExecutor, wrong: dict[str, str]
) -> None:
    invitation = desk.expect()
    stranger = callers.submit(call, replace(invitation, **wrong))
    desk.until(stranger.done)
    with pytest.raises(CallFailed, match="hung up"):
        stranger.result()
    assert desk.arrived == []

    called = callers.submit(call, invitation)
    desk.until(lambda: bool(desk.arrived))
    called.result(DEADLINE_S).close()


def test_a_worker_does_not_listen_to_a_controller_that_does_not_know_the_key(callers: ThreadPoolExecutor) -> None:
    ours, theirs = socket.socketpair()
    controller, worker = Connection(ours.detach()), Connection(theirs.detach())
    invitation = Invitation("unix:nowhere", "worker", "11" * 32)
    introduced = callers.submit(introduce, worker, invitation, timeout_s=DEADLINE_S)
    controller.send_bytes(b"challenge")
    told = json.loads(controller.recv_bytes())

    # what it has said itself is no answer either
    controller.send_bytes(invitation.proof("worker", told["challenge"].encode()))

    with pytest.raises(CallFailed, match="is not the controller"):
        introduced.result(DEADLINE_S)
    controller.close()
    worker.close()


@pytest.mark.parametrize(
    "said",
    [
        struct.pack("!i", -1),
        struct.pack("!i", 1 << 20),
        struct.pack("!i", 4) + b"none",
        struct.pack("!i", 2) + b"{}",
        struct.pack("!i", 900) + b"[" * 900,
        b"GET / HTTP/1.1\r\nHost: controller\r\n\r\n",
    ],
    ids=["negative", "large", "no JSON", "empty", "deep", "a browser"],
)
def test_a_stranger_who_says_anything_else_is_sent_away_and_nothing_is_unpickled(
    desk: Desk, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.executors.wire.ForkingPickler", None)
    desk.expect()
    stranger = raw(desk)
    stranger.sendall(said)
    assert is_sent_away(desk, stranger)


def test_a_stranger_who_says_nothing_is_sent_away_after_a_minute(desk: Desk) -> None:
    desk.expect()
    stranger = raw(desk)
    stranger.sendall(b"\0")
    desk.reception.attend()
    assert len(desk.reception._callers) == 1

    desk.now = 61.0
    assert is_sent_away(desk, stranger)


def test_nobody_can_call_a_controller_that_is_not_there(tmp_path: Path) -> None:
    invitation = Invitation(f"unix:{tmp_path}/dial.sock", "worker", "11" * 32)
    with pytest.raises(CallFailed, match=r"dial.sock cannot be reached: No such file"):
        dial(invitation, timeout_s=0)


def test_a_unix_socket_is_for_its_owner_alone_and_goes_with_the_reception(tmp_path: Path) -> None:
    path = tmp_path / "dial.sock"
    path.touch()  # that of a controller which was killed
    reception = Reception.at_path(path)

    assert path.stat().st_mode & 0o777 == 0o600
    reception.close()
    reception.close()
    assert not path.exists()


class Controller:
    """The controller's end of a worker that runs in a thread of this process."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def hear(self, word: str) -> Any:
        """What the next such word says; those before it are let pass."""
        pause, tries = threading.Event(), 0
        while True:
            while self.wire.has_word:
                found, content = self.wire.take()
                if found == word:
                    return content
            assert tries < DEADLINE_S * 100, f"it never said {word}"
            assert self.wire.listen() or not self.wire.ended
            pause.wait(0.01)
            tries += 1


def test_a_worker_that_dials_in_says_what_it_prints_and_how_much_memory_it_fills(
    desk: Desk, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[int] = []
    monkeypatch.setattr("pipelines.executors.serving._print_into", lambda descriptor: printed.append(descriptor))
    served: Future[None] = callers.submit(answer_call, desk.expect(), leave=lambda code: None)
    desk.until(lambda: bool(desk.arrived))
    controller = Controller(desk.arrived[0])
    controller.wire.send("")  # it sees none of our files
    controller.wire.send(make_steps)

    assert controller.hear(MEMORY) > 1 << 20
    assert controller.hear(ROOM) == 1
    os.write(printed[-1], b"something that it printed\n")
    assert controller.hear(PRINTED) == b"something that it printed\n"
    controller.wire.send((TASK, {"steps": [("say", "done")]}))
    assert controller.hear(SAID) == "done"
    assert controller.hear(REST) == 1
    controller.wire.close()
    served.result(DEADLINE_S)
    for descriptor in printed:
        os.close(descriptor)


def test_a_worker_that_is_busy_when_its_controller_goes_is_ended_a_moment_later(
    desk: Desk, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipelines.executors.calling._GRACE_S", 0.05)
    monkeypatch.setattr("pipelines.executors.serving._print_into", lambda descriptor: None)
    left = threading.Event()
    served = callers.submit(answer_call, desk.expect(), leave=lambda code: left.set())
    desk.until(lambda: bool(desk.arrived))
    controller = Controller(desk.arrived[0])
    controller.wire.send(str(tmp_path / "worker.log"))
    controller.wire.send(make_steps)
    controller.hear(ROOM)
    controller.wire.send((TASK, {"steps": [("say", "begun"), ("wait for", tmp_path / "go on")]}))
    controller.hear(SAID)

    controller.wire.close()

    assert left.wait(DEADLINE_S)
    (tmp_path / "go on").touch()
    served.result(DEADLINE_S)
