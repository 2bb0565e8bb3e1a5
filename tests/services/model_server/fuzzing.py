"""A server that one fuzz test after the other asks, since making one takes longer than asking it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.services.model_server.parts import FolderStore, Server, serving, write_kind


class Fuzzed:
    """A server with models of these kinds, by name."""

    def __init__(self, folder: Path, models: Mapping[str, str]) -> None:
        self._runner = asyncio.Runner()
        store = FolderStore(folder / "cache")
        for name, kind in models.items():
            store.add(write_kind(folder / name, kind, name=name), name, "1")
        self._context = serving(store)
        self.server: Server = self._runner.run(self._context.__aenter__())

    def send(self, path: str, content: bytes, headers: dict[str, str], method: str = "POST") -> httpx.Response:
        client = self.server.client
        response: httpx.Response = self._runner.run(client.request(method, path, content=content, headers=headers))
        return response

    def close(self) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()
