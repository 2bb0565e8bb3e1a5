"""Addresses of MLflow's web page."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from pipelines.tracking.addresses import run_address, sweep_address


@pytest.mark.parametrize(("direction", "ascending"), [("minimize", "true"), ("maximize", "false")])
def test_a_sweep_is_shown_by_the_rank_of_its_trials(direction: str, ascending: str) -> None:
    address = sweep_address("http://127.0.0.1:5000", "7", "abc", direction)

    assert address is not None
    place, _, query = address.partition("?")
    asked = parse_qs(query)
    assert place == "http://127.0.0.1:5000/#/experiments/7/runs"
    assert asked["searchFilter"] == ["tags.mlflow.parentRunId = 'abc'"]
    assert (asked["orderByKey"], asked["orderByAsc"]) == (["metrics.`objective`"], [ascending])


def test_a_server_without_a_page_has_no_addresses() -> None:
    assert sweep_address("sqlite:///mlflow.db", "7", "abc", "minimize") is None
    assert run_address("sqlite:///mlflow.db", "7", "abc") is None
