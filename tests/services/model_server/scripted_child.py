"""A child of the Keras engine without Keras: it answers the first numbers of each row, and misbehaves when it is asked.

`python -m tests.services.model_server.scripted_child STARTS… FD PID`. How it starts is the next word of the file
STARTS, `well` where there is none; how it answers is what the first number of the first row stands for in `ACTS`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from services.model_server.keras_engine.frames import Ended, Frame, Kind, receive, send
from services.model_server.keras_engine.leash import die_with

ACTS = {
    101: "dies",
    102: "hangs",
    103: "babbles",
    104: "answers another",
    105: "answers too few",
    106: "fails",
    107: "breaks off",
    108: "answers texts",
    109: "asks back",
}
OUTPUTS = 3


def main() -> int:
    starts, channel = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    die_with(int(sys.argv[3]))
    words = starts.read_text().split() if starts.exists() else []
    start = words[0] if words else "well"
    starts.write_text(" ".join(words[1:]))
    try:
        receive(channel)
        if start == "refuses":
            send(channel, Kind.FAILED, {"error": "Keras cannot load it: the test says so"})
        elif start == "dies":
            print("Killed by the test", file=sys.stderr)
            return 7
        elif start == "hangs":
            signal.pause()
        elif start == "babbles":
            channel.sendall(b"HTTP/1.1 200 OK\r\n" * 4)
        else:
            send(channel, Kind.READY, {"sizes": [1], "traces": 1})
        while True:
            frame = receive(channel)
            assert frame.array is not None
            answer(channel, frame, "forgets" if start == "forgets" else ACTS.get(int(frame.array.flat[0]), ""))
    except Ended:
        return 0


def answer(channel: socket.socket, frame: Frame, act: str) -> None:
    assert frame.array is not None
    told, outputs = {"id": frame.facts["id"]}, frame.array.reshape(len(frame.array), -1)[:, :OUTPUTS]
    match act:
        case "dies":
            os._exit(9)
        case "hangs":
            signal.pause()
        case "babbles":
            channel.sendall(b"Traceback (most recent call last):\n" * 100)
        case "answers another":
            send(channel, Kind.OUTPUT, {"id": told["id"] - 1}, outputs)
        case "answers too few":
            send(channel, Kind.OUTPUT, told, outputs[:0])
        case "fails":
            send(channel, Kind.FAILED, {**told, "error": "no memory for these rows"})
        case "breaks off":
            left, right = socket.socketpair()
            send(left, Kind.OUTPUT, told, outputs)
            channel.sendall(right.recv(65536)[:-1])
            os._exit(0)
        case "answers texts":
            send(channel, Kind.OUTPUT, told, outputs.astype(object))
        case "asks back":
            send(channel, Kind.RUN, told, outputs)
        case "forgets":
            send(channel, Kind.OUTPUT, told, outputs + 1)
        case _:
            send(channel, Kind.OUTPUT, told, outputs)


if __name__ == "__main__":
    sys.exit(main())
