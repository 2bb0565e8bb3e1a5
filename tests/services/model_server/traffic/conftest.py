"""Fixtures of the tests of what the server learns from its traffic."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.model_server.parts import FolderStore, write_package


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A registry with `tiny` version 1 as champion."""
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1", seed=1), "tiny", "1")
    return store
