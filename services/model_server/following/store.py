"""What the rollout needs of the place that models come from. `ModelStore` is the real one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from services.model_server.following.model_cache import Stored, Target
from services.model_server.settings import Ref


class Store(Protocol):
    """A registry with a cache on disk. Called from threads."""

    def wanted(self, refs: Iterable[Ref]) -> dict[Ref, Target | None]:
        """Asks the registry what refs point to."""

    def fetch(self, target: Target) -> Stored:
        """Brings a version to the disk."""

    def confirm(self, ref: Ref, target: Target, when: float) -> None:
        """Remembers what a ref pointed to."""

    def forget(self, ref: Ref) -> None:
        """Forgets a ref."""

    def last_known(self, refs: Iterable[Ref]) -> Mapping[Ref, tuple[Stored, float]]:
        """Returns what can be served without the registry."""

    def prune(self, in_use: set[str]) -> None:
        """Frees disk space."""

    def refused(self, target: Target, reason: str) -> None:
        """Notes in the registry that this server refuses a version."""

    def accepted(self, target: Target) -> None:
        """Takes back what `refused` noted, now or in an earlier life of this server."""
