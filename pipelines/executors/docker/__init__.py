"""Workers in containers of this machine's Docker engine: what a recipe says about them, the engine, and their life."""

from __future__ import annotations

from pipelines.executors.docker.settings import Docker as Docker
