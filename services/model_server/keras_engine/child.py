"""The child: loads one model when it is told to, then computes what it is asked, and ends when the server does."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from services.model_server.keras_engine.frames import BadFrame, Ended, Frame, Kind, receive, send
from services.model_server.keras_engine.model import KerasModel

EXIT_REFUSED, EXIT_BAD_FRAME = 1, 3


def main(descriptor: int) -> int:
    """Runs the child until its server ends it, and returns its exit code.

    Args:
        descriptor: Of the way to the server.
    """
    try:
        return serve(socket.socket(fileno=descriptor))
    except Ended:
        return 0
    except BadFrame as problem:
        print(f"the server sent what is no frame: {problem}", file=sys.stderr)
        return EXIT_BAD_FRAME


def serve(channel: socket.socket) -> int:
    """Answers frames; the first must be `LOAD`.

    Raises:
        Ended: the server has closed the way.
        BadFrame: what came is no frame, or not one that may come now.
    """
    frame = receive(channel)
    if frame.kind is not Kind.LOAD:
        raise BadFrame(f"the first is a {frame.kind.name}")
    try:
        model = load(frame)
        model.warm()
    except Exception as error:  # whatever a model makes of TensorFlow is the server's to tell
        send(channel, Kind.FAILED, {"error": _told(error)})
        return EXIT_REFUSED
    send(channel, Kind.READY, {"sizes": list(model.sizes), "traces": model.traces})
    while True:
        frame = receive(channel)
        if frame.kind is not Kind.RUN or frame.array is None:
            raise BadFrame(f"a {frame.kind.name} came where rows should")
        told = {"id": frame.facts.get("id"), "traces": model.traces}
        try:
            outputs = model.run(frame.array)
        except Exception as error:  # one request that fails, such as for lack of memory, is not the end
            send(channel, Kind.FAILED, {**told, "error": _told(error)})
            continue
        send(channel, Kind.OUTPUT, told, outputs)


def load(frame: Frame) -> KerasModel:
    """Loads the model that a `LOAD` frame tells of."""
    facts: Any = frame.facts
    return KerasModel(
        Path(facts["path"]),
        shape=facts["shape"],
        outputs=facts["outputs"],
        columns=facts["columns"],
        texts=facts["texts"],
        threads=facts["threads"],
        max_batch=facts["max_batch"],
    )


def _told(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
