"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.postgresql import Cluster, missing, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running server, for all tests; each asks it for a database of its own."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with running_cluster() as running:
        yield running
