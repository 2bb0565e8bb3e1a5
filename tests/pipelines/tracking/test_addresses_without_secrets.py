"""No password of an address gets into a message, a file's name, or a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.facts import StudyFacts
from pipelines.tracking.addresses import run_address, without_secrets
from pipelines.tracking.delivery import delivery_file
from tests.pipelines.scripted import recipe


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://me:secret@mlflow.example/path", "https://mlflow.example/path"),
        ("500 for url: http://me:se%40cret@host:5000/api?x=1. Again", "500 for url: http://host:5000/api?x=1. Again"),
        ("postgresql+psycopg://me:secret@host/db", "postgresql+psycopg://host/db"),
        ("postgresql://host/db?password=secret&user=me", "postgresql://host/db?password=&user=me"),
        ("mail me@example.com: nothing is hidden", "mail me@example.com: nothing is hidden"),
        ("https://me@host/", "https://me@host/"),
    ],
)
def test_passwords_are_taken_out_and_nothing_else(text: str, told: str) -> None:
    assert without_secrets(text) == told


def test_a_page_is_linked_without_a_password() -> None:
    address = run_address("https://me:secret@mlflow.example", "1", "r1")

    assert address == "https://mlflow.example/#/experiments/1/runs/r1?workflowType=machine_learning"


def test_a_study_does_not_write_a_password_down_and_finds_its_delivery_all_the_same(tmp_path: Path) -> None:
    server = "https://me:secret@mlflow.example"
    facts = StudyFacts.begin(recipe(), server)

    assert "secret" not in facts.server
    assert "secret" not in facts.go_on(recipe(), server).server
    assert delivery_file(tmp_path / "journal.jsonl", facts.server) == delivery_file(tmp_path / "journal.jsonl", server)
