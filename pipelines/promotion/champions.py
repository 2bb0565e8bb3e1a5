"""Who is and was the champion, for people and for programs; and the way back to an earlier one."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.errors import ConfigError, Mistake, TrackingError
from pipelines.package import MANIFEST, damage
from pipelines.promotion.outcome import JUDGED_BY
from pipelines.promotion.reigns import (
    EVIDENCE_TAG,
    ROLLED_BACK,
    Registry,
    Reign,
    crown,
    last_champion,
    mend,
    moment_after,
    reigns_of,
)
from pipelines.tasks import SCORES
from pipelines.tracking.models import CHAMPION, PREVIOUS, RegisteredModel, Version

_NAMED = 12
"""Versions that a message names."""


class FilesRegistry(Registry, Protocol):
    """What a way back needs of a registry."""

    uri: str

    def download(self, version: Version, folder: Path) -> Path:
        """A copy of a version's files below `folder`."""


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


def history_of(registry: FilesRegistry, name: str) -> ModelHistory:
    """Reads it; nothing is changed.

    Raises:
        ConfigError: Nothing is registered under that name.
    """
    model = registry.model(name)
    if not model.versions:
        raise ConfigError("history", [Mistake("NAME", f"no model is registered as '{name}' on {registry.uri}")])
    return ModelHistory(model, reigns_of(model))


def roll_back(registry: FilesRegistry, name: str, to: str | None, why: str = "") -> str:
    """Makes an earlier version the champion again; returns a sentence about it.

    Args:
        registry: Where the model is.
        name: Of the model.
        to: The version; the one before the champion where left out.
        why: For the history.

    Raises:
        ConfigError: There is no such version, or nothing to go back to.
        TrackingError: The files of that version are not those that were registered.
    """
    model = mend(registry, registry.model(name))
    champion = model.with_alias(CHAMPION)
    target = (model.with_alias(PREVIOUS) if champion is not None else None) if to is None else model.version(to)
    if target is None:
        raise ConfigError("rollback", [_nowhere_to_go(model, to)])
    if champion is not None and target.version == champion.version:
        return f"Version {champion.version} of '{name}' is the {CHAMPION} already."
    wrong = _damage(registry, target)
    if wrong is not None:
        raise TrackingError(
            f"Version {target.version} of '{name}' is damaged: {wrong}. No server could serve it, so the champion "
            f"stays; go back to another one with: regatta rollback {name} --to VERSION"
        )
    left = champion or last_champion(model)
    before = left.version if left is not None and left.version != target.version else None
    reason = why or (f"rolled back from version {before}" if before else "rolled back, as there was no champion")
    score = _score(target.tags)
    crown(registry, target, Reign(moment_after(model), ROLLED_BACK, target.version, before, reason, score=score))
    was = f"; version {before} was it before" if before else ""
    return f"Version {target.version} of '{name}' is the {CHAMPION} again{was}."


def _nowhere_to_go(model: RegisteredModel, to: str | None) -> Mistake:
    """That there is no version to go back to, and what there is."""
    name, see = model.name, f"see: regatta history {model.name}"
    if not model.versions:
        return Mistake("NAME", f"'{name}' has no versions: no model is registered under that name")
    if to is not None:
        return Mistake("--to", f"'{name}' has no version {to}; it has {_numbers(model)}, {see}")
    last = last_champion(model)
    if model.with_alias(CHAMPION) is not None:
        return Mistake(
            "NAME", f"'{name}' has no version before the champion; name another one with --to VERSION, {see}"
        )
    if last is None:
        return Mistake("NAME", f"'{name}' has no champion yet; make a version the champion with --to VERSION, {see}")
    return Mistake(
        "NAME",
        f"'{name}' has no champion to go back from: nobody has its alias '{CHAMPION}' any more. Version {last.version} "
        f"was the last that had it; it gets it back with: regatta rollback {name} --to {last.version}",
    )


def _numbers(model: RegisteredModel) -> str:
    numbers = [version.version for version in model.versions]
    return ", ".join(numbers if len(numbers) <= _NAMED else [*numbers[:1], "…", *numbers[-_NAMED + 1 :]])


def _damage(registry: FilesRegistry, version: Version) -> str | None:
    """What is wrong with a version's files; of one that somebody else has registered, nobody can say."""
    with tempfile.TemporaryDirectory(prefix="regatta-rollback-") as scratch:
        folder = registry.download(version, Path(scratch))
        return damage(folder) if (folder / MANIFEST).is_file() else None


def _line(version: Version) -> str:
    tags = version.tags
    made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(version.created_ms / 1000))
    aliases = f" [{', '.join(version.aliases)}]" if version.aliases else ""
    since = f", champion since {tags['regatta.champion_since']}" if CHAMPION in version.aliases and _since(tags) else ""
    score = _score(tags)
    judged = f"{score[0].replace('_', ' ')} {score[1]:.4f}" if score is not None else "not judged"
    return (
        f"version {version.version}{aliases}  {made} UTC  trial {tags.get('regatta.trial', '?')}, {judged}{since}: "
        f"{tags.get('regatta.decision', '')}"
    )


def _since(tags: Mapping[str, str]) -> str | None:
    return tags.get("regatta.champion_since")


def _as_json(version: Version) -> dict[str, Any]:
    tags, score = version.tags, _score(version.tags)
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


def _score(tags: Mapping[str, str]) -> tuple[str, float] | None:
    """The score that a version was judged by; of one that does not say, the one that people look at first."""
    for name in (tags.get(JUDGED_BY, ""), *(name for task in SCORES for name in SCORES[task])):
        try:
            value = float(tags[f"regatta.{name}"])
        except (KeyError, ValueError):
            continue
        if math.isfinite(value):
            return name, value
    return None
