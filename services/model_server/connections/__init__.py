"""HTTP/1.1 on sockets: what a client may cost before and after the application sees its request.

uvicorn's protocol has no limit for headers, slow bodies and slow readers, and writes every answer in two pieces.
"""

from __future__ import annotations

from services.model_server.connections.connection import Connection
from services.model_server.connections.gate import Gate, TurnedAway
from services.model_server.connections.shared import Limits, Shared

__all__ = ["Connection", "Gate", "Limits", "Shared", "TurnedAway"]
