"""The way back to an earlier champion: whether there is one, whether it could be served, and the move."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Protocol

from pipelines.errors import ConfigError, Mistake, TrackingError
from pipelines.packaging.package import MANIFEST, damage, read_contract
from pipelines.promotion.champions import score_of
from pipelines.promotion.meeting import misfit
from pipelines.promotion.reigns import (
    FORCED,
    FOUND,
    GONE,
    ROLLED_BACK,
    Registry,
    Reign,
    crown,
    last_champion,
    mend,
    moment_after,
    reigns_of,
)
from pipelines.tracking.models import CHAMPION, PREVIOUS, RegisteredModel, Version

_NAMED = 12
"""Versions that a message names."""


class FilesRegistry(Registry, Protocol):
    """What a way back needs of a registry."""

    def download(self, version: Version, folder: Path) -> Path:
        """A copy of a version's files below `folder`."""


def roll_back(registry: FilesRegistry, name: str, to: str | None, why: str = "", *, force: bool = False) -> str:
    """Makes an earlier version the champion again; returns a sentence about it.

    Args:
        registry: Where the model is.
        name: Of the model.
        to: The version; the one before the champion where left out.
        why: For the history.
        force: Take a version, too, that does something else than the champion; the history tells so.

    Raises:
        ConfigError: There is no such version, or nothing to go back to, or it does something else than the champion.
        TrackingError: The files of that version are not those that were registered.
    """
    model = mend(registry, registry.model(name))
    champion = model.with_alias(CHAMPION)
    target = (model.with_alias(PREVIOUS) if champion is not None else None) if to is None else model.version(to)
    if target is None:
        raise ConfigError("rollback", [_nowhere_to_go(model, to)])
    if champion is not None and target.version == champion.version:
        return f"Version {champion.version} of '{name}' is the {CHAMPION} already."
    with tempfile.TemporaryDirectory(prefix="regatta-rollback-") as scratch:
        wrong, other = _look_into(registry, target, _known_to_clients(model), Path(scratch))
    if wrong is not None:
        raise TrackingError(
            f"Version {target.version} of '{name}' is damaged: {wrong}. No server could serve it, so the champion "
            f"stays; go back to another one with: regatta rollback {name} --to VERSION"
        )
    if other is not None and not force:
        text = (
            f"version {target.version} of '{name}' {other}: whoever asks the champion would be told something else. "
            f"Name another version, or add --force where that is meant"
        )
        raise ConfigError("rollback", [Mistake("--to", text)])
    left = champion or last_champion(model)
    before = left.version if left is not None and left.version != target.version else None
    reason = why or (f"rolled back from version {before}" if before else "rolled back, as there was no champion")
    reason = reason if other is None else f"rolled back by force, although it {other}: {reason}"
    action, score = ROLLED_BACK if other is None else FORCED, score_of(target.tags)
    crown(registry, target, Reign(moment_after(model), action, target.version, before, reason, score=score))
    was = f"; version {before} was it before" if before else ""
    return f"Version {target.version} of '{name}' is the {CHAMPION} again{was}."


def _known_to_clients(model: RegisteredModel) -> Version | None:
    """Whose contract those rely on who ask the champion: its own, unless somebody has slipped it in behind our back."""
    reigns = reigns_of(model)
    while reigns and reigns[-1].action in (FOUND, GONE):
        reigns = reigns[:-1]
    known = model.version(reigns[-1].version) if reigns else None
    return known if known is not None else model.with_alias(CHAMPION)


def _look_into(
    registry: FilesRegistry, target: Version, known: Version | None, scratch: Path
) -> tuple[str | None, str | None]:
    """What is wrong with a version's files, and in what it differs from one that is known.

    Of files that somebody else has registered, without a manifest or a contract, nobody can say.
    """
    folder = _brought(registry, target, scratch / "target")
    wrong = damage(folder) if (folder / MANIFEST).is_file() else None
    if wrong is not None or known is None or known.version == target.version:
        return wrong, None
    try:
        theirs = _brought(registry, known, scratch / "known")
        return None, misfit(read_contract(folder), read_contract(theirs), f"the champion, version {known.version},")
    except (TrackingError, OSError, ValueError, KeyError, TypeError):  # a champion that is lost bars no way back
        return None, None


def _brought(registry: FilesRegistry, version: Version, scratch: Path) -> Path:
    scratch.mkdir()
    return registry.download(version, scratch)


def _nowhere_to_go(model: RegisteredModel, to: str | None) -> Mistake:
    """That there is no version to go back to, and what there is."""
    name, see = model.name, f"see: regatta history {model.name}"
    if not model.versions:
        return Mistake("NAME", f"'{name}' has no versions: no model is registered under that name")
    if to is not None:
        return Mistake("--to", f"'{name}' has no version {to}; it has {_numbers(model)}, {see}")
    last = last_champion(model)
    if model.with_alias(CHAMPION) is not None:
        return Mistake("NAME", f"'{name}' has no version before the champion; name one with --to VERSION, {see}")
    if last is None:
        return Mistake("NAME", f"'{name}' has no champion yet; make a version the champion with --to VERSION, {see}")
    return Mistake(
        "NAME",
        f"'{name}' has no champion to go back from: nobody has its alias '{CHAMPION}' any more. Version {last.version} "
        f"is the last champion that is left; it gets it back with: regatta rollback {name} --to {last.version}",
    )


def _numbers(model: RegisteredModel) -> str:
    numbers = [version.version for version in model.versions]
    return ", ".join(numbers if len(numbers) <= _NAMED else [*numbers[:1], "…", *numbers[-_NAMED + 1 :]])
