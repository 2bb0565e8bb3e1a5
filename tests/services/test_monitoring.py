"""The board and the settings of Prometheus and Grafana: they name what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

import services.model_server.traffic  # noqa: F401  # which adds metrics of its own
from pipelines.exposition import FAMILIES as OF_THE_SWEEP
from services.model_server.metrics.counters import FAMILIES as OF_THE_SERVER

FOLDER = Path("services/monitoring")
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Of prometheus-client's own, those that the board shows; both pages have them."""
FROM_SCRAPING = {"job", "instance", "pid"}
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
_NAME = re.compile(r"\b(?:model_server|regatta|process)_\w+")
_SELECTOR = re.compile(r"\b((?:model_server|regatta|process)_\w+)\{([^}]*)\}")


def known() -> dict[str, set[str]]:
    """Every series that the two pages have, with its labels."""
    found = {name: set(FROM_SCRAPING) for name in OF_THE_PROCESS}
    for families, more in ((OF_THE_SERVER, ()), (OF_THE_SWEEP, ("study",))):
        for family in families.values():
            for suffix in _SUFFIXES[family.kind]:
                labels = {*family.labels, *more, *FROM_SCRAPING}
                found[family.name + suffix] = labels | {"le"} if suffix == "_bucket" else labels
    return found


def board() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "boards" / "regatta.json").read_text())
    return loaded


def expressions() -> Iterator[tuple[str, str]]:
    for panel in board()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in board()["templating"]["list"]:
        yield variable["name"], variable["query"]["query"]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_every_metric_and_label_that_the_board_names_exists(title: str, expression: str) -> None:
    there = known()

    assert set(_NAME.findall(expression)) <= set(there)
    for name, selector in _SELECTOR.findall(expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= there[name], f"{name} has no such label"
    grouped = {label for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for label in group.split(", ")}
    assert grouped <= set.union(*(there[name] for name in _NAME.findall(expression)))


def test_every_metric_of_the_sweep_is_on_the_board() -> None:
    shown = {name for _, expression in expressions() for name in _NAME.findall(expression)}

    of_the_sweep = {family.name + _SUFFIXES[family.kind][0] for family in OF_THE_SWEEP.values()}
    assert of_the_sweep <= shown


def test_panels_have_titles_and_places_of_their_own() -> None:
    panels = board()["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] for panel in panels)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_the_board_asks_the_source_that_grafana_is_given() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/datasources/prometheus.yml").read_text())["datasources"]

    named = {target["datasource"]["uid"] for panel in board()["panels"] for target in panel.get("targets", ())}
    assert named == {source["uid"]}
    assert {variable["datasource"]["uid"] for variable in board()["templating"]["list"]} == {source["uid"]}


def test_grafana_and_prometheus_find_their_files_where_compose_mounts_them() -> None:
    stack = yaml.safe_load(Path("docker-compose.yml").read_text())["services"]
    mounts = {
        place: Path(source)
        for name in ("grafana", "prometheus")
        for source, place, *_ in (str(volume).split(":") for volume in stack[name]["volumes"])
        if source.startswith("./")
    }

    (provider,) = yaml.safe_load((FOLDER / "grafana/dashboards/regatta.yml").read_text())["providers"]
    assert (mounts[provider["options"]["path"]] / "regatta.json").is_file()
    assert (mounts["/etc/grafana/provisioning"] / "datasources" / "prometheus.yml").is_file()
    assert mounts["/etc/prometheus/prometheus.yml"].is_file()


def test_prometheus_asks_where_the_services_listen() -> None:
    stack = yaml.safe_load(Path("docker-compose.yml").read_text())["services"]
    jobs = {
        job["job_name"]: [target for each in job["static_configs"] for target in each["targets"]]
        for job in yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    }

    assert jobs["model_server"] == [f"model_server:{stack['model_server']['environment']['MODEL_SERVER_PORT']}"]
    assert jobs["sweep"][0] == "sweep:9464"
    assert stack["sweep"]["environment"]["REGATTA_METRICS_PORT"] == "9464"
    assert stack["sweep"]["environment"]["REGATTA_METRICS_HOST"] == "0.0.0.0"


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.local.yml"])
def test_prometheus_own_tool_takes_its_settings(name: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")

    done = subprocess.run(
        [tool, "check", "config", "--syntax-only", str(FOLDER / name)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
