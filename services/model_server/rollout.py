"""Follows the registry: load beside, verify, warm, replay, flip between two requests, keep the last good version.

A version that is refused never replaces one that answers. It is tried again, ever more rarely, until the registry names
another one. A registry that is away changes nothing; one that says an alias is gone ends the service of that model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from services.model_server.background import Background
from services.model_server.engine import Engine
from services.model_server.errors import ModelServerError, RegistryUnavailable
from services.model_server.following.preparing import prepare
from services.model_server.following.store import Store
from services.model_server.following.wanted import Wanted
from services.model_server.host.cpus import cpu_budget
from services.model_server.model_store import Stored, Target
from services.model_server.served import Rejection, ServedModel, Slot, State
from services.model_server.settings import ANY_MODEL, Ref, Settings

# An alias that is missing this often in a row was taken away; once may be somebody moving it by delete and set.
MISSING_POLLS = 3
_LONGEST_RETRY_S = 300.0
# How long a start waits for the registry's first answer, importing MLflow included, before it serves from the cache.
_FIRST_ANSWER_S = 1.0
# How often the time of the registry's last word is written to disk; a restart reports staleness this exactly.
_CONFIRM_EVERY_S = 15.0
# What goes wrong in the background, as the log calls it.
NOT_WRITTEN, NOT_TAGGED = "cache_not_written", "registry_not_tagged"


class Rollout:
    """Keeps the engine's slots equal to what the registry names. One per server."""

    def __init__(self, settings: Settings, store: Store, engine: Engine, log: Callable[..., None]) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._log = log
        self._background = Background(log)
        self._loads: dict[Ref, asyncio.Task[None]] = {}
        self._written: dict[Ref, float] = {}
        self._stopped = False
        self._wanted = Wanted(settings)
        self._heard = asyncio.Event()
        self._told_up: bool | None = None  # what the log said last of the registry
        for ref in settings.models:
            if ref.name != ANY_MODEL:
                engine.slots[ref] = Slot(ref)

    async def run(self) -> None:
        """Polls until it is cancelled."""
        early = asyncio.get_running_loop().create_task(self._start_from_cache())
        try:
            while True:
                await self.step()
                self._heard.set()
                await asyncio.sleep(self._settings.poll_s)
        finally:
            early.cancel()

    async def _start_from_cache(self) -> None:
        """Serves what was last known if the registry's first answer takes long; what it says then is followed."""
        try:
            await asyncio.wait_for(self._heard.wait(), _FIRST_ANSWER_S)
        except TimeoutError:
            # Slow is not away: until the first poll is over, nobody is told that the registry does not answer.
            await self._load_known()

    def stop(self) -> None:
        """Gives up what is being fetched; what is served goes on."""
        for task in self._loads.values():
            task.cancel()
        self._stopped = True
        self._background.close()
        for served in self._engine.open():
            served.predictor.close()

    async def settle(self) -> None:
        """Waits until nothing is being loaded or written."""
        while pending := [*self._loads.values(), *self._background.chores]:
            await asyncio.wait(pending)

    async def step(self) -> None:
        """Asks the registry once and starts what follows from its answer."""
        try:
            found = await self._background.do(self._store.wanted, self._wanted.refs)
        except RegistryUnavailable as error:
            await self._without_registry(str(error))
            return
        except Exception as error:  # the cache's disk, for instance; the server goes on with what it has
            await self._without_registry(f"{type(error).__name__}: {error}")
            return
        if self._told_up is not True:
            self._log("registry_answers", uri=self._settings.tracking_uri, models=[str(ref) for ref in found])
        self._engine.stats.registry_up = self._told_up = True
        self._engine.say_stale(away=False)
        self._follow(found, time.time())

    def _follow(self, found: Mapping[Ref, Target | None], now: float) -> None:
        """Starts what makes the slots equal to what the registry said."""
        slots = self._engine.slots
        with self._engine.moving():  # champion and previous change places without a load
            for beside in (False, True):
                for ref, target in found.items():
                    if self._wanted.is_beside(ref) is beside and self._has_slot(ref, target) and target is not None:
                        self._point(slots[ref], target, now)
            for slot in list(slots.values()):
                alone = slot.beside and not self._has_main(slot.ref.name)
                if alone or found.get(slot.ref) is None:
                    self._missing(slot, at_once=alone)

    def _has_main(self, name: str) -> bool:
        return any(not slot.beside for slot in self._engine.slots_of(name))

    def _has_slot(self, ref: Ref, target: Target | None) -> bool:
        """Whether a ref has a slot; makes one for what `*` found, and for what goes with a champion that has one."""
        slots, beside = self._engine.slots, self._wanted.is_beside(ref)
        if ref not in slots and (not beside or (target is not None and self._has_main(ref.name))):
            slots[ref] = Slot(ref, discovered=True, beside=beside)
        return ref in slots

    async def _without_registry(self, reason: str) -> None:
        if self._told_up is not False:
            self._log("registry_away", level="warning", reason=reason)
        self._engine.stats.registry_up = self._told_up = False
        self._engine.say_stale(away=True)
        empty = [slot for slot in self._engine.slots.values() if slot.served is None and slot.loading is None]
        if not empty and self._engine.slots:
            return
        known = await self._load_known()
        for slot in empty:
            if slot.ref not in known:
                slot.note = f"not in the cache, and the registry is away ({reason})"

    async def _load_known(self) -> Mapping[Ref, tuple[Stored, float]]:
        """Loads for every slot without a version what the cache has for it; returns all that it has."""
        known: Mapping[Ref, tuple[Stored, float]] = await self._background.do(self._store.last_known, self._wanted.refs)
        for ref, (stored, when) in sorted(known.items(), key=lambda entry: self._wanted.is_beside(entry[0])):
            slot = self._engine.slots[ref] if self._has_slot(ref, stored) else None
            if slot is not None and slot.served is None and slot.loading is None and slot.rejection is None:
                slot.confirmed_at = when
                self._load(slot, stored)
        return known

    def _point(self, slot: Slot, target: Target, now: float) -> None:
        """Makes a slot answer with `target`, if it does not do so yet."""
        slot.confirmed_at, slot.missing_polls = now, 0
        if slot.served is not None and _same(slot.served.stored, target):
            slot.rejection = None  # the alias went back to what is served
            if now - self._written.get(slot.ref, 0.0) > _CONFIRM_EVERY_S:
                self._written[slot.ref] = now
                self._background.begin(NOT_WRITTEN, self._store.confirm, slot.ref, target, now)
            return
        if slot.loading is not None:
            return
        if self._share(slot, target):
            return
        refused = slot.rejection
        if refused is not None and refused.version == target.version and time.monotonic() < refused.retry_at:
            return
        self._load(slot, target)

    def _share(self, slot: Slot, target: Target) -> bool:
        """Lets a slot answer with what is loaded already: the champion of before, or the one it came back from."""
        for served in self._engine.open():
            # What only ever ran beside the champion may have been given one thread.
            if (
                _same(served.stored, target)
                and not self._wanted.is_shadow(served.ref)
                and not self._wanted.is_shadow(slot.ref)
            ):
                self._install(slot, served, shared=True)
                self._confirm(slot, target)
                return True
        return False

    def _missing(self, slot: Slot, at_once: bool = False) -> None:
        slot.missing_polls += 1
        slot.note = "the registry has no such model, alias or READY version"
        if (slot.missing_polls < MISSING_POLLS and not at_once) or slot.loading is not None:
            return
        if slot.served is not None:
            self._log(
                "model_unloaded", level="warning", model=str(slot.ref), version=slot.served.version, reason=slot.note
            )
            self._engine.install(slot, None)
            self._background.begin(NOT_WRITTEN, self._store.forget, slot.ref)
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
            if slot.beside:
                await self._after_the_champions()
                if self._share(slot, target):
                    return
            if not await self._try(slot, target) and slot.served is None:
                # Nothing answers: rather the version that was last good than none at all.
                known = await self._background.do(self._store.last_known, [slot.ref])
                stored, _ = known.get(slot.ref, (None, 0.0))
                if stored is not None and not _same(stored, target):
                    await self._try(slot, stored, fallback=True)
        finally:
            slot.loading = None

    async def _after_the_champions(self) -> None:
        """Waits for what readiness waits for; nothing else may delay it."""
        slots = self._engine.slots
        while mains := [task for ref, task in self._loads.items() if ref in slots and not slots[ref].beside]:
            await asyncio.wait(mains)
            await asyncio.sleep(0)  # lets them be taken out

    async def _try(self, slot: Slot, target: Target, fallback: bool = False) -> bool:
        start = time.monotonic()
        try:
            threads = 1 if self._wanted.is_shadow(slot.ref) else self._settings.threads or cpu_budget()
            work = partial(
                prepare,
                threads=threads,
                tell=self._background.teller(model=target.name, version=target.version),
                stopped=lambda: self._stopped,
            )
            parts = await self._background.do(work, self._store, self._settings, target)
        except ModelServerError as error:
            self._reject(slot, target, str(error))
            return False
        except Exception as error:  # whatever a package makes the libraries do must not end the server
            self._reject(slot, target, f"it cannot be loaded: {type(error).__name__}: {error}")
            return False
        self._install(slot, self._engine.build(slot.ref, *parts), load_s=round(time.monotonic() - start, 3))
        if not fallback:
            slot.rejection = None
            if self._engine.stats.registry_up:
                self._background.begin(NOT_TAGGED, self._store.accepted, target)
                self._confirm(slot, target)
            self._background.begin(NOT_WRITTEN, self._store.prune, {model.digest for model in self._engine.loaded()})
        return True

    def _install(self, slot: Slot, served: ServedModel, **facts: Any) -> None:
        before = slot.served.version if slot.served else None
        self._engine.install(slot, served)
        if not self._engine.stats.registry_up:
            self._engine.say_stale(away=True)
            facts["stale_s"] = round(slot.staleness_s() or 0.0)
        slot.state, slot.note = State.AVAILABLE, ""
        self._log(
            "model_available",
            model=str(slot.ref),
            version=served.version,
            replaces=before,
            digest=served.digest,
            threads=served.predictor.threads,
            one_row_us=round(served.cost.of(1) * 1e6),
            **facts,
        )

    def _confirm(self, slot: Slot, target: Target) -> None:
        if slot.confirmed_at is not None:
            self._written[slot.ref] = slot.confirmed_at
            self._background.begin(NOT_WRITTEN, self._store.confirm, slot.ref, target, slot.confirmed_at)

    def _reject(self, slot: Slot, target: Target, reason: str) -> None:
        before = slot.rejection
        attempts = before.attempts + 1 if before is not None and before.version == target.version else 1
        wait_s = min(_LONGEST_RETRY_S, self._settings.poll_s * 2 ** min(attempts, 16))
        slot.rejection = Rejection(target.version, reason, attempts, time.monotonic() + wait_s)
        if slot.served is None:
            slot.state = State.REJECTED
        self._engine.stats.rejected(slot.ref.name)
        if before is None or (before.version, before.reason) != (target.version, reason):
            self._background.begin(NOT_TAGGED, self._store.refused, target, reason)
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
