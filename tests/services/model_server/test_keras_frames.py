"""What goes between the server and its Keras child: every array comes back as it went, and nothing else is a frame."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.model_server.keras_engine import frames
from services.model_server.keras_engine.frames import (
    MOST_ARRAY_BYTES,
    MOST_JSON_BYTES,
    BadFrame,
    Ended,
    Frame,
    Kind,
    TooLarge,
    TooLate,
    receive,
    send,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def through(array: Any, facts: dict[str, Any] | None = None) -> Frame:
    """Sends an array over a way and takes it off at the other end."""
    left, right = socket.socketpair()
    with left, right:
        sender = threading.Thread(target=send, args=(left, Kind.RUN, facts or {}, array, 10.0))
        sender.start()
        frame = receive(right, 10.0)
        sender.join()
    return frame


def head(magic: bytes = b"RGK1", kind: int = 4, json_bytes: int = 0, array_bytes: int = 0) -> bytes:
    return struct.pack("<4sIIQ", magic, kind, json_bytes, array_bytes)


def frame_of(described: Any, payload: bytes = b"", kind: int = 4) -> bytes:
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    return head(kind=kind, json_bytes=len(text), array_bytes=len(payload)) + text + payload


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8]),
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
    )
)
def test_numbers_come_back_bit_by_bit(array: Any) -> None:
    found = through(array).array

    assert found is not None
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(hnp.arrays(object, hnp.array_shapes(max_dims=2, min_side=0), elements=st.text()))
def test_texts_come_back_sign_by_sign(array: Any) -> None:
    found = through(array).array

    assert found is not None
    assert (found.dtype, found.shape) == (np.dtype(object), array.shape)
    assert found.tolist() == array.tolist()


def test_a_text_that_is_no_unicode_comes_as_another_one() -> None:
    found = through(np.array([["\ud800x"]], dtype=object)).array

    assert found is not None
    assert found.tolist() == [["?x"]]


def test_rows_that_lie_apart_in_memory_and_large_ones_come_whole() -> None:
    array = np.arange(2_000_000, dtype=np.float32).reshape(1000, 2000)[::2, ::3]

    frame = through(array, {"id": 7})

    assert frame.array is not None
    np.testing.assert_array_equal(frame.array, array)
    assert (frame.kind, frame.facts) == (Kind.RUN, {"id": 7})


BAD = {
    "another magic": head(magic=b"HTTP"),
    "an unknown kind": frame_of({"facts": {}}, kind=99),
    "too much JSON": head(json_bytes=MOST_JSON_BYTES + 1),
    "too large an array": head(array_bytes=MOST_ARRAY_BYTES + 1),
    "no JSON": frame_of(b"{{{{"),
    "no text": frame_of(b"\xff\xfe"),
    "JSON that is nested too deep": frame_of(b"[" * 100_000),
    "no object": frame_of([1, 2]),
    "no facts": frame_of({"array": None}),
    "facts that are no object": frame_of({"facts": []}),
    "an array that nothing describes": frame_of({"facts": {}}, b"1234"),
    "a description that is none": frame_of({"facts": {}, "array": 3}, b"1234"),
    "no shape": frame_of({"facts": {}, "array": {"dtype": "float32"}}, b"1234"),
    "a shape below zero": frame_of({"facts": {}, "array": {"dtype": "float32", "shape": [-1, -1]}}, b"1234"),
    "a shape of fractions": frame_of({"facts": {}, "array": {"dtype": "float32", "shape": [1.0]}}, b"1234"),
    "a shape of truths": frame_of({"facts": {}, "array": {"dtype": "float32", "shape": [True]}}, b"1234"),
    "too many dimensions": frame_of({"facts": {}, "array": {"dtype": "float32", "shape": [1] * 17}}, b"1234"),
    "a shape of another size": frame_of({"facts": {}, "array": {"dtype": "float32", "shape": [2]}}, b"1234"),
    "a dtype of objects": frame_of({"facts": {}, "array": {"dtype": "object", "shape": [1]}}, b"12345678"),
    "a dtype that runs": frame_of({"facts": {}, "array": {"dtype": ["f", "O"], "shape": [1]}}, b"12345678"),
    "texts without their lengths": frame_of({"facts": {}, "array": {"dtype": "string", "shape": [9]}}, b"1234"),
    "texts with other lengths": frame_of(
        {"facts": {}, "array": {"dtype": "string", "shape": [1]}}, struct.pack("<I", 2**32 - 1) + b"x"
    ),
    "texts and more": frame_of({"facts": {}, "array": {"dtype": "string", "shape": [1]}}, struct.pack("<I", 1) + b"xy"),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_is_no_frame_is_none(pair: Pair, content: bytes) -> None:
    sender = threading.Thread(target=pair[0].sendall, args=(content,))
    sender.start()
    with pytest.raises(BadFrame):
        receive(pair[1], 10.0)
    sender.join()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bad_frame_or_the_end(content: bytes) -> None:
    for begin in (b"", head()[:8], frame_of({"facts": {}, "array": {"dtype": "float32", "shape": [1]}})[:20]):
        left, right = socket.socketpair()
        with left, right:
            left.sendall(begin + content)
            left.shutdown(socket.SHUT_WR)
            with pytest.raises((BadFrame, Ended)):
                receive(right, 10.0)


@pytest.mark.parametrize("sent", [0, 5, 20, 25])
def test_an_end_in_the_middle_is_the_end(pair: Pair, sent: int) -> None:
    pair[0].sendall(frame_of({"facts": {}})[:sent])
    pair[0].close()

    with pytest.raises(Ended):
        receive(pair[1], 10.0)


def test_a_frame_that_does_not_come_whole_in_time_is_too_late(pair: Pair) -> None:
    pair[0].sendall(frame_of({"facts": {}})[:-1])

    with pytest.raises(TooLate):
        receive(pair[1], 0.05)


def test_a_frame_that_nobody_takes_is_too_late(pair: Pair) -> None:
    with pytest.raises(TooLate):
        send(pair[0], Kind.RUN, {}, np.zeros(10_000_000, np.float32), 0.05)


def test_an_array_that_is_too_long_is_not_sent(pair: Pair) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(frames, "MOST_ARRAY_BYTES", 10)
        with pytest.raises(TooLarge, match="20 bytes at once are more than 10; send fewer rows"):
            send(pair[0], Kind.RUN, {}, np.zeros(20, np.uint8), 1.0)

    send(pair[0], Kind.RUN, {"id": 1}, np.zeros(1, np.uint8), 1.0)
    assert receive(pair[1], 1.0).facts == {"id": 1}


def test_nobody_there_is_the_end(pair: Pair) -> None:
    pair[1].close()

    with pytest.raises(Ended):
        send(pair[0], Kind.RUN, {}, np.zeros(10_000_000, np.float32), 10.0)
