"""Who is and was the champion, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from pipelines.errors import ConfigError, Mistake, TrackingError
from pipelines.promotion.outcome import JUDGED_BY
from pipelines.promotion.reigns import (
    EVIDENCE_TAG,
    EVIDENCE_UID_TAG,
    Registry,
    Reign,
    challenges_of,
    note_missing,
    reigns_of,
    spoken,
)
from pipelines.tasks import SCORES
from pipelines.tracking.models import CHALLENGER, CHAMPION, PREVIOUS, RegisteredModel, Version


class NamedRegistry(Registry, Protocol):
    """A registry that can be named to a person."""

    uri: str


@dataclass(frozen=True)
class ModelHistory:
    """All that is known of a model's champions."""

    model: RegisteredModel
    reigns: tuple[Reign, ...]
    challenges: tuple[Reign, ...] = ()

    def lines(self) -> list[str]:
        """An entry for every version, oldest first, then one for every time that the champion changed.

        An entry is a line, and a line more for each clause of a reason that has several.
        """
        lines = [line for version in self.model.versions for line in _clauses(self._about(version))]
        if self.reigns:
            moves = sorted((*self.reigns, *self.challenges), key=lambda reign: reign.at)
            lines += ["", f"champions of '{self.model.name}'{', and challengers' if self.challenges else ''}:"]
            lines += [f"  {line}" for move in moves for line in _clauses(move.sentence())]
        return lines

    def _about(self, version: Version) -> str:
        tags, since = version.tags, ""
        if CHAMPION in version.aliases and self.reigns:
            since = f", champion since {spoken(self.reigns[-1].at)}"
        made = spoken(datetime.fromtimestamp(version.created_ms / 1000, UTC).isoformat())
        aliases = f" [{', '.join(version.aliases)}]" if version.aliases else ""
        score = score_of(tags)
        judged = f"{score[0].replace('_', ' ')} {score[1]:.4f}" if score is not None else "not judged"
        trial = f"trial {tags['regatta.trial']}" if "regatta.trial" in tags else "no trial of Regatta's"
        why = f": {tags['regatta.decision']}" if tags.get("regatta.decision") else ""
        return f"version {version.version}{aliases}  {made}  {trial}, {judged}{since}{why}"

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        named = {alias: self.model.with_alias(alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)}
        return {
            "name": self.model.name,
            **{alias: version.version if version is not None else None for alias, version in named.items()},
            "versions": [_as_json(version) for version in self.model.versions],
            "history": [self._move(reign) for reign in self.reigns],
            "challengers": [self._move(reign) for reign in self.challenges],
        }

    def _move(self, reign: Reign) -> dict[str, Any]:
        """A move, and its evidence under the names that it has everywhere."""
        told = reign.to_json()
        uid, version = told.pop("evidence"), self.model.version(reign.version)
        tags = version.tags if version is not None else {}
        known = tags.get(EVIDENCE_TAG) if uid is not None and tags.get(EVIDENCE_UID_TAG) == uid else None
        return {**told, "evidence_run": known, "evidence_uid": uid}


def history_of(registry: NamedRegistry, name: str) -> ModelHistory:
    """Reads it; a move that somebody else has made is noted there, where that is allowed, with the time of this look.

    Raises:
        ConfigError: Nothing is registered under that name.
    """
    model = registry.model(name)
    if not model.versions:
        raise ConfigError("history", [Mistake("NAME", f"no model is registered as '{name}' on {registry.uri}")])
    try:
        reigns = note_missing(registry, model)
    except TrackingError:  # who may only read can read all the same
        reigns = reigns_of(model)
    return ModelHistory(model, reigns, challenges_of(model))


def _clauses(text: str) -> list[str]:
    """A line of text; where a reason has several clauses, each has a line of its own, which nobody overlooks."""
    first, *others = text.split("; ")
    return [first, *(f"    {clause}" for clause in others)]


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
        "evidence_uid": tags.get(EVIDENCE_UID_TAG),
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
