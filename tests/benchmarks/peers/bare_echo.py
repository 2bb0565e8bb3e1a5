"""A bare ASGI application on the same uvicorn, parser and loop: reads the body and answers with as many bytes as asked.

Nothing is parsed and nothing computed. It is what a server in Python on this machine could do at most.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

Message = dict[str, Any]


def echo(size: int) -> Callable[..., Awaitable[None]]:
    """An application that answers every request with `size` bytes."""
    body = b"x" * size
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % size)],
    }
    answer = {"type": "http.response.body", "body": body}

    async def app(scope: Any, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
        while (await receive()).get("more_body", False):
            pass
        await send(start)
        await send(answer)

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True, help="of every answer")
    chosen = parser.parse_args()
    uvicorn.run(
        echo(chosen.bytes), host="127.0.0.1", port=chosen.port, http="httptools", loop="uvloop", ws="none",
        lifespan="off", log_config=None, access_log=False, proxy_headers=False, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
