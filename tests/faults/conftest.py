"""Real parts to break: databases, servers, homes; and sweeps under way in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import postgresql
from tests.faults.aside import Aside
from tests.faults.places import TRACKING, Place, made_place
from tests.faults.proxy import Proxy
from tests.faults.scenarios import SCENARIOS, Budgets, Curves, Mixed, Seen, Spent, Unreached
from tests.faults.servers import OwnServer
from tests.sites import made_site

ASIDE = pytest.StashKey[Aside]()
OURS = Path(__file__).parent
BESIDE = OURS.parent / "pipelines"
"""Some thousand tests that need one core."""
AT_ONCE = "undisturbed"
"""The scenario that tests look at which are busy themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks our tests; those that only look at a scenario come last, and after the tests beside which they run."""
    for item in ours(items):
        if item.get_closest_marker("soak") is None:  # which `make smoke` leaves out
            item.add_marker(pytest.mark.end_to_end)
    looking = [item for item in ours(items) if set(_scenarios(item)) - {AT_ONCE}]
    others = [item for item in items if item not in looking]
    before = [place for place, item in enumerate(others) if {OURS, BESIDE} & set(item.path.parents)]
    last = before[-1] + 1 if before else 0
    items[:] = [*others[:last], *looking, *others[last:]]


def ours(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if OURS in item.path.parents]


def _scenarios(item: pytest.Item) -> list[str]:
    return [name for name in getattr(item, "fixturenames", ()) if name in SCENARIOS]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Begins the scenarios as soon as no test is busy any more with sweeps of its own."""
    if (nextitem is None or OURS not in nextitem.path.parents) and (aside := item.config.stash.get(ASIDE, None)):
        aside.begin_all()


@pytest.fixture(scope="session", autouse=True)
def aside(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    """The scenarios that the selected tests look at. Where no other tests follow, all begin with the first of ours."""
    items = request.session.items
    needed = list(dict.fromkeys(name for item in items for name in _scenarios(item)))
    address = request.getfixturevalue("shared_server") if needed else ""
    made = request.config.stash[ASIDE] = Aside(tmp_path_factory.mktemp("aside"), address, needed)
    followed = any(BESIDE in item.path.parents for item in items)
    made.begin(*[AT_ONCE] if followed else needed)
    yield made
    made.close()


@pytest.fixture(scope="session")
def undisturbed(aside: Aside) -> Curves:
    found: Curves = aside.found("undisturbed")
    return found


@pytest.fixture(scope="session")
def hung(aside: Aside) -> Seen:
    found: Seen = aside.found("hung")
    return found


@pytest.fixture(scope="session")
def starved(aside: Aside) -> Seen:
    found: Seen = aside.found("starved")
    return found


@pytest.fixture(scope="session")
def unreached(aside: Aside) -> Unreached:
    found: Unreached = aside.found("unreached")
    return found


@pytest.fixture(scope="session")
def budgets(aside: Aside) -> Budgets:
    found: Budgets = aside.found("budgets")
    return found


@pytest.fixture(scope="session")
def crowded(aside: Aside) -> Seen:
    found: Seen = aside.found("crowded")
    return found


@pytest.fixture(scope="session")
def mixed(aside: Aside) -> Mixed:
    found: Mixed = aside.found("mixed")
    return found


@pytest.fixture(scope="session")
def spent(aside: Aside) -> Spent:
    found: Spent = aside.found("spent")
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
