"""Prometheus beside the stack: it finds the model server and a sweep in a container by their names."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.sites import free_port
from tests.stack.composed import Composition, docker

SWEEP = "regatta_s_test_measured_sweep"


@pytest.fixture(scope="module")
def ask(stack: Composition, prometheus_image: str) -> Callable[[str], list[Any]]:
    """What a Prometheus that is part of the stack says of an expression."""
    port = free_port()
    stack.compose(
        *("--profile", "monitoring", "up", "--detach", "prometheus"),
        PROMETHEUS_PORT=str(port),
        PROMETHEUS_IMAGE=prometheus_image,
    )
    stack.until_healthy("prometheus")
    return partial(_ask, port)


def _ask(port: int, expression: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=30) as answer:
        found: list[Any] = json.load(answer)["data"]["result"]
    return found


def is_one(found: list[Any]) -> bool:
    return bool(found) and found[0]["value"][1] == "1"


def test_it_becomes_healthy_and_finds_the_model_server(stack: Composition, ask: Callable[[str], list[Any]]) -> None:
    stack.until(lambda: is_one(ask('up{job="model_server"}')), "Prometheus has asked the model server")


def test_it_finds_a_sweep_that_runs_in_the_stack(
    stack: Composition, ask: Callable[[str], list[Any]], sweep_image: str
) -> None:
    docker("rm", "--force", SWEEP, check=False)
    flags = ["--trials", "8", "--no-promote", "--lanes", "off", "--workers", "1", "--set", "study=measured"]
    stack.compose(
        *("--profile", "sweep", "run", "-d", "--use-aliases", "--name", SWEEP, "sweep", "sweep"),
        *("configs/sweeps/digits.yaml", *flags),
    )
    try:
        stack.until(lambda: is_one(ask('up{job="sweep", instance="sweep:9464"}')), "Prometheus has asked the sweep")
        stack.until(lambda: bool(ask('{job="sweep", __name__=~"regatta_.+"}')), "it has the sweep's numbers")
        assert stack.exit_code(SWEEP) == 0
    finally:
        docker("rm", "--force", SWEEP, check=False)
