"""The one call every protocol makes: find a model, admit the rows, batch them, keep the deadline, count."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.model_server.batching import Batcher
from services.model_server.errors import NotReady, UnknownLabel, UnknownModel, UnknownVersion
from services.model_server.metrics import ServerStats
from services.model_server.model_store import Stored
from services.model_server.package import Contract, Package
from services.model_server.predictor import Cost, Predictor
from services.model_server.served import Rejection, ServedModel, Slot, State
from services.model_server.settings import Ref, Settings

__all__ = ["Answer", "Engine", "Rejection", "ServedModel", "Slot", "State"]


class Answer(NamedTuple):
    """Outputs of one request.

    Attributes:
        outputs: (n, *output shape), row i for input row i.
        infer_s: Seconds from admission to the outputs, waiting included.
        strange_rows: Rows with what training never saw: a number outside the contract's range or not finite, or a
            word that the model does not know. They were computed all the same.
    """

    outputs: NDArray[Any]
    infer_s: float
    strange_rows: int


class Engine:
    """Knows what is served and computes it. Used on the event loop only."""

    def __init__(self, settings: Settings, stats: ServerStats) -> None:
        self._settings = settings
        self.stats = stats
        self.slots: dict[Ref, Slot] = {}
        self.draining = False
        self._default: dict[str, ServedModel] = {}  # what a request by name alone gets
        stats.rejected_now = lambda: [(s.ref.name, s.rejection.version) for s in self.slots.values() if s.rejection]
        stats.staleness_s = self._staleness
        stats.ready = lambda: self.ready

    def build(self, ref: Ref, stored: Stored, package: Package, predictor: Predictor, cost: Cost) -> ServedModel:
        """Puts a queue in front of a warmed predictor. Does not serve it yet."""
        batcher = Batcher(
            predictor.run,
            max_batch=self._settings.max_batch,
            queue_rows=self._settings.queue,
            estimate_s=cost.of,
            on_batch=lambda rows: served.stats.batch_rows.observe(rows),
        )
        served = ServedModel(ref, stored, package, predictor, batcher, cost)
        return served

    def install(self, slot: Slot, served: ServedModel | None) -> None:
        """Lets `served` answer for a slot from the next request on; requests under way end where they started."""
        previous, slot.served = slot.served, served
        if served is not None:
            self.stats.add(served.stats)
        self._index()
        if previous is not None:
            previous.batcher.close()
            self.stats.forget(previous.stats)
            for other in self.loaded():  # another slot may serve the same version: its series stay
                self.stats.models.setdefault((other.name, other.version), other.stats)

    def _index(self) -> None:
        self._default = {}
        for slot in self.slots.values():
            if slot.served is not None:
                self._default.setdefault(slot.ref.name, slot.served)

    def loaded(self) -> Iterator[ServedModel]:
        """Yields what answers now, in the order it was asked for."""
        return (slot.served for slot in self.slots.values() if slot.served is not None)

    @property
    def ready(self) -> bool:
        """Whether at least one wanted model is loaded, warmed and checked, and the server is not going down."""
        return bool(self._default) and not self.draining

    def unready_reasons(self) -> list[str]:
        """Says why models do not answer; a ready server may have some as well."""
        reasons = ["The server is shutting down."] if self.draining else []
        reasons += [slot.why_not() for slot in self.slots.values() if slot.served is None]
        if not reasons and not self._default:
            reasons.append("No registered model has the wanted alias yet, or the registry has not answered.")
        return reasons

    def slots_of(self, name: str) -> list[Slot]:
        """Returns the slots of one registered model, loaded or not."""
        return [slot for slot in self.slots.values() if slot.ref.name == name]

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
        if not slots:
            known = ", ".join(dict.fromkeys(slot.ref.name for slot in self.slots.values())) or "none yet"
            raise UnknownModel(f"There is no model '{name}' here. Models: {known}.")
        for slot in slots:
            if slot.served is not None and (
                (version is not None and slot.served.version == version)
                or (label is not None and slot.ref.alias == label)
            ):
                return slot.served
        if name not in self._default:
            raise NotReady(" ".join(slot.why_not() for slot in slots))
        if label is not None:
            known = ", ".join(slot.ref.alias for slot in slots if slot.ref.alias) or "none"
            raise UnknownLabel(f"Unrecognized servable version label '{label}' of model {name}; labels here: {known}.")
        known = ", ".join(dict.fromkeys(slot.served.version for slot in slots if slot.served))
        raise UnknownVersion(f"Version {version} of model {name} is not loaded; loaded: {known}.")

    async def predict(self, model: ServedModel, rows: NDArray[Any], arrival: float) -> Answer:
        """Computes the outputs of one request.

        Args:
            model: What `find` returned.
            rows: (n, *sample shape) in the contract's dtype.
            arrival: `time.perf_counter()` when the request came; the deadline counts from there.

        Raises:
            BadInput: the contract does not allow these rows.
            Overloaded, DeadlineExceeded, PredictionFailed: see `Batcher.submit`.
        """
        model.predictor.check(rows)
        start = time.perf_counter()
        strange = _strange_rows(rows, model.contract)
        if strange:
            model.stats.strange_rows += strange
        outputs = await model.batcher.submit(rows, arrival + self._settings.deadline_s)
        return Answer(outputs, time.perf_counter() - start, strange)

    def _staleness(self) -> Iterator[tuple[str, float]]:
        for slot in self.slots.values():
            seconds = slot.staleness_s()
            if seconds is not None and slot.served is not None:
                yield str(slot.ref), seconds


def _strange_rows(rows: NDArray[Any], contract: Contract) -> int:
    """Counts rows with a value that training never saw: not finite, out of range, or an unknown word."""
    low, high = contract.input.range or (-np.inf, np.inf)
    if rows.size == 0:
        return 0
    if rows.dtype == object:
        return _rows_with_strange_texts(rows, contract)
    least, most = rows.min(), rows.max()
    # NaN compares false with everything, so it fails this test too.
    if least >= low and most <= high and most < np.inf and least > -np.inf:
        return 0
    flat = rows.reshape(len(rows), -1)
    if contract.columns and contract.input.range is None:
        return int(np.count_nonzero(np.isinf(flat).any(axis=1)))  # NaN is a missing number, and models know those
    return int(np.count_nonzero(~((flat >= low) & (flat <= high) & np.isfinite(flat)).all(axis=1)))


def _rows_with_strange_texts(rows: NDArray[Any], contract: Contract) -> int:
    strange: set[int] = set()
    for column, cells in zip(contract.columns, rows.T, strict=True):
        if column.type == "category":
            known = column.known
            strange.update(index for index, cell in enumerate(cells.tolist()) if cell not in known)
        else:
            strange.update(index for index, cell in enumerate(cells.tolist()) if cell in ("inf", "-inf"))
    return len(strange)
