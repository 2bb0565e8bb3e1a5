"""Brings a slot to a version: fetched, verified and warmed beside what answers, then installed; or refused, and why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from services.model_server.background import Background
from services.model_server.contract_changes import contract_changes
from services.model_server.engine import Engine
from services.model_server.errors import ModelServerError
from services.model_server.following.preparing import prepare
from services.model_server.following.store import Store
from services.model_server.following.wanted import Wanted
from services.model_server.host.cpus import cpu_budget
from services.model_server.model_store import Stored, Target
from services.model_server.served import Rejection, ServedModel, Slot, State
from services.model_server.settings import Ref, Settings

_LONGEST_RETRY_S = 300.0
# How often the time of the registry's last word is written to disk; a restart reports staleness this exactly.
_CONFIRM_EVERY_S = 15.0
# What goes wrong in the background, as the log calls it.
NOT_WRITTEN, NOT_TAGGED = "cache_not_written", "registry_not_tagged"


class Loader:
    """Loads what slots are pointed to, one version of a slot at a time. Used on the event loop only.

    Attributes:
        background: The threads that everything slow happens in.
        loads: What is being loaded, by what it is for.
    """

    def __init__(
        self, settings: Settings, store: Store, engine: Engine, log: Callable[..., None], wanted: Wanted
    ) -> None:
        """Takes the parts of a rollout."""
        self._settings = settings
        self._store = store
        self._engine = engine
        self._log = log
        self._wanted = wanted
        self.background = Background(log)
        self.loads: dict[Ref, asyncio.Task[None]] = {}
        self._written: dict[Ref, float] = {}
        self._stopped = False

    def stop(self) -> None:
        """Gives up what is being loaded."""
        for task in self.loads.values():
            task.cancel()
        self._stopped = True
        self.background.close()

    def point(self, slot: Slot, target: Target, now: float) -> None:
        """Makes a slot answer with `target`, if it does not do so yet."""
        slot.confirmed_at, slot.missing_polls = now, 0
        if slot.served is not None and _same(slot.served.stored, target):
            slot.rejection = None  # the alias went back to what is served
            slot.champion_since = target.champion_since
            if abs(now - self._written.get(slot.ref, 0.0)) > _CONFIRM_EVERY_S:  # it may have been set back
                self._written[slot.ref] = now
                self.background.begin(NOT_WRITTEN, self._store.confirm, slot.ref, target, now)
            return
        if slot.loading is not None:
            return
        if self._share(slot, target):
            return
        refused = slot.rejection
        if refused is not None and refused.version == target.version and time.monotonic() < refused.retry_at:
            return
        self.load(slot, target)

    def _share(self, slot: Slot, target: Target) -> bool:
        """Lets a slot answer with what is loaded already: the champion of before, or the one it came back from."""
        for served in self._engine.open():
            # What only ever ran beside the champion may have been given one thread.
            if (
                _same(served.stored, target)
                and not self._wanted.is_shadow(served.ref)
                and not self._wanted.is_shadow(slot.ref)
            ):
                self._install(slot, served, target, shared=True)
                self._confirm(slot, target)
                return True
        return False

    def load(self, slot: Slot, target: Target) -> None:
        """Starts to load a version for a slot."""
        slot.loading = target.version
        if slot.served is None:
            slot.state = State.LOADING
        task = asyncio.get_running_loop().create_task(self._replace(slot, target))
        self.loads[slot.ref] = task
        task.add_done_callback(lambda _: self.loads.pop(slot.ref, None))

    async def _replace(self, slot: Slot, target: Target) -> None:
        try:
            if slot.beside:
                await self._after_the_champions()
                if self._share(slot, target):
                    return
            if not await self._try(slot, target) and slot.served is None:
                # Nothing answers: rather the version that was last good than none at all.
                known = await self.background.do(self._store.last_known, [slot.ref])
                stored, _ = known.get(slot.ref, (None, 0.0))
                if stored is not None and not _same(stored, target):
                    await self._try(slot, stored, fallback=True)
        finally:
            slot.loading = None

    async def _after_the_champions(self) -> None:
        """Waits for what readiness waits for; nothing else may delay it."""
        slots = self._engine.slots
        while mains := [task for ref, task in self.loads.items() if ref in slots and not slots[ref].beside]:
            await asyncio.wait(mains)
            await asyncio.sleep(0)  # lets them be taken out

    async def _try(self, slot: Slot, target: Target, fallback: bool = False) -> bool:
        start = time.monotonic()
        try:
            threads = 1 if self._wanted.is_shadow(slot.ref) else self._settings.threads or cpu_budget()
            work = partial(
                prepare,
                threads=threads,
                tell=self.background.teller(model=target.name, version=target.version),
                stopped=lambda: self._stopped,
            )
            parts = await self.background.do(work, self._store, self._settings, target)
        except ModelServerError as error:
            self._reject(slot, target, str(error))
            return False
        except Exception as error:  # whatever a package makes the libraries do must not end the server
            self._reject(slot, target, f"it cannot be loaded: {type(error).__name__}: {error}")
            return False
        self._install(slot, self._engine.build(slot.ref, *parts), target, load_s=round(time.monotonic() - start, 3))
        if not fallback:
            slot.rejection = None
            if self._engine.stats.registry_up:
                self.background.begin(NOT_TAGGED, self._store.accepted, target)
                self._confirm(slot, target)
            self.background.begin(NOT_WRITTEN, self._store.prune, {model.digest for model in self._engine.loaded()})
        return True

    def _install(self, slot: Slot, served: ServedModel, target: Target, **facts: Any) -> None:
        before, slot.champion_since = slot.served, target.champion_since
        self._engine.install(slot, served)
        if not self._engine.stats.registry_up:
            self._engine.say_stale(away=True)
            facts["stale_s"] = round(slot.staleness_s() or 0.0)
        slot.state, slot.note, slot.changed = State.AVAILABLE, "", ""
        if before is not None and not slot.beside and (changes := contract_changes(before.contract, served.contract)):
            slot.changed = f"version {served.version} has another contract than {before.version} before it: {changes}"
            self._log("contract_changed", level="warning", model=str(slot.ref), version=served.version, changes=changes)
        self._log(
            "model_available",
            model=str(slot.ref),
            version=served.version,
            replaces=None if before is None else before.version,
            digest=served.digest,
            threads=served.predictor.threads,
            one_row_us=round(served.cost.of(1) * 1e6),
            **facts,
        )

    def _confirm(self, slot: Slot, target: Target) -> None:
        if slot.confirmed_at is not None:
            self._written[slot.ref] = slot.confirmed_at
            self.background.begin(NOT_WRITTEN, self._store.confirm, slot.ref, target, slot.confirmed_at)

    def _reject(self, slot: Slot, target: Target, reason: str) -> None:
        before = slot.rejection
        attempts = before.attempts + 1 if before is not None and before.version == target.version else 1
        wait_s = min(_LONGEST_RETRY_S, self._settings.poll_s * 2 ** min(attempts, 16))
        slot.rejection = Rejection(target.version, reason, attempts, time.monotonic() + wait_s)
        if slot.served is None:
            slot.state = State.REJECTED
        self._engine.stats.rejected(slot.ref.name)
        if before is None or (before.version, before.reason) != (target.version, reason):
            self.background.begin(NOT_TAGGED, self._store.refused, target, reason)
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


def _same(stored: Stored, target: Target) -> bool:
    return (stored.version, stored.source, stored.created_ms) == (target.version, target.source, target.created_ms)
