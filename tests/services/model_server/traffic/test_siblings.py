"""Feedback reaches the process that answered, whichever of them is told."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from services.model_server.app import create_app
from services.model_server.events import EventLog
from services.model_server.settings import Settings
from tests.services.model_server.parts import FolderStore, run

ROWS = [[[1.0, 2.0], [3.0, 4.0]]]


@asynccontextmanager
async def workers(store: FolderStore, folder: Path, count: int = 3) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Applications that share a folder, as the processes on one port do."""
    settings = Settings(poll_s=3600, feedback=True, traffic_log_s=0)
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(count):
            app = create_app(settings, store, EventLog(io.BytesIO()), worker=number, folder=folder)
            app.state.rollout.run = asyncio.Event().wait
            await stack.enter_async_context(app.router.lifespan_context(app))
            await app.state.rollout.step()
            await app.state.rollout.settle()
            transport = httpx.ASGITransport(app=app)
            clients.append(await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://t")))
        yield clients


async def tell(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/feedback", json=body)


def test_any_process_takes_feedback_on_a_request_of_another_and_it_counts_once(
    store: FolderStore, tmp_path: Path
) -> None:
    async def work() -> None:
        async with workers(store, tmp_path) as (first, second, third):
            asked = await third.post("/v1/models/tiny:predict", json={"instances": ROWS})
            request_id = asked.headers["x-request-id"]
            told = await tell(first, request_id=request_id, label="zero")
            assert (told.status_code, told.json()["counted"]) == (200, True)
            assert (await tell(second, request_id=request_id, label="one")).json()["counted"] is False
            assert (await third.get("/traffic/tiny")).json()["versions"][0]["feedback"]["window"]["rows"] == 1
            assert (await first.get("/traffic/tiny")).json()["versions"] == []
            wrong = await tell(first, request_id=request_id, label="four")
            assert (wrong.status_code, "zero, one, two" in wrong.json()["error"]) == (400, True)
            assert (await tell(first, request_id="unknown", label="zero")).status_code == 404
        assert list(tmp_path.glob("*.sock")) == []

    run(work())


def test_a_sibling_that_is_gone_or_talks_nonsense_is_passed_over(store: FolderStore, tmp_path: Path) -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\n")
        writer.close()

    async def work() -> None:
        async with workers(store, tmp_path, count=1) as (first,):
            (tmp_path / "feedback-7.sock").write_text("left by one that died")
            async with await asyncio.start_unix_server(nonsense, tmp_path / "feedback-8.sock"):
                assert (await tell(first, request_id="unknown", label="zero")).status_code == 404

    run(work())
