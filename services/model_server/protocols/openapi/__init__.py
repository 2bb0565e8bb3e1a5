"""`GET /openapi.json`: an OpenAPI 3.1 description of the real bodies, for the models that are loaded now."""

from __future__ import annotations

from services.model_server.protocols.openapi.dialect import OpenApi

__all__ = ["OpenApi"]
