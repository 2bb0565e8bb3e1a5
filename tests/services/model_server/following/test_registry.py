"""How often the registry is asked, against a real MLflow store in SQLite whose calls are counted."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.model_server.following.registry import Registry
from services.model_server.settings import Ref

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and SQLAlchemy warn about themselves

TAG = "regatta.serving.here-1"


class Counting:
    """An MLflow client that counts the calls of its methods."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._client, name)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables with three models of two versions each: 2 is the champion, 1 the one before."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        client = MlflowClient(tracking_uri=f"sqlite:///{path}")
        for name in ("a", "b", "c"):
            client.create_registered_model(name)
            for number in ("1", "2"):
                client.create_model_version(name, source=f"/models/{name}/{number}")
            client.set_registered_model_alias(name, "previous", "1")
            client.set_registered_model_alias(name, "champion", "2")
    return path


@pytest.fixture
def client(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    """A client of a registry of its own."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{shutil.copy(tables, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return Counting(MlflowClient(tracking_uri=uri))


@pytest.mark.parametrize(
    "refs",
    [
        [Ref("*", "champion"), Ref("*", "previous")],
        [Ref(name, alias) for name in "abc" for alias in ("champion", "previous")],
        [Ref("a", "champion"), Ref("a", "previous"), Ref("a", version="1"), Ref("b", "champion")],
        [Ref("a", "champion")],
    ],
)
def test_one_call_answers_for_all_models_when_nothing_has_changed(client: Counting, refs: list[Ref]) -> None:
    registry = Registry(client, TAG)
    first = registry.point_to(refs)
    assert all(target is not None for target in first.values())
    client.calls.clear()
    assert registry.point_to(refs) == first
    assert client.calls == {"search_registered_models": 1}


def test_refs_point_to_what_their_aliases_and_versions_name(client: Counting) -> None:
    wanted = [
        Ref("a", "champion"),
        Ref("a", version="1"),
        Ref("a", "none"),
        Ref("a", version="9"),
        Ref("no", "champion"),
    ]
    found = Registry(client, TAG).point_to(wanted)
    assert [None if target is None else (target.name, target.version) for target in found.values()] == [
        ("a", "2"),
        ("a", "1"),
        None,
        None,
        None,
    ]


def test_a_moved_alias_costs_one_call_more_once(client: Counting) -> None:
    registry, refs = Registry(client, TAG), [Ref(name, "champion") for name in "abc"]
    registry.point_to(refs)
    client.create_model_version("b", source="elsewhere")
    client.set_registered_model_alias("b", "champion", "3")
    client.calls.clear()
    assert registry.point_to(refs)[refs[1]].version == "3"  # type: ignore[union-attr]
    assert client.calls == {"search_registered_models": 1, "get_model_version": 1}


def test_a_version_that_was_deleted_is_not_served_from_memory(client: Counting) -> None:
    registry, refs = Registry(client, TAG), [Ref("a", version="2"), Ref("a", version="1")]
    registry.point_to(refs)
    client.delete_model_version("a", "2")
    found = registry.point_to(refs)
    assert found[refs[0]] is None
    assert found[refs[1]] is not None


def test_a_registry_that_knows_no_lists_of_names_is_asked_for_each(client: Counting) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    def refuse(*_: Any, **__: Any) -> None:
        raise MlflowException("no lists", INVALID_PARAMETER_VALUE)

    client.search_registered_models = refuse  # type: ignore[attr-defined]
    found = Registry(client, TAG).point_to([Ref("a", "champion"), Ref("b", version="1"), Ref("b", "none")])
    assert [target and target.version for target in found.values()] == ["2", "1", None]


def test_a_registry_that_fails_is_not_taken_for_an_empty_one(client: Counting) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("away")

    client.search_registered_models = fail  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        Registry(client, TAG).point_to([Ref("a", "champion")])


def test_a_tag_is_written_and_taken_away_and_one_of_an_earlier_life_is_known(client: Counting) -> None:
    def tags() -> dict[str, str]:
        return dict(client.get_model_version("a", "2").tags)

    registry = Registry(client, TAG)
    (target,) = registry.point_to([Ref("a", "champion")]).values()
    assert target is not None
    registry.tag(target, "REJECTED: " + "x" * 10_000)
    assert tags()[TAG] == "REJECTED: " + "x" * 490
    later = Registry(client, TAG)
    later.point_to([Ref("a", "champion")])
    client.calls.clear()
    later.untag(target)
    later.untag(target)
    assert client.calls["delete_model_version_tag"] == 1
    assert tags() == {}


def test_a_champion_is_told_since_when_it_is_one_as_promotion_has_noted_it(client: Counting) -> None:
    registry, champion = Registry(client, TAG), Ref("a", "champion")

    def since(ref: Ref = champion) -> str:
        target = registry.point_to([ref])[ref._replace(name="a")]
        assert target is not None
        return target.champion_since

    def reign(at: str, version: str) -> None:
        key = f"regatta.reign.{at.replace(':', '').replace('-', '')}-v{version}"
        client.set_registered_model_tag("a", key, json.dumps({"at": at, "version": version, "action": "promoted"}))

    assert since() == ""
    reign("2026-11-20T08:00:00.000Z", "1")
    reign("2026-11-26T09:11:00.000Z", "2")
    assert since() == "2026-11-26T09:11:00+00:00"
    assert since(Ref("*", "champion")) == "2026-11-26T09:11:00+00:00"
    assert since(Ref("a", version="2")) == since(Ref("a", "previous")) == ""
    client.set_registered_model_alias("a", "champion", "1")  # by hand: nobody noted when
    assert since() == ""
    reign("2026-11-27T07:00:00.000Z", "1")  # a rollback to a version that was seen before
    assert since() == "2026-11-27T07:00:00+00:00"
    client.set_registered_model_tag("a", "regatta.reign.9", "no JSON")
    assert since() == ""
