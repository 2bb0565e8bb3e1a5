"""From a version in the registry to one that could answer: fetched, verified, opened, replayed and warmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.model_server.engines import open_predictor
from services.model_server.errors import PackageRejected
from services.model_server.following.model_cache import Stored, Target
from services.model_server.following.store import Store
from services.model_server.host.memory import give_back
from services.model_server.package import Package, open_package
from services.model_server.predictor import Cost, Predictor
from services.model_server.settings import Settings


def prepare(
    store: Store,
    settings: Settings,
    target: Target,
    *,
    threads: int,
    tell: Callable[..., Any],
    stopped: Callable[[], bool],
) -> tuple[Stored, Package, Predictor, Cost]:
    """Prepares a version. In a thread; what answers now goes on answering.

    Args:
        store: Where it comes from, unless it is on the disk already.
        settings: All settings.
        target: The version.
        threads: The most cores one call may use.
        tell: Told what becomes of an engine's process.
        stopped: Whether nobody wants it any more.

    Raises:
        PackageRejected: it must not be served.
        RegistryUnavailable: it could not be fetched.
    """
    stored = target if isinstance(target, Stored) else store.fetch(target)
    package = open_package(stored.folder)
    if package.digest != stored.digest:
        raise PackageRejected("the cached copy is not the one that was verified")
    predictor = open_predictor(package, threads, settings, tell)
    try:
        predictor.replay(package)
        cost = predictor.warm(package, settings.max_batch)
        if stopped():
            raise PackageRejected("the server is shutting down")
    except BaseException:
        predictor.close()
        raise
    give_back()  # what warming took, and what the versions before this one left
    return stored, package, predictor, cost
