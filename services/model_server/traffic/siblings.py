"""Feedback for another process on the same port: who does not know a request asks its siblings, over a socket file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from services.model_server.errors import BadInput, RequestError

# Longer than any feedback on a request that is remembered.
_MOST_BYTES = 4 * 2**20
_PATIENCE_S = 2.0

Answer = Callable[[dict[str, Any]], bytes | None]


class Siblings:
    """The processes on one port, each with a socket file in a folder that only their user can enter."""

    def __init__(self, folder: Path, number: int, answer: Answer) -> None:
        """Opens nothing yet.

        Args:
            folder: Where the sockets are.
            number: Which of the processes this is.
            answer: Answers feedback on a request of this process; None if it does not know the request.
        """
        self._folder = folder
        self._path = folder / f"feedback-{number}.sock"
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Starts to answer.

        Raises:
            OSError: the socket cannot be made.
        """
        self._path.unlink(missing_ok=True)  # of a process that died on this seat
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_MOST_BYTES)

    async def close(self) -> None:
        """Answers nobody any more."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def ask(self, request: dict[str, Any]) -> bytes | None:
        """Asks all others at once for an answer to feedback.

        Returns:
            The body of the answer; None if nobody knows the request.

        Raises:
            BadInput: who knows it says what is wrong with the feedback.
        """
        others = [path for path in self._folder.glob("feedback-*.sock") if path != self._path]
        line = orjson.dumps(request) + b"\n"
        for reply in await asyncio.gather(*(_ask(path, line) for path in others)):
            if "error" in reply:
                raise BadInput(str(reply["error"]))
            if "answer" in reply:
                return orjson.dumps(reply["answer"])
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            request = orjson.loads(await reader.readuntil(b"\n"))
            try:
                answer = self._answer(request)
                if answer is not None:
                    reply = {"answer": orjson.Fragment(answer)}
            except RequestError as error:
                reply = {"error": str(error)}
            writer.write(orjson.dumps(reply) + b"\n")
        await _closed(writer)


async def _ask(path: Path, line: bytes) -> dict[str, Any]:
    """Asks one sibling; an empty reply if it is gone, or too slow."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=_MOST_BYTES)
            try:
                writer.write(line)
                reply: dict[str, Any] = orjson.loads(await reader.readuntil(b"\n"))
                return reply
            finally:
                await _closed(writer)
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
        return {}


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
