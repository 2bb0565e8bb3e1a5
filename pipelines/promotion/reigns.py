"""Who was champion when, and why. The history is in the registry itself, so that every machine sees the same one.

Each move of `champion` is a tag of the registered model, whose key sorts by time. A move is made in four steps, in
this order: what it is about to do is noted on the version, `champion` moves, `previous` moves, the history gets its
entry. Last of all, the version that was the champion says until when it was. Whoever dies in between leaves enough
for `mend`, which the next promotion or rollback begins with, to do the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from pipelines.tracking.models import CHALLENGER, CHAMPION, PREVIOUS, RegisteredModel, Version

PROMOTED, FORCED, ROLLED_BACK, FOUND, GONE = "promoted", "forced", "rolled back", "found", "gone"
CHALLENGES = "challenges"
INTENT_TAG, SINCE_TAG, UNTIL_TAG = "regatta.reign", "regatta.champion_since", "regatta.champion_until"
EVIDENCE_TAG, EVIDENCE_UID_TAG = "regatta.evidence_run", "regatta.evidence"
"""Of a version: the server's id of the run that holds its evidence, and what the journal calls that run."""
_KEY, _CHALLENGE_KEY = "regatta.reign.", "regatta.challenge."
_MOST = 300
"""Moves that the history keeps; the oldest ones are dropped for newer ones."""
_LONGEST = 2000


class Registry(Protocol):
    """What a history needs of a registry; `pipelines.tracking.models.ModelRegistry` is one."""

    def model(self, name: str) -> RegisteredModel:
        """All that there is under a name."""

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Adds tags to a version."""

    def untag(self, version: Version, key: str) -> None:
        """Takes a tag away from a version."""

    def tag_model(self, name: str, key: str, value: str) -> None:
        """Adds a tag to the model as a whole."""

    def untag_model(self, name: str, key: str) -> None:
        """Takes a tag away from the model as a whole."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Has an alias name a version."""


@dataclass(frozen=True)
class Reign:
    """That a version became the champion, or is it no more without another in its place.

    Attributes:
        at: When, in UTC.
        action: `promoted`, `forced` (against the policy), `rolled back`, or `found`: by somebody else than us. `gone`
            where somebody else has taken the alias away, or deleted the version. `challenges` where it became the
            challenger, which is kept apart: it is no part of who was the champion.
        version: Which.
        before: The one that it took the place of, or None.
        why: In words.
        evidence: What names the run with the evidence in the journal, or None.
        score: What it was judged by, and its value; None where nobody judged it.
        gain: By how much it was better than the one before, with the ends of its interval; None where that is unknown.
    """

    at: str
    action: str
    version: str
    before: str | None = None
    why: str = ""
    evidence: str | None = None
    score: tuple[str, float] | None = None
    gain: tuple[float | None, float | None, float | None] | None = None

    @property
    def key(self) -> str:
        """Of its tag."""
        start = _CHALLENGE_KEY if self.action == CHALLENGES else _KEY
        return f"{start}{self.at.replace(':', '').replace('-', '')}-v{self.version}"

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    def as_tag(self) -> str:
        """The same as a tag holds it."""
        return json.dumps({key: value for key, value in self.to_json().items() if value is not None})

    def sentence(self) -> str:
        """For a person."""
        took = f", in place of version {self.before}" if self.before else ""
        return f"{spoken(self.at)}  version {self.version} {_WORDS.get(self.action, self.action)}{took}: {self.why}"


_WORDS = {
    PROMOTED: "became the champion",
    FORCED: "was made the champion by force",
    ROLLED_BACK: "became the champion again",
    FOUND: "was found as the champion",
    GONE: "was found to be the champion no more",
    CHALLENGES: "became the challenger",
}


def now() -> str:
    """The time, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def spoken(at: str) -> str:
    """A time of the history as people read it, in UTC to the second."""
    try:
        return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return at


def moment_after(model: RegisteredModel) -> str:
    """The time for a move that happens now: none is before the last one, whatever another machine's clock said then."""
    last, at = _noted(model)[-1:], now()
    if not last or at > last[0].at:
        return at
    try:
        then = datetime.fromisoformat(last[0].at) + timedelta(milliseconds=1)
    except ValueError:
        return at
    return then.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reigns_of(model: RegisteredModel) -> tuple[Reign, ...]:
    """The history of a model, oldest first, with what an interrupted move or somebody else's has left out of it."""
    noted = _noted(model)
    missing = _missing(model, noted)
    return (*noted, missing) if missing else noted


def note_missing(registry: Registry, model: RegisteredModel) -> tuple[Reign, ...]:
    """The history as `reigns_of` tells it; what it lacks is noted, so that whoever looks is told one time of it."""
    reigns = reigns_of(model)
    for reign in reigns[len(_noted(model)) :]:
        registry.tag_model(model.name, reign.key, reign.as_tag())
    return reigns


def last_champion(model: RegisteredModel) -> Version | None:
    """The newest champion of the history that is still there, whether or not it has the alias; None without a history.

    Who deletes the alias does not make the next candidate better, so it meets this one.
    """
    there = (model.version(reign.version) for reign in reversed(reigns_of(model)))
    return next((version for version in there if version is not None), None)


def crown(registry: Registry, version: Version, reign: Reign) -> None:
    """Moves `champion` to the version and `previous` to the one before, and notes it."""
    reign = replace(reign, why=reign.why[:_LONGEST])
    registry.tag(version, {INTENT_TAG: reign.as_tag(), SINCE_TAG: reign.at})
    if UNTIL_TAG in version.tags:  # of an earlier time
        registry.untag(version, UNTIL_TAG)
    registry.set_alias(version.name, CHAMPION, version.version)
    if reign.before is not None and reign.before != version.version:
        registry.set_alias(version.name, PREVIOUS, reign.before)
    registry.tag_model(version.name, reign.key, reign.as_tag())
    if reign.before is not None and reign.before != version.version:
        registry.tag(replace(version, version=reign.before), {UNTIL_TAG: reign.at})


def challenge(registry: Registry, version: Version, reign: Reign) -> None:
    """Has `challenger` name the version, and notes it; the champion and its history stay as they are."""
    reign = replace(reign, why=reign.why[:_LONGEST])
    registry.set_alias(version.name, CHALLENGER, version.version)
    registry.tag_model(version.name, reign.key, reign.as_tag())


def challenges_of(model: RegisteredModel) -> tuple[Reign, ...]:
    """Every time that a version became the challenger, oldest first."""
    return _noted(model, _CHALLENGE_KEY)


def mend(registry: Registry, model: RegisteredModel) -> RegisteredModel:
    """Completes what an interrupted move has left, and notes what somebody else has done; returns what there is then.

    `previous` names the one before the champion afterwards, whoever has moved what.
    """
    noted = _noted(model)
    missing = _missing(model, noted)
    changed = missing is not None
    if missing is not None:
        registry.tag_model(model.name, missing.key, missing.as_tag())
        noted = (*noted, missing)
    for old in (*noted[: max(0, len(noted) - _MOST)], *challenges_of(model)[:-_MOST]):
        registry.untag_model(model.name, old.key)
        changed = True
    before = noted[-1].before if noted else None
    previous = model.with_alias(PREVIOUS)
    there = before is not None and model.version(before) is not None
    if before is not None and there and (previous is None or previous.version != before):
        registry.set_alias(model.name, PREVIOUS, before)
        changed = True
    for version in model.versions:
        if SINCE_TAG in version.tags and UNTIL_TAG not in version.tags and CHAMPION not in version.aliases:
            registry.tag(version, {UNTIL_TAG: _end_of(version, noted)})
            changed = True
    return registry.model(model.name) if changed else model


def _end_of(version: Version, noted: tuple[Reign, ...]) -> str:
    """When a version was the champion no more: at the first move since it was made the champion; now, if none tells."""
    return next((reign.at for reign in noted if reign.at > version.tags[SINCE_TAG]), now())


def _noted(model: RegisteredModel, start: str = _KEY) -> tuple[Reign, ...]:
    """What the tags tell; one that nobody can read tells nothing."""
    found = [_read(model.tags[key]) for key in sorted(model.tags) if key.startswith(start)]
    return tuple(reign for reign in found if reign is not None)


def _missing(model: RegisteredModel, noted: tuple[Reign, ...]) -> Reign | None:
    """What the history lacks: that there is another champion than its last entry tells of, or none."""
    champion = model.with_alias(CHAMPION)
    last = noted[-1] if noted else None
    if champion is None:
        if last is None or last.action == GONE:
            return None
        why = "its alias was taken away" if model.version(last.version) is not None else "it was deleted"
        return Reign(moment_after(model), GONE, last.version, None, f"{why} by somebody else than Regatta")
    if last is not None and last.version == champion.version and last.action != GONE:
        return None
    intent = _read(champion.tags.get(INTENT_TAG, ""))
    if intent is not None and intent.version == champion.version and all(intent.key != reign.key for reign in noted):
        return intent
    before = last.version if last is not None and last.version != champion.version else None
    if last is None and SINCE_TAG in champion.tags:  # crowned before there was a history
        previous = model.with_alias(PREVIOUS)
        before = previous.version if previous is not None else None
        why = champion.tags.get("regatta.decision", "")
        return Reign(champion.tags[SINCE_TAG], PROMOTED, champion.version, before, why)
    return Reign(
        moment_after(model), FOUND, champion.version, before, "its alias was moved by somebody else than Regatta"
    )


def _read(text: str) -> Reign | None:
    try:
        told = json.loads(text)
        pairs = {key: tuple(told[key]) for key in ("score", "gain") if told.get(key) is not None}
        return Reign(**{**told, **pairs})
    except (ValueError, TypeError, AttributeError):
        return None
