"""Which models are served, and which of them answers for a name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from services.model_server.errors import NotReady, UnknownLabel, UnknownModel, UnknownVersion
from services.model_server.metrics.counters import Sample, ServerStats
from services.model_server.served import ServedModel, Slot
from services.model_server.settings import Ref

# How many characters of what a client asked for a message repeats.
_SHOWN = 64


class Roster:
    """The slots and what is loaded for them; says whether the server is ready. Used on the event loop only."""

    def __init__(self, stats: ServerStats) -> None:
        self.stats = stats
        self.slots: dict[Ref, Slot] = {}
        self.draining = False
        self._default: dict[str, ServedModel] = {}  # what a request by name alone gets
        self._open: list[ServedModel] = []  # what is loaded, each once; two slots may have the same
        self._moving = False
        stats.rejected_now = lambda: {(s.ref.name, s.rejection.version) for s in self.slots.values() if s.rejection}
        stats.staleness_s = self._staleness
        stats.ready = lambda: self.ready
        stats.gauges.append(self._keras_engines)

    def install(self, slot: Slot, served: ServedModel | None) -> None:
        """Lets `served` answer for a slot from the next request on; requests under way end where they started."""
        slot.served = served
        if served is not None and served not in self._open:
            self._open.append(served)
            self.stats.add(served.stats)
        self._index()
        if not self._moving:
            self._release()

    def add(self, slot: Slot, place: Callable[[Ref], tuple[bool, int, str, str]]) -> None:
        """Adds a slot at its place: the order in which models are told must not depend on when each was found."""
        slots = {**self.slots, slot.ref: slot}
        self.slots.clear()
        self.slots.update((ref, slots[ref]) for ref in sorted(slots, key=place))

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """Keeps every loaded version until the block ends, so that two slots can change places without a load."""
        self._moving = True
        try:
            yield
        finally:
            self._moving = False
            self._release()

    def _release(self) -> None:
        """Ends what no slot has any more, once its last request is answered."""
        kept = {id(slot.served) for slot in self.slots.values()}
        ended = [served for served in self._open if id(served) not in kept]
        self._open = [served for served in self._open if id(served) in kept]
        for served in ended:
            served.batcher.close(then=served.predictor.close)
            self.stats.forget(served.stats)
        if ended:
            for served in self._open:  # the same version may be loaded from another source: its series stay
                if (served.name, served.version) not in self.stats.models:
                    self.stats.add(served.stats)

    def _index(self) -> None:
        self._default = {}
        named: set[int] = set()
        for slot in sorted(self.slots.values(), key=lambda slot: slot.beside):
            if slot.served is None:
                continue
            if not slot.beside:
                self._default.setdefault(slot.ref.name, slot.served)
            if id(slot.served) not in named:
                named.add(id(slot.served))
                slot.served.answers_for(slot.ref)

    def loaded(self) -> Iterator[ServedModel]:
        """Yields what can be asked now, each once, in the order it was asked for."""
        found = {id(slot.served): slot.served for slot in self.slots.values() if slot.served is not None}
        return iter(found.values())

    def open(self) -> Sequence[ServedModel]:
        """Returns what is loaded, and what was until the end of `moving`."""
        return self._open

    def say_stale(self, away: bool) -> None:
        """Lets answers say how stale they may be, while the registry is away."""
        for served in self.loaded():
            served.say_stale(None)
        if away:
            for slot in self.slots.values():
                if slot.served is not None and (seconds := slot.staleness_s()) is not None:
                    slot.served.say_stale(seconds)

    @property
    def ready(self) -> bool:
        """Whether at least one wanted model is loaded, warmed and checked, and the server is not going down."""
        return not self.draining and any(served.predictor.fault is None for served in self._default.values())

    def unready_reasons(self) -> list[str]:
        """Says why models do not answer; a ready server may have some as well."""
        reasons = ["The server is shutting down."] if self.draining else []
        reasons += [slot.why_not() for slot in self.slots.values() if slot.served is None and not slot.beside]
        reasons += [
            f"{served.name} version {served.version}: {fault}."
            for served in self.loaded()
            if (fault := served.predictor.fault) is not None
        ]
        if not reasons and not self._default:
            reasons.append("No registered model has the wanted alias yet, or the registry has not answered.")
        return reasons

    def slots_of(self, name: str) -> list[Slot]:
        """Returns the slots of one registered model, loaded or not."""
        return [slot for slot in self.slots.values() if slot.ref.name == name]

    def slot_of(self, name: str, version: str | None = None, label: str | None = None) -> Slot:
        """Returns the slot of a name, or of one loaded version or of an alias of it; it may have nothing that answers.

        Raises:
            UnknownModel, UnknownVersion, UnknownLabel, NotReady: as `find`.
        """
        for slot in self.slots_of(name):
            fits = version is None or (slot.served is not None and slot.served.version == version)
            if fits and (label is None or slot.ref.alias == label):
                return slot
        self.find(name, version, label)  # says what is wrong, unless each of the two is there by itself
        raise UnknownVersion(f"Version {str(version)[:_SHOWN]} of model {name} is not loaded as {str(label)[:_SHOWN]}.")

    def find(self, name: str, version: str | None = None, label: str | None = None) -> ServedModel:
        """Returns the model that answers for a name, or for one version or alias of it.

        Raises:
            UnknownModel: nothing of this name is wanted.
            UnknownVersion: the model answers, in another version.
            UnknownLabel: the model answers, under another alias.
            NotReady: it is wanted and not loaded yet.
        """
        if version is None and label is None:
            served = self._default.get(name)
            if served is not None:
                return served
        slots = self.slots_of(name)
        if all(slot.beside for slot in slots):
            known = ", ".join(dict.fromkeys(slot.ref.name for slot in self.slots.values())) or "none yet"
            raise UnknownModel(f"There is no model '{name[:_SHOWN]}' here. Models: {known}.")
        for slot in slots:
            if slot.served is not None and (
                (version is not None and slot.served.version == version)
                or (label is not None and slot.ref.alias == label)
            ):
                return slot.served
        if name not in self._default:
            raise NotReady(" ".join(slot.why_not() for slot in slots if not slot.beside))
        if label is not None:
            for slot in slots:
                if slot.ref.alias == label:
                    raise NotReady(slot.why_not())
            known = ", ".join(slot.ref.alias for slot in slots if slot.ref.alias) or "none"
            raise UnknownLabel(
                f"Unrecognized servable version label '{label[:_SHOWN]}' of model {name}; labels here: {known}."
            )
        known = ", ".join(dict.fromkeys(slot.served.version for slot in slots if slot.served))
        raise UnknownVersion(f"Version {str(version)[:_SHOWN]} of model {name} is not loaded; loaded: {known}.")

    def _keras_engines(self) -> Iterator[Sample]:
        for served in self._open:
            if served.predictor.engine == "keras":
                labels = (served.name, served.version)
                yield "keras_up", labels, served.predictor.fault is None
                yield "keras_restarts", labels, served.predictor.restarts

    def _staleness(self) -> Iterator[tuple[str, float]]:
        for slot in self.slots.values():
            seconds = slot.staleness_s()
            if seconds is not None and slot.served is not None:
                yield str(slot.ref), seconds
