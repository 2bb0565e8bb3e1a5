"""Optuna's dashboard beside the stack: its image, its health, and that it shows what sweeps in the stack keep."""

from __future__ import annotations

import json
import urllib.request

from tests.sites import free_port
from tests.stack.composed import Composition


def test_the_dashboard_becomes_healthy_and_shows_the_studies_of_the_stack(stack: Composition, sweep_image: str) -> None:
    stack.sweep("--trials", "2", "--no-promote", "--set", "epochs=2", "--set", "study=shown")
    port = free_port()
    stack.compose("--profile", "dashboard", "up", "--build", "--detach", "dashboard", DASHBOARD_PORT=str(port))
    stack.until_healthy("dashboard")

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=30) as answer:
        studies = json.load(answer)["study_summaries"]

    assert any(study["study_name"].startswith("shown") for study in studies)
    assert stack.secrets["OPTUNA_DB_PASSWORD"] not in stack.logs(stack.container("dashboard"))
