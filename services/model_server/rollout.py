"""Follows the registry: load beside, verify, warm, replay, flip between two requests, keep the last good version.

A version that is refused never replaces one that answers. It is tried again, ever more rarely, until the registry names
another one. A registry that is away changes nothing; one that says an alias is gone ends the service of that model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from services.model_server.engine import Engine, Rejection, ServedModel, Slot, State
from services.model_server.errors import ModelServerError, PackageRejected, RegistryUnavailable
from services.model_server.model_store import Stored, Target
from services.model_server.package import open_package
from services.model_server.predictor import Predictor, cpu_budget
from services.model_server.settings import ANY_MODEL, Ref, Settings

# An alias that is missing this often in a row was taken away; once may be somebody moving it by delete and set.
MISSING_POLLS = 3
_LONGEST_RETRY_S = 300.0
# How often the time of the registry's last word is written to disk; a restart reports staleness this exactly.
_CONFIRM_EVERY_S = 15.0

Log = Callable[..., None]


class Store(Protocol):
    """What the rollout needs of a model store; see `ModelStore`. Called from threads."""

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


class Rollout:
    """Keeps the engine's slots equal to what the registry names. One per server."""

    def __init__(self, settings: Settings, store: Store, engine: Engine, log: Log) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._log = log
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="rollout")
        self._loads: dict[Ref, asyncio.Task[None]] = {}
        self._written: dict[Ref, float] = {}
        self._writes: set[asyncio.Future[Any]] = set()
        self.registry_error: str | None = None
        for ref in settings.models:
            if ref.name != ANY_MODEL:
                engine.slots[ref] = Slot(ref)

    async def run(self) -> None:
        """Polls until it is cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(self._settings.poll_s)

    def stop(self) -> None:
        """Gives up what is being fetched; what is served goes on."""
        for task in self._loads.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def settle(self) -> None:
        """Waits until nothing is being loaded or written."""
        while pending := [*self._loads.values(), *self._writes]:
            await asyncio.wait(pending)

    async def step(self) -> None:
        """Asks the registry once and starts what follows from its answer."""
        try:
            found = await self._in_thread(self._store.wanted, self._settings.models)
        except RegistryUnavailable as error:
            await self._without_registry(str(error))
            return
        except Exception as error:  # the cache's disk, for instance; the server goes on with what it has
            await self._without_registry(f"{type(error).__name__}: {error}")
            return
        if self._engine.stats.registry_up is not True:
            self._log("registry_answers", uri=self._settings.tracking_uri, models=[str(ref) for ref in found])
        self._engine.stats.registry_up, self.registry_error = True, None
        now = time.time()
        for ref, target in found.items():
            if ref not in self._engine.slots:
                self._engine.slots[ref] = Slot(ref, discovered=True)
            if target is not None:
                self._point(self._engine.slots[ref], target, now)
        for slot in list(self._engine.slots.values()):
            if found.get(slot.ref) is None:
                self._missing(slot)

    async def _without_registry(self, reason: str) -> None:
        if self._engine.stats.registry_up is not False:
            self._log("registry_away", level="warning", reason=reason)
        self._engine.stats.registry_up, self.registry_error = False, reason
        empty = [slot for slot in self._engine.slots.values() if slot.served is None and slot.loading is None]
        if not empty and self._engine.slots:
            return
        known = await self._in_thread(self._store.last_known, self._settings.models)
        for ref, (stored, when) in known.items():
            slot = self._engine.slots.setdefault(ref, Slot(ref, discovered=ref not in self._settings.models))
            if slot.served is None and slot.loading is None and slot.rejection is None:
                slot.confirmed_at = when
                self._load(slot, stored)
        for slot in empty:
            if slot.ref not in known:
                slot.note = f"not in the cache, and the registry is away ({reason})"

    def _point(self, slot: Slot, target: Target, now: float) -> None:
        """Makes a slot answer with `target`, if it does not do so yet."""
        slot.confirmed_at, slot.missing_polls = now, 0
        if slot.served is not None and _same(slot.served.stored, target):
            slot.rejection = None  # the alias went back to what is served
            if now - self._written.get(slot.ref, 0.0) > _CONFIRM_EVERY_S:
                self._written[slot.ref] = now
                self._in_background(self._store.confirm, slot.ref, target, now)
            return
        if slot.loading is not None:
            return
        refused = slot.rejection
        if refused is not None and refused.version == target.version and time.monotonic() < refused.retry_at:
            return
        self._load(slot, target)

    def _missing(self, slot: Slot) -> None:
        slot.missing_polls += 1
        slot.note = "the registry has no such model, alias or READY version"
        if slot.missing_polls < MISSING_POLLS or slot.loading is not None:
            return
        if slot.served is not None:
            self._log(
                "model_unloaded", level="warning", model=str(slot.ref), version=slot.served.version, reason=slot.note
            )
            self._engine.install(slot, None)
            self._in_background(self._store.forget, slot.ref)
        slot.state, slot.rejection = State.WAITING, None
        if slot.discovered:
            self._engine.slots.pop(slot.ref, None)

    def _load(self, slot: Slot, target: Target) -> None:
        slot.loading = target.version
        if slot.served is None:
            slot.state = State.LOADING
        task = asyncio.get_running_loop().create_task(self._replace(slot, target))
        self._loads[slot.ref] = task
        task.add_done_callback(lambda _: self._loads.pop(slot.ref, None))

    async def _replace(self, slot: Slot, target: Target) -> None:
        try:
            if not await self._try(slot, target) and slot.served is None:
                # Nothing answers: rather the version that was last good than none at all.
                known = await self._in_thread(self._store.last_known, [slot.ref])
                stored, _ = known.get(slot.ref, (None, 0.0))
                if stored is not None and not _same(stored, target):
                    await self._try(slot, stored, fallback=True)
        finally:
            slot.loading = None

    async def _try(self, slot: Slot, target: Target, fallback: bool = False) -> bool:
        start = time.monotonic()
        try:
            parts = await self._in_thread(self._prepare, target)
        except ModelServerError as error:
            self._reject(slot, target, str(error))
            return False
        except Exception as error:  # whatever a package makes the libraries do must not end the server
            self._reject(slot, target, f"it cannot be loaded: {type(error).__name__}: {error}")
            return False
        served = self._engine.build(slot.ref, *parts)
        before = slot.served.version if slot.served else None
        self._engine.install(slot, served)
        slot.state, slot.note = State.AVAILABLE, ""
        self._log(
            "model_available",
            model=str(slot.ref),
            version=served.version,
            replaces=before,
            digest=served.digest,
            threads=served.predictor.threads,
            one_row_us=round(served.cost.of(1) * 1e6),
            load_s=round(time.monotonic() - start, 3),
        )
        if not fallback:
            slot.rejection = None
            if self._engine.stats.registry_up and slot.confirmed_at is not None:
                self._written[slot.ref] = slot.confirmed_at
                self._in_background(self._store.confirm, slot.ref, target, slot.confirmed_at)
            self._in_background(self._store.prune, {model.digest for model in self._engine.loaded()})
        return True

    def _prepare(self, target: Target) -> tuple[Any, ...]:
        """Fetches, verifies, opens, replays and warms a version. In a thread; what answers now goes on answering."""
        stored = target if isinstance(target, Stored) else self._store.fetch(target)
        package = open_package(stored.folder)
        if package.digest != stored.digest:
            raise PackageRejected("the cached copy is not the one that was verified")
        predictor = Predictor(package, self._settings.threads or cpu_budget())
        predictor.replay(package)
        cost = predictor.warm(package, self._settings.max_batch)
        return stored, package, predictor, cost

    def _reject(self, slot: Slot, target: Target, reason: str) -> None:
        before = slot.rejection
        attempts = before.attempts + 1 if before is not None and before.version == target.version else 1
        wait_s = min(_LONGEST_RETRY_S, self._settings.poll_s * 2 ** min(attempts, 16))
        slot.rejection = Rejection(target.version, reason, attempts, time.monotonic() + wait_s)
        if slot.served is None:
            slot.state = State.REJECTED
        self._engine.stats.rejected(slot.ref.name)
        self._log(
            "model_rejected",
            level="error",
            model=str(slot.ref),
            version=target.version,
            reason=reason,
            still_serves=slot.served.version if slot.served else None,
            attempts=attempts,
            next_try_s=round(wait_s, 1),
        )

    def _in_background(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Does housekeeping on the cache's disk; a full disk is worth a line in the log and no more."""

        def done(future: asyncio.Future[Any]) -> None:
            self._writes.discard(future)
            if not future.cancelled() and (error := future.exception()) is not None:
                self._log("cache_not_written", level="warning", reason=f"{type(error).__name__}: {error}")

        write = asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        self._writes.add(write)
        write.add_done_callback(done)

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)


def _same(stored: Stored, target: Target) -> bool:
    return (stored.version, stored.source, stored.created_ms) == (target.version, target.source, target.created_ms)


__all__ = ["MISSING_POLLS", "Rollout", "ServedModel", "Store"]
