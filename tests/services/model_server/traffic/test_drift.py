"""Drift: traffic like the training data has none, traffic unlike it does, and nobody is slowed or stopped by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.datasets.base import Samples
from pipelines.inputs import Column, InputFacts
from pipelines.packaging.profile import profile_of
from services.model_server.package import open_package
from services.model_server.traffic.drift import LEAST_ROWS, Drift
from services.model_server.traffic.reference import Profile, read_profile
from tests.services.model_server.parts import WORDS, FolderStore, run, seal, serving, write_kind, write_package

RANDOM = np.random.default_rng(3)


def images(count: int, most: int = 17) -> np.ndarray:
    return RANDOM.integers(0, most, (count, 2, 2)).astype(np.float32)


def with_profile(folder: Path, profile: dict[str, Any]) -> Path:
    (folder / "profile.json").write_text(json.dumps(profile))
    seal(folder)
    return folder


def image_profile() -> dict[str, Any]:
    return profile_of(Samples(images(2000), RANDOM.integers(0, 3, 2000)), InputFacts((2, 2), 0, 16, ("a", "b", "c")))


def table(count: int) -> np.ndarray:
    """Coded rows of the table of `WORDS`: age, city, income, size."""
    cells = [RANDOM.normal(40, 10, count), RANDOM.integers(1, 4, count), RANDOM.normal(0, 1, count)]
    cells[2][::10] = np.nan
    return np.stack([*cells, RANDOM.integers(0, 4, count)], axis=1)


def texts(coded: np.ndarray) -> np.ndarray:
    """The same as a client sends them."""
    words = [column.get("words") for column in WORDS]
    return np.array(
        [
            [repr(float(c)) if known is None else ["", *known][int(c)] for known, c in zip(words, row, strict=True)]
            for row in coded
        ],
        dtype=object,
    )


def table_profile() -> dict[str, Any]:
    columns = tuple(Column(c["name"], tuple(c["words"]) if "words" in c else None) for c in WORDS)
    facts = InputFacts((4,), None, None, ("no", "yes"), "table", columns)
    return profile_of(Samples(table(3000), np.arange(3000) % 2), facts)


@pytest.fixture
def words_drift(tmp_path: Path) -> Drift:
    package = open_package(with_profile(write_kind(tmp_path / "words", "binary words"), table_profile()))
    profile = read_profile(package.folder, package.contract)
    assert isinstance(profile, Profile), profile
    return Drift(profile, package.contract, 3600, lambda: 0.0)


def levels(drift: Drift, rows: np.ndarray, outputs: np.ndarray) -> dict[str, dict[str, Any]]:
    drift.add(drift.bins.count(rows, outputs))
    report = drift.report()
    return {group["name"]: group for group in [*report["inputs"], report["answers"]]}


def test_a_table_like_the_training_data_has_no_drift(words_drift: Drift) -> None:
    found = levels(words_drift, texts(table(1000)), (np.arange(1000)[:, None] % 2).astype(np.float32))
    assert {name: group["level"] for name, group in found.items()} == {
        "age": "none",
        "city": "none",
        "income": "none",
        "size": "none",
        "progress": "none",
    }
    assert found["income"]["missing"] == 0.1
    assert found["city"]["unknown"] == 0
    assert 0.15 < found["size"]["missing"] < 0.35
    assert found["progress"]["shares"]["yes"] == {"training": 0.5, "now": 0.5}


def test_shifted_numbers_unknown_words_missing_cells_and_one_sided_answers_are_drift(words_drift: Drift) -> None:
    coded = table(500)
    coded[:, 0] += 30
    rows = texts(coded)
    rows[:300, 1] = "Atlantis"
    rows[:400, 2] = "nan"
    found = levels(words_drift, rows, np.full((500, 1), 0.9, np.float32))
    assert {name: group["level"] for name, group in found.items()} == {
        "age": "major",
        "city": "major",
        "income": "major",
        "size": "none",
        "progress": "major",
    }
    assert found["city"]["unknown"] == 0.6
    assert found["income"]["missing"] > 0.8
    assert found["age"]["psi"] > found["age"]["by_chance"]


def test_too_few_rows_say_nothing(words_drift: Drift) -> None:
    found = levels(words_drift, texts(table(LEAST_ROWS - 1)), np.ones((LEAST_ROWS - 1, 1), np.float32))
    assert {group["level"] for group in found.values()} == {"unknown"}
    assert found["age"]["psi"] is None


def test_a_regression_is_held_against_the_spread_of_its_targets(tmp_path: Path) -> None:
    columns = (Column("age"), Column("bmi"), Column("s1"))
    x, y = RANDOM.normal(0, 1, (2000, 3)), RANDOM.normal(100, 10, 2000)
    profile = profile_of(Samples(x, y.astype(np.float32)), InputFacts((3,), None, None, (), "table", columns))
    package = open_package(with_profile(write_kind(tmp_path / "numbers", "regression numbers"), profile))
    read = read_profile(package.folder, package.contract)
    assert isinstance(read, Profile), read
    for shift, expected in ((0, "none"), (20, "major")):
        drift = Drift(read, package.contract, 3600, lambda: 0.0)
        outputs = RANDOM.normal(100 + shift, 10, (800, 1)).astype(np.float32)
        found = levels(drift, RANDOM.normal(0, 1, (800, 3)).astype(np.float32), outputs)
        assert found["progress"]["level"] == expected
        assert found["age"]["level"] == "none"


async def ask(server: Any, rows: np.ndarray) -> None:
    response = await server.client.post("/v1/models/tiny:predict", json={"instances": rows.tolist()})
    assert response.status_code == 200


def test_drift_of_images_is_seen_at_the_server_in_json_and_in_prometheus(store: FolderStore, tmp_path: Path) -> None:
    with_profile(tmp_path / "v1", image_profile())

    async def work() -> None:
        async with serving(store, drift=1, traffic_log_s=0, scale_check=False) as server:
            await ask(server, images(1))  # opens the profile
            await server.app.state.traffic.sideline.settle()
            for _ in range(4):
                await ask(server, images(100))
                await server.app.state.traffic.sideline.settle()
            (version,) = (await server.client.get("/traffic/tiny")).json()["versions"]
            assert version["drift"]["rows"] == 400
            assert {group["name"]: group["level"] for group in version["drift"]["inputs"]} == {
                "values": "none",
                "mean": "none",
            }
            for _ in range(4):
                await ask(server, images(200, most=3))
                await server.app.state.traffic.sideline.settle()
            (version,) = (await server.client.get("/traffic/tiny")).json()["versions"]
            assert {group["level"] for group in version["drift"]["inputs"]} == {"major"}
            text = (await server.client.get("/metrics")).text
            assert 'model_server_drift_rows_total{model="tiny",version="1"} 1200.0' in text
            assert 'model_server_drift_psi{group="mean",model="tiny",version="1"}' in text

    run(work())


def test_a_package_without_a_profile_is_served_and_says_that_there_is_no_reference(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store, drift=1, traffic_log_s=0) as server:
            for _ in range(3):
                await ask(server, images(10))
                await server.app.state.traffic.sideline.settle()
            (version,) = (await server.client.get("/traffic/tiny")).json()["versions"]
            assert "has no profile.json" in version["drift"]["why_not"]
            assert version["predictions"] == 3

    run(work())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format"),
        ({"rows": 0}, "rows"),
        (
            {"groups": [{"name": "values", "kind": "values", "edges": [1, 2], "counts": [1, 2]}]},
            "do not go with its bins",
        ),
        ({"groups": [{"name": "values", "kind": "values", "edges": [2, 1], "counts": [1, 2, 3, 4]}]}, "its bins"),
        ({"groups": [{"name": "age", "kind": "number", "edges": [], "counts": [1, 2]}]}, "not what the contract says"),
        ({"groups": [{"name": "values", "kind": "values", "edges": [], "counts": [-1, 2]}]}, "counts"),
        ({"output": {"kind": "number", "edges": [], "counts": [1, 2]}}, "the output is of numbers"),
        ({"output": {"kind": "labels", "counts": [1, 2]}}, "output do not go with"),
    ],
)
def test_a_profile_that_makes_no_sense_is_no_reference(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    package = open_package(with_profile(write_package(tmp_path / "p"), image_profile() | change))
    said = read_profile(package.folder, package.contract)
    assert isinstance(said, str)
    assert reason in said


def test_a_profile_that_the_manifest_does_not_name_is_not_read(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "p")
    (folder / "profile.json").write_text(json.dumps(image_profile()))
    assert "has no profile.json" in str(read_profile(folder, open_package(folder).contract))
