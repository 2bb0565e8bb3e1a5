"""Liveness, readiness and metrics, and `OPTIONS *`. Open without an API key: probes and scrapers have none.

`/v2/health/…` says the same two in the Open Inference Protocol.

Live means that the process answers. Ready means that at least one wanted model is loaded, warmed and checked. A 503 is
an answer here and no refusal, so it has no Retry-After: urllib3 would wait and ask again, and its caller hear nothing.
"""

from __future__ import annotations

import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.engine import Engine
from services.model_server.errors import UnknownAddress
from services.model_server.metrics.exposition import CONTENT_TYPE, Exposition
from services.model_server.protocols.base import Call, Dialect, Reply

ALIVE = b'{"live":true}'


def readiness(engine: Engine) -> Reply:
    """Says whether the server is ready, and why models do not answer, in a body that KServe's clients read too."""
    reasons = engine.unready_reasons()
    ready = engine.ready
    if ready and (others := engine.stats.unready_others()):
        ready = False
        reasons.append(f"{others} of the processes on this port answer and are not ready.")
    if ready:
        return Reply(orjson.dumps({"ready": True, "live": True, "reasons": reasons}))
    return Reply(orjson.dumps({"ready": False, "live": True, "error": " ".join(reasons), "reasons": reasons}), 503)


class Probes(Dialect):
    """`/livez`, `/readyz` and `/metrics`."""

    name = "probes"

    def routes(self) -> list[BaseRoute]:
        """Returns the probes and the metrics page."""
        self._exposition = Exposition(self.engine.stats)
        methods = "GET, HEAD"
        return [
            Route("/livez", self.endpoint(self.live, methods, guarded=False)),
            Route("/readyz", self.endpoint(self.ready, methods, guarded=False)),
            Route("/metrics", self.endpoint(self.metrics, methods, guarded=False)),
        ]

    async def whole(self, call: Call) -> Reply:
        """`OPTIONS *`: which methods the server has, whatever the address (RFC 9110, 9.3.7)."""
        if call.method != "OPTIONS":
            raise UnknownAddress("* is no address; it stands for the whole server, and only in OPTIONS * HTTP/1.1.")
        return Reply(b"", headers=((b"allow", b"GET, HEAD, OPTIONS, POST"),))

    async def live(self, _: Call) -> Reply:
        """200 as long as the process answers."""
        return Reply(ALIVE)

    async def ready(self, _: Call) -> Reply:
        """200 when the server is ready, else 503; in both cases with the reasons why models do not answer."""
        return readiness(self.engine)

    async def metrics(self, _: Call) -> Reply:
        """The page for Prometheus."""
        return Reply(self._exposition.text(), media_type=CONTENT_TYPE.encode())
