"""Versions of a model without anything in them, and moves of its champion at times that a test names."""

from __future__ import annotations

from pathlib import Path

from pipelines.promotion.reigns import Reign, crown, reigns_of
from tests.pipelines.promotion.bench import seal
from tests.pipelines.registry import FolderRegistry


def three_versions(tmp_path: Path) -> FolderRegistry:
    """Three versions of `tiny`, of which none is the champion."""
    made = FolderRegistry(tmp_path / "registry")
    package = tmp_path / "package"
    package.mkdir()
    for name in ("model.onnx", "contract.json"):
        (package / name).write_text("{}")
    seal(package)
    for number in range(3):
        tags = {"regatta.trial": str(number), "regatta.test_accuracy": f"0.9{number}", "regatta.decision": "why"}
        made.register("tiny", package, experiment_id="0", run_id=None, tags=tags)
    return made


def at(day: int) -> str:
    return f"2030-01-{day:02d}T00:00:00.000Z"


def move(registry: FolderRegistry, version: str, before: str | None, day: int, action: str = "promoted") -> None:
    found = registry.model("tiny").version(version)
    assert found is not None
    crown(registry, found, Reign(at(day), action, version, before, f"day {day}"))


def told(registry: FolderRegistry) -> list[tuple[str, str | None, str]]:
    return [(reign.version, reign.before, reign.action) for reign in reigns_of(registry.model("tiny"))]
