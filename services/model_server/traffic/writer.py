"""Writes the numbers of the traffic every so many seconds, beside everything else, and once more at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from services.model_server.engine import Engine
from services.model_server.errors import RegistryUnavailable
from services.model_server.traffic.hub import Traffic
from services.model_server.traffic.numbers import Numbers
from services.model_server.traffic.runs import Point, Runs


class Writer:
    """Carries the numbers to where they are kept. A place that is away costs the points of that time, and no more."""

    def __init__(
        self,
        traffic: Traffic,
        engine: Engine,
        runs: Runs,
        log: Callable[..., None],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Writes nothing yet.

        Args:
            traffic: What is written.
            engine: Whose loaded versions go on.
            runs: Where to.
            log: Where events go.
            wall: Unix time.
        """
        self._traffic, self._engine, self._runs, self._log, self._wall = traffic, engine, runs, log, wall
        self._began = wall()
        self._under_way: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="traffic-runs")
        self.written = self.lost = 0
        self.error: str | None = None
        traffic.recorded = self.state

    def state(self) -> dict[str, Any]:
        """Says how writing goes: how often it was done, how often points were lost, and why at last."""
        runs = {f"{name}/{version}": self._runs.run_of((name, version)) for name, version in self._traffic.versions}
        return {"written": self.written, "lost": self.lost, "error": self.error, "runs": runs}

    async def run(self, every_s: float) -> None:
        """Writes until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.write()

    async def close(self, within_s: float) -> None:
        """Writes what is new and ends the runs; gives up after so many seconds."""
        try:
            async with asyncio.timeout(within_s):
                if self._under_way is not None:
                    await asyncio.wait([self._under_way])
                await self.write(last=True)
        except TimeoutError:
            self._failed(f"it took more than {within_s:g} seconds at the end")
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def write(self, last: bool = False) -> None:
        """Writes what has changed since it was last written.

        Args:
            last: Whether the server ends.
        """
        if self._under_way is not None and not self._under_way.done():
            self._failed("the last write is not over yet")
            return
        points, changed = self._points(last)
        if not points:
            return
        self._under_way = asyncio.get_running_loop().run_in_executor(self._thread, self._runs.write, points)
        try:
            await asyncio.shield(self._under_way)
        except RegistryUnavailable as error:
            self._failed(str(error))
            return
        for numbers, activity, ended in changed:
            numbers.written, numbers.ended = activity, ended
        if self.error is not None:
            self._log("traffic_written_again", lost=self.lost)
        self.written, self.error = self.written + 1, None
        self._engine.stats.count("traffic_written", ())

    def _points(self, last: bool) -> tuple[list[Point], list[tuple[Numbers, int, bool]]]:
        now = self._wall()
        loaded = {(model.name, model.version) for model in self._engine.loaded()}
        points, changed = [], []
        for version, numbers in self._traffic.versions.items():
            ended = last or version not in loaded
            if numbers.activity == numbers.written and numbers.ended >= ended:
                continue
            points.append(
                Point(version, numbers.run_id, numbers.metrics(), int(now * 1e3), int(now - self._began), ended)
            )
            changed.append((numbers, numbers.activity, ended))
        return points, changed

    def _failed(self, reason: str) -> None:
        if self.error is None:
            self._log("traffic_not_written", level="warning", reason=reason)
        self.lost, self.error = self.lost + 1, reason
        self._engine.stats.count("traffic_lost", ())
