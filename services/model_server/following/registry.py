"""What refs point to, asked of an MLflow client in as few calls as can be: one for all models, none for what is known.

Imports nothing of MLflow: the client comes from `model_store`.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.model_server.following.model_cache import Target
from services.model_server.settings import ANY_MODEL, DEFAULT_ALIAS, Ref, Settings

_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"}  # the last two: alias, and proxies
_PAGE = 1000  # the most that MLflow gives at once
_NAMES = 100  # of one search
_LONGEST_TAG = 500
# Promotion notes each move of `champion` on the model, under such a key, which sorts by time:
# {"at": "2026-11-27T09:11:00Z", "version": "3", …}
_REIGN = "regatta.reign."


def server_name(settings: Settings, worker: int | None = None) -> str:
    """Returns the name of this server in the registry: host, port, and which of several processes."""
    host = re.sub(r"[^\w.-]", "-", socket.gethostname())
    parts = (host, settings.port or "", "" if worker is None else f"worker{worker}")
    return "-".join(str(part) for part in parts if part)


def tag_of(settings: Settings) -> str:
    """Returns the key under which this server says of a version that it refuses it."""
    return f"regatta.serving.{server_name(settings)}"


class Registry:
    """One MLflow registry. Remembers versions that it has seen, and which of them carry this server's tag."""

    def __init__(self, client: Any, tag: str) -> None:
        self._client = client
        self._tag = tag
        self._known: dict[tuple[Any, ...], Target] = {}
        self._tagged: set[tuple[str, str]] = set()
        self._can_search = True

    def point_to(self, refs: Sequence[Ref]) -> dict[Ref, Target | None]:
        """Asks what each ref points to; `*` is replaced by the models that have the alias.

        Returns:
            Ref to version; None if there is no such model, alias or READY version.

        Raises:
            Exception: whatever MLflow raises when it does not answer.
        """
        found: dict[Ref, Target | None] = {}
        models = self._models(refs)
        if models is None:
            return {ref: self._ask(ref) for ref in refs}
        for ref in refs:
            if ref.name == ANY_MODEL:
                for model in models.values():
                    if ref.alias in model.aliases:
                        one = Ref(model.name, ref.alias)
                        found.setdefault(one, _dated(self._version(model, model.aliases[ref.alias]), model, one))
            else:
                model = models.get(ref.name)
                version = ref.version if model is None or ref.version else model.aliases.get(ref.alias)
                target = None if model is None or version is None else self._version(model, version)
                found[ref] = _dated(target, model, ref)
        return found

    def tag(self, target: Target, text: str) -> None:
        """Writes this server's tag on a version."""
        self._tagged.add((target.name, target.version))
        self._client.set_model_version_tag(target.name, target.version, self._tag, text[:_LONGEST_TAG])

    def untag(self, target: Target) -> None:
        """Removes this server's tag from a version, if it is there."""
        if (target.name, target.version) in self._tagged:
            self._client.delete_model_version_tag(target.name, target.version, self._tag)
            self._tagged.discard((target.name, target.version))

    def _models(self, refs: Sequence[Ref]) -> dict[str, Any] | None:
        """Returns the registered models that refs name, by name; None if this registry cannot be asked so."""
        names = list(dict.fromkeys(ref.name for ref in refs))
        if ANY_MODEL in names:
            return {model.name: model for model in self._search("")}
        if not self._can_search or any("'" in name for name in names):
            return None
        lists = (names[start : start + _NAMES] for start in range(0, len(names), _NAMES))
        try:
            return {model.name: model for some in lists for model in self._search(_named(some))}
        except Exception as error:
            if getattr(error, "error_code", None) != "INVALID_PARAMETER_VALUE":
                raise
            self._can_search = False  # a registry of another make, which knows no lists of names
            return None

    def _search(self, wanted: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_registered_models(wanted or None, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _version(self, model: Any, version: Any) -> Target | None:
        """Returns a version of a model that was just seen; only what is new about it costs a call."""
        key = (model.name, model.creation_timestamp, model.last_updated_timestamp, str(version))
        target = self._known.get(key) or self._ask(Ref(model.name, version=str(version)))
        if target is not None:
            # A wiped registry or a deleted version changes the times: what was known under others is forgotten.
            self._known = {k: t for k, t in self._known.items() if k[0] != model.name or k[:3] == key[:3]}
            self._known[key] = target
        return target

    def _ask(self, ref: Ref) -> Target | None:
        try:
            if ref.alias:
                version = self._client.get_model_version_by_alias(ref.name, ref.alias)
            else:
                version = self._client.get_model_version(ref.name, str(ref.version))
        except Exception as error:
            if getattr(error, "error_code", None) in _ABSENT:
                return None
            raise
        if self._tag in (version.tags or {}):
            self._tagged.add((version.name, str(version.version)))
        if version.status != "READY":
            return None
        return Target(
            version.name,
            str(version.version),
            version.run_id or "",
            version.source or "",
            int(version.creation_timestamp or 0),
        )


def _dated(target: Target | None, model: Any, ref: Ref) -> Target | None:
    """Adds to a champion since when it is one. Asked anew each time: it may go and come back while it stays loaded."""
    if target is None or ref.alias != DEFAULT_ALIAS:
        return target
    return replace(target, champion_since=_champion_since(model.tags or {}, target.version))


def _champion_since(tags: Mapping[str, str], version: str) -> str:
    """Returns the time of the last move that promotion noted on a model; "" if that was to another version."""
    last = max((key for key in tags if key.startswith(_REIGN)), default=None)
    try:
        reign = json.loads(tags[last]) if last is not None else {}
        if str(reign["version"]) != version:  # somebody has moved the alias by hand since, and nobody noted when
            return ""
        return datetime.fromisoformat(reign["at"]).astimezone(UTC).isoformat()
    except (ValueError, TypeError, KeyError):
        return ""


def _named(names: Iterable[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return f"name = {quoted[0]}" if len(quoted) == 1 else f"name IN ({', '.join(quoted)})"
