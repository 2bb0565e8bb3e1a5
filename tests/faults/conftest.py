"""Real parts to break: databases, servers, homes; and sweeps under way in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faults import postgresql
from tests.faults.places import TRACKING, Place, made_place
from tests.faults.proxy import Proxy
from tests.faults.scenarios import SCENARIOS, Budgets, Curves, Mixed, Seen, Spent, Unreached
from tests.faults.servers import OwnServer
from tests.sites import made_site

NEEDED = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks our tests; those that only look at a scenario come after those that are busy themselves."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        if item.get_closest_marker("soak") is None:  # which `make smoke` leaves out
            item.add_marker(pytest.mark.end_to_end)
    places = [place for place, item in enumerate(items) if item in ours]
    for place, item in zip(
        places, sorted(ours, key=lambda item: bool(set(_scenarios(item)) - {"undisturbed"})), strict=True
    ):
        items[place] = item


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[NEEDED] = list(dict.fromkeys(name for item in session.items for name in _scenarios(item)))


def _scenarios(item: pytest.Item) -> list[str]:
    return [name for name in getattr(item, "fixturenames", ()) if name in SCENARIOS]


@pytest.fixture(scope="session", autouse=True)
def aside(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """The scenarios that the selected tests look at, begun with the first test of this folder."""
    needed = request.config.stash[NEEDED]
    address = request.getfixturevalue("shared_server") if needed else ""
    pool = ThreadPoolExecutor(1, "scenario")
    yield {name: pool.submit(SCENARIOS[name], address, tmp_path_factory.mktemp(name)) for name in needed}
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def undisturbed(aside: dict[str, Future[Any]]) -> Curves:
    found: Curves = aside["undisturbed"].result()
    return found


@pytest.fixture(scope="session")
def hung(aside: dict[str, Future[Any]]) -> Seen:
    found: Seen = aside["hung"].result()
    return found


@pytest.fixture(scope="session")
def starved(aside: dict[str, Future[Any]]) -> Seen:
    found: Seen = aside["starved"].result()
    return found


@pytest.fixture(scope="session")
def unreached(aside: dict[str, Future[Any]]) -> Iterator[Unreached]:
    found: Unreached = aside["unreached"].result()
    yield found
    found.proxy.close()


@pytest.fixture(scope="session")
def budgets(aside: dict[str, Future[Any]]) -> Budgets:
    found: Budgets = aside["budgets"].result()
    return found


@pytest.fixture(scope="session")
def crowded(aside: dict[str, Future[Any]]) -> Seen:
    found: Seen = aside["crowded"].result()
    return found


@pytest.fixture(scope="session")
def mixed(aside: dict[str, Future[Any]]) -> Mixed:
    found: Mixed = aside["mixed"].result()
    return found


@pytest.fixture(scope="session")
def spent(aside: dict[str, Future[Any]]) -> Spent:
    found: Spent = aside["spent"].result()
    return found


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL cluster."""
    reason = postgresql.missing()
    if reason is not None:
        pytest.skip(reason)
    with postgresql.running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a tracking server on SQLite that tests share; nobody may break it."""
    with made_site(tmp_path_factory.mktemp("shared") / "home") as site:
        done = site.local("up", "tracking_server")
        assert done.returncode == 0, done.stderr
        yield site.server


@pytest.fixture(scope="session")
def database_server(cluster: postgresql.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """`mlflow server` on PostgreSQL. Tests may kill it; whoever needs it revives it."""
    server = OwnServer(cluster.database(), tmp_path_factory.mktemp("mlflow-on-postgresql"))
    server.up()
    yield server
    server.kill()


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    """A name of the test's own: the experiment's, the registered model's, the study's."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).removeprefix("test-")
    return name.strip("-")[-60:].strip("-")  # what tells one case of a test from another stands at its end


@pytest.fixture
def place(tmp_path: Path, shared_server: str, study: str) -> Iterator[Place]:
    """A fresh home, with the server that tests share."""
    with made_place(tmp_path / "home", study, {TRACKING: shared_server}) as made:
        yield made


@pytest.fixture
def lone_place(tmp_path: Path, study: str) -> Iterator[Place]:
    """A fresh home, whose sweeps start a server of their own."""
    with made_place(tmp_path / "home", study, {}) as made:
        yield made


@pytest.fixture
def postgresql_place(
    tmp_path: Path, study: str, cluster: postgresql.Cluster, database_server: OwnServer
) -> Iterator[Place]:
    """A fresh home; Optuna and MLflow are on PostgreSQL."""
    database_server.revive()
    settings = {TRACKING: database_server.address, "REGATTA_STORAGE": cluster.database()}
    with made_place(tmp_path / "home", study, settings, database_server) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def stored_place(request: pytest.FixtureRequest) -> Place:
    """The two above, one after the other."""
    place: Place = request.getfixturevalue("lone_place" if request.param == "sqlite" else "postgresql_place")
    return place


@pytest.fixture
def proxy(shared_server: str) -> Iterator[Proxy]:
    """A bad network before the shared server, fair at first."""
    made = Proxy(int(shared_server.rpartition(":")[2]))
    yield made
    made.close()


@pytest.fixture
def behind_proxy(place: Place, proxy: Proxy) -> Place:
    """A fresh home that reaches the shared server through the proxy."""
    return place.with_settings(**{TRACKING: proxy.address})
