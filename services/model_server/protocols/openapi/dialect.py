"""The address of the document."""

from __future__ import annotations

import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.protocols.base import Call, Dialect, Reply
from services.model_server.protocols.openapi.document import describe


class OpenApi(Dialect):
    """`/openapi.json`. It names the models, so it wants a key where there is one."""

    name = "openapi"

    def routes(self) -> list[BaseRoute]:
        """Returns the one address."""
        return [Route("/openapi.json", self.endpoint(self.document, "GET, HEAD"))]

    async def document(self, _: Call) -> Reply:
        """Describes what is loaded now."""
        return Reply(orjson.dumps(describe(self.engine, self.settings)))
