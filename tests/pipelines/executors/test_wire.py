from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from pipelines.executors.wire import Wire


@pytest.fixture
def pair() -> Iterator[tuple[Wire, Connection]]:
    wire, theirs = Wire.pair()
    yield wire, theirs
    wire.close()
    theirs.close()


@pytest.fixture
def raw() -> Iterator[tuple[Wire, socket.socket]]:
    """A line to somebody who writes what they like."""
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    yield wire, theirs
    wire.close()
    theirs.close()


def taken(wire: Wire) -> list[object]:
    while wire.listen():
        pass
    messages = []
    while wire.has_word:
        messages.append(wire.take())
    return messages


def test_messages_arrive_in_order_in_both_directions(pair: tuple[Wire, Connection]) -> None:
    wire, theirs = pair
    for number in range(100):
        theirs.send(("said", number))
        wire.send(("answer", number))

    assert taken(wire) == [("said", number) for number in range(100)]
    assert [theirs.recv() for _ in range(100)] == [("answer", number) for number in range(100)]


def test_a_part_of_a_message_is_none_and_keeps_nobody_waiting(raw: tuple[Wire, socket.socket]) -> None:
    wire, theirs = raw
    whole = struct.pack("!i", 1 << 20) + b"x" * 10

    theirs.sendall(whole)
    wire.listen()

    assert not wire.has_word
    assert not wire.ended


def test_a_message_larger_than_any_buffer_arrives_whole(pair: tuple[Wire, Connection]) -> None:
    wire, theirs = pair
    large = b"x" * (5 << 20)
    sender = threading.Thread(target=theirs.send, args=(large,))
    sender.start()

    while not wire.has_word:
        wire.listen()
    sender.join()

    assert wire.take() == large


def test_what_there_is_no_space_for_is_kept_and_sent_in_order(pair: tuple[Wire, Connection]) -> None:
    wire, theirs = pair
    messages = [b"x" * 100_000 + bytes([number]) for number in range(50)]
    for message in messages:
        wire.send(message)
    assert wire.has_mail

    heard = []
    for _ in messages:
        while not theirs.poll(0.01):
            wire.flush()
        reader = threading.Thread(target=lambda: heard.append(theirs.recv()))
        reader.start()
        while reader.is_alive():
            wire.flush()
        reader.join()

    assert heard == messages
    assert not wire.has_mail


def test_what_was_said_before_the_end_is_heard_and_then_it_is_the_end(pair: tuple[Wire, Connection]) -> None:
    wire, theirs = pair
    theirs.send("last words")
    theirs.close()

    assert taken(wire) == ["last words"]
    wire.listen()
    assert wire.ended
    wire.send("to nobody")  # is dropped without a word
    assert not wire.has_mail


@pytest.mark.parametrize("size", [-1, (1 << 30) + 1])
def test_a_message_of_no_size_that_ours_have_ends_the_line(raw: tuple[Wire, socket.socket], size: int) -> None:
    wire, theirs = raw
    theirs.sendall(struct.pack("!i", size) + b"nothing of ours")
    wire.listen()

    assert not wire.has_word
    assert wire.ended


def test_closing_twice_is_fine_and_the_other_end_sees_it(pair: tuple[Wire, Connection]) -> None:
    wire, theirs = pair
    wire.close()
    wire.close()

    assert wire.closed
    with pytest.raises(EOFError):
        theirs.recv()
