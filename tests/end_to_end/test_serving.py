"""From a finished sweep to an answered request, and on to the next champion."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[2]
Swept = tuple[Any, dict[str, Any]]


@pytest.fixture(scope="module")
def served(swept: Swept) -> Iterator[Swept]:
    """The swept home with its services up."""
    site, summary = swept
    done = site.local("up")
    assert done.returncode == 0, done.stderr
    yield site, summary
    site.local("down", "model_server")


def test_up_local_then_predict_answers_with_the_right_label(served: Swept) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.model_server.ask"],
        cwd=ROOT, env=served[0].environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "digits" in done.stdout


def test_the_served_champion_labels_digits_it_has_never_seen(served: Swept) -> None:
    bundle = load_digits()
    site, _ = served
    _, test = _sealed_indices(bundle.target)

    answer = httpx.post(
        f"{site.model_server}/v1/models/digits:predict", json={"instances": bundle.images[test].tolist()}
    )

    answer.raise_for_status()
    predicted = [max(range(10), key=row.__getitem__) for row in answer.json()["predictions"]]
    right = sum(int(given == true) for given, true in zip(predicted, bundle.target[test], strict=True)) / len(test)
    version = site.client().get_model_version_by_alias("digits", "champion")
    assert right == pytest.approx(float(version.tags["regatta.test_accuracy"]))
    assert right > 0.85


def test_the_server_follows_the_alias(served: Swept) -> None:
    site, _ = served
    client = site.client()
    first = client.get_model_version_by_alias("digits", "champion")
    second = client.create_model_version(
        "digits", first.source, run_id=first.run_id, model_id=first.source.removeprefix("models:/")
    )

    client.set_registered_model_alias("digits", "champion", second.version)
    deadline = time.monotonic() + 60
    seen = None
    while seen != second.version and time.monotonic() < deadline:
        reply = httpx.get(f"{site.model_server}/v1/models/digits")
        reply.raise_for_status()
        seen = reply.json()["model_version_status"][0]["version"]

    assert seen == second.version
    client.set_registered_model_alias("digits", "champion", first.version)


def _sealed_indices(labels: Any) -> tuple[Any, Any]:
    import numpy as np
    from sklearn.model_selection import train_test_split

    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    return rest, np.sort(test)
