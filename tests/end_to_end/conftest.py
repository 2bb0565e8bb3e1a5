"""Real parts for the end-to-end tests: a home of their own, a tracking server on a free port, one finished sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sites import Site, made_site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.end_to_end)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A home that nothing has used yet."""
    with made_site(tmp_path / "home") as made:
        yield made


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Any]]]:
    """A home in which one small sweep of the default recipe has run to its end, with its summary."""
    with made_site(tmp_path_factory.mktemp("swept") / "home") as made:
        yield made, made.sweep("--trials", "6", "--set", "epochs=8", "--set", "pruner.n_startup_trials=2")
