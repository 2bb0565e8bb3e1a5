"""The server's own dialect, for people and pages; `dialect` joins the parts."""

from __future__ import annotations

from services.model_server.protocols.native.answers import describe
from services.model_server.protocols.native.dialect import Native

__all__ = ["Native", "describe"]
