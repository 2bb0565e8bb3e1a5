"""Follows the registry: what it names is loaded beside what answers, by `loading`; the last good version is kept.

A version that is refused never replaces one that answers. It is tried again, ever more rarely, until the registry names
another one. A registry that is away changes nothing; one that says an alias is gone ends the service of that model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from services.model_server.engine import Engine
from services.model_server.errors import RegistryUnavailable
from services.model_server.following.store import Store
from services.model_server.following.wanted import Wanted
from services.model_server.loading import NOT_WRITTEN, Loader
from services.model_server.model_store import Stored, Target
from services.model_server.served import Slot, State
from services.model_server.settings import ANY_MODEL, Ref, Settings

# An alias that is missing this often in a row was taken away; once may be somebody moving it by delete and set.
MISSING_POLLS = 3
# How long a start waits for the registry's first answer, importing MLflow included, before it serves from the cache.
_FIRST_ANSWER_S = 1.0


class Rollout:
    """Keeps the engine's slots equal to what the registry names. One per server."""

    def __init__(self, settings: Settings, store: Store, engine: Engine, log: Callable[..., None]) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._log = log
        self._wanted = Wanted(settings)
        self._loader = Loader(settings, store, engine, log, self._wanted)
        self._heard = asyncio.Event()
        self._told_up: bool | None = None  # what the log said last of the registry
        self._told_absent: dict[Ref, str] = {}  # and why a wanted model is not there
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
        self._loader.stop()
        for served in self._engine.open():
            served.predictor.close()

    async def settle(self) -> None:
        """Waits until nothing is being loaded or written."""
        while pending := [*self._loader.loads.values(), *self._loader.background.chores]:
            await asyncio.wait(pending)

    async def step(self) -> None:
        """Asks the registry once and starts what follows from its answer."""
        try:
            found = await self._loader.background.do(self._store.wanted, self._wanted.refs)
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
                        self._told_absent.pop(ref, None)
                        self._loader.point(slots[ref], target, now)
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
            self._engine.add(Slot(ref, discovered=True, beside=beside), self._wanted.place)
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
                self._absent(slot, "not in the cache, and the registry is away", f" ({reason})")

    async def _load_known(self) -> Mapping[Ref, tuple[Stored, float]]:
        """Loads for every slot without a version what the cache has for it; returns all that it has."""
        asked = self._loader.background.do(self._store.last_known, self._wanted.refs)
        known: Mapping[Ref, tuple[Stored, float]] = await asked
        for ref, (stored, when) in sorted(known.items(), key=lambda entry: self._wanted.is_beside(entry[0])):
            slot = self._engine.slots[ref] if self._has_slot(ref, stored) else None
            if slot is not None and slot.served is None and slot.loading is None and slot.rejection is None:
                slot.confirmed_at = when
                self._loader.load(slot, stored)
        return known

    def _absent(self, slot: Slot, reason: str, more: str = "") -> None:
        """Notes why nothing answers for a slot; the log hears each reason once, whatever `more` says then."""
        if slot.served is None and not slot.beside and self._told_absent.get(slot.ref) != reason:
            self._log("model_missing", level="warning", model=str(slot.ref), reason=reason + more)
        self._told_absent[slot.ref] = reason
        slot.note = reason + more

    def _missing(self, slot: Slot, at_once: bool = False) -> None:
        slot.missing_polls += 1
        self._absent(slot, "the registry has no such model, alias or READY version")
        if (slot.missing_polls < MISSING_POLLS and not at_once) or slot.loading is not None:
            return
        if slot.served is not None:
            self._log(
                "model_unloaded", level="warning", model=str(slot.ref), version=slot.served.version, reason=slot.note
            )
            self._engine.install(slot, None)
            self._loader.background.begin(NOT_WRITTEN, self._store.forget, slot.ref)
        slot.state, slot.rejection = State.WAITING, None
        if slot.discovered:
            self._engine.slots.pop(slot.ref, None)
