"""Who is and was the champion, for people and for programs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.errors import ConfigError, Mistake
from pipelines.promotion.outcome import JUDGED_BY
from pipelines.promotion.reigns import (
    EVIDENCE_TAG,
    Registry,
    Reign,
    reigns_of,
)
from pipelines.tasks import SCORES
from pipelines.tracking.models import CHAMPION, PREVIOUS, RegisteredModel, Version


class NamedRegistry(Registry, Protocol):
    """A registry that can be named to a person."""

    uri: str


@dataclass(frozen=True)
class ModelHistory:
    """All that is known of a model's champions."""

    model: RegisteredModel
    reigns: tuple[Reign, ...]

    def lines(self) -> list[str]:
        """A line for every version, oldest first, and then one for every time that the champion changed."""
        lines = [_line(version) for version in self.model.versions]
        if self.reigns:
            lines += ["", f"champions of '{self.model.name}', in UTC:"]
            lines += [f"  {reign.sentence()}" for reign in self.reigns]
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        champion, previous = self.model.with_alias(CHAMPION), self.model.with_alias(PREVIOUS)
        return {
            "name": self.model.name,
            "champion": champion.version if champion is not None else None,
            "previous": previous.version if previous is not None else None,
            "versions": [_as_json(version) for version in self.model.versions],
            "history": [reign.to_json() for reign in self.reigns],
        }


def history_of(registry: NamedRegistry, name: str) -> ModelHistory:
    """Reads it; nothing is changed.

    Raises:
        ConfigError: Nothing is registered under that name.
    """
    model = registry.model(name)
    if not model.versions:
        raise ConfigError("history", [Mistake("NAME", f"no model is registered as '{name}' on {registry.uri}")])
    return ModelHistory(model, reigns_of(model))


def _line(version: Version) -> str:
    tags = version.tags
    made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(version.created_ms / 1000))
    aliases = f" [{', '.join(version.aliases)}]" if version.aliases else ""
    since = f", champion since {tags['regatta.champion_since']}" if CHAMPION in version.aliases and _since(tags) else ""
    score = score_of(tags)
    judged = f"{score[0].replace('_', ' ')} {score[1]:.4f}" if score is not None else "not judged"
    return (
        f"version {version.version}{aliases}  {made} UTC  trial {tags.get('regatta.trial', '?')}, {judged}{since}: "
        f"{tags.get('regatta.decision', '')}"
    )


def _since(tags: Mapping[str, str]) -> str | None:
    return tags.get("regatta.champion_since")


def _as_json(version: Version) -> dict[str, Any]:
    tags, score = version.tags, score_of(version.tags)
    return {
        "version": version.version,
        "aliases": list(version.aliases),
        "created_ms": version.created_ms,
        "run_id": version.run_id,
        "trial": tags.get("regatta.trial"),
        "score": {"name": score[0], "value": score[1]} if score is not None else None,
        "decision": tags.get("regatta.decision"),
        "promoted": tags.get("regatta.promoted"),
        "forced": tags.get("regatta.forced"),
        "evidence_run": tags.get(EVIDENCE_TAG),
    }


def score_of(tags: Mapping[str, str]) -> tuple[str, float] | None:
    """The score that a version was judged by; of one that does not say, the one that people look at first."""
    for name in (tags.get(JUDGED_BY, ""), *(name for task in SCORES for name in SCORES[task])):
        try:
            value = float(tags[f"regatta.{name}"])
        except (KeyError, ValueError):
            continue
        if math.isfinite(value):
            return name, value
    return None
