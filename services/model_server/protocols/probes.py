"""Liveness, readiness and metrics. Open without an API key: probes and scrapers have none.

Live means that the process answers. Ready means that at least one wanted model is loaded, warmed and checked.
"""

from __future__ import annotations

from typing import ClassVar

import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.errors import ModelServerError, WrongMethod
from services.model_server.metrics import CONTENT_TYPE, Exposition
from services.model_server.protocols.base import Call, Dialect, Reply


class Probes(Dialect):
    """`/livez`, `/readyz`, the same two under the names of the Open Inference Protocol, and `/metrics`."""

    name = "probes"
    codes: ClassVar = {WrongMethod: 405, ModelServerError: 500}

    def routes(self) -> list[BaseRoute]:
        """Returns the probes and the metrics page."""
        self._exposition = Exposition(self.engine.stats)
        methods = "GET, HEAD"
        return [
            Route("/livez", self.endpoint(self.live, methods, guarded=False)),
            Route("/v2/health/live", self.endpoint(self.live, methods, guarded=False)),
            Route("/readyz", self.endpoint(self.ready, methods, guarded=False)),
            Route("/v2/health/ready", self.endpoint(self.ready, methods, guarded=False)),
            Route("/metrics", self.endpoint(self.metrics, methods, guarded=False)),
        ]

    def error_body(self, error: Exception, status: int) -> Reply:
        """`{"error": message}`."""
        return Reply(orjson.dumps({"error": str(error)}), status)

    async def live(self, _: Call) -> Reply:
        """200 as long as the process answers."""
        return Reply(b'{"live":true}')

    async def ready(self, _: Call) -> Reply:
        """200 when the server is ready, else 503; in both cases with the reasons why models do not answer."""
        reasons = self.engine.unready_reasons()
        if self.engine.ready:
            return Reply(orjson.dumps({"ready": True, "live": True, "reasons": reasons}))
        return Reply(orjson.dumps({"ready": False, "live": True, "error": " ".join(reasons), "reasons": reasons}), 503)

    async def metrics(self, _: Call) -> Reply:
        """The page for Prometheus."""
        return Reply(self._exposition.text(), media_type=CONTENT_TYPE.encode())
