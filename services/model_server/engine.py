"""The one call every protocol makes: find a model, admit the rows, batch them, keep the deadline, count."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from services.model_server.errors import DeadlineExceeded, NotReady, UnknownLabel, UnknownModel, UnknownVersion
from services.model_server.metrics.counters import Sample, ServerStats
from services.model_server.model_store import Stored
from services.model_server.package import Package
from services.model_server.predictor import Cost, Predictor
from services.model_server.queueing.batching import Batcher
from services.model_server.queueing.crowd import Crowd
from services.model_server.scale import scale_of
from services.model_server.served import Rejection, ServedModel, Slot, State
from services.model_server.settings import Ref, Settings
from services.model_server.strange import strange_rows

__all__ = ["Answer", "Engine", "Rejection", "ServedModel", "Slot", "State"]


# So many requests at one turn of the event loop cost less in one call, even of a model that is quick.
_COMPANY = 2
# How many characters of what a client asked for a message repeats.
_SHOWN = 64


class Answer(NamedTuple):
    """Outputs of one request.

    Attributes:
        outputs: (n, *output shape), row i for input row i.
        infer_s: Seconds from admission to the outputs, waiting included.
        strange_rows: Rows with what training never saw: a number outside the contract's range or not finite, or a
            word that the model does not know. They were computed all the same.
        rows: What came in, for who looks at the traffic.
    """

    outputs: NDArray[Any]
    infer_s: float
    strange_rows: int
    rows: NDArray[Any]


class Engine:
    """Knows what is served and computes it. Used on the event loop only."""

    def __init__(self, settings: Settings, stats: ServerStats) -> None:
        self._settings = settings
        self.stats = stats
        self.slots: dict[Ref, Slot] = {}
        self.draining = False
        self.note: Callable[[ServedModel, Answer, str], None] | None = None
        """Told of every answer after it was sent, with its request id; None if nobody wants to know."""
        self._default: dict[str, ServedModel] = {}  # what a request by name alone gets
        self._open: list[ServedModel] = []  # what is loaded, each once; two slots may have the same
        self._moving = False
        self.asking: Callable[[], int] | None = None
        """Says how many clients ask, as far as anybody counts them."""
        self.company = 1
        """How many requests came at this turn of the event loop, as far as anybody counts them."""
        stats.rejected_now = lambda: {(s.ref.name, s.rejection.version) for s in self.slots.values() if s.rejection}
        stats.staleness_s = self._staleness
        stats.ready = lambda: self.ready
        stats.gauges.append(self._keras_engines)

    def build(self, ref: Ref, stored: Stored, package: Package, predictor: Predictor, cost: Cost) -> ServedModel:
        """Puts a queue in front of a warmed predictor. Does not serve it yet."""

        def run(rows: NDArray[Any]) -> NDArray[Any]:
            start = time.perf_counter()
            outputs = predictor.run(rows)
            served.stats.ran(len(rows), time.perf_counter() - start)
            return outputs

        batcher = Batcher(
            run,
            max_batch=self._settings.max_batch,
            queue_rows=self._settings.queue,
            estimate_s=cost.of,
            on_batch=lambda rows: served.stats.batch_rows.observe(rows),
            inline=predictor.inline,
            crowd=Crowd(self._settings.crowd, asking=self.asking),
            alone=lambda: self.company < _COMPANY,
        )
        served = ServedModel(ref, stored, package, predictor, batcher, cost)
        if self._settings.scale_check:
            served.scale = scale_of(package.contract, package.golden)
        return served

    def install(self, slot: Slot, served: ServedModel | None) -> None:
        """Lets `served` answer for a slot from the next request on; requests under way end where they started."""
        slot.served = served
        if served is not None and served not in self._open:
            self._open.append(served)
            self.stats.add(served.stats)
        self._index()
        if not self._moving:
            self._release()

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

    async def predict(
        self,
        model: ServedModel,
        rows: NDArray[Any],
        arrival: float,
        as_is: bool = False,
        patience_s: float | None = None,
    ) -> Answer:
        """Computes the outputs of one request.

        Args:
            model: What `find` returned.
            rows: (n, *sample shape) in the contract's dtype.
            arrival: `time.perf_counter()` when the request came; the deadline counts from there.
            as_is: Takes values that look like another scale than that of the training data.
            patience_s: How long after its arrival the client waits, if it said so and that is the shorter time.

        Raises:
            BadInput: the contract does not allow these rows.
            OtherScale: all of their values look like another scale.
            Overloaded, DeadlineExceeded, PredictionFailed: see `Batcher.submit`.
        """
        start, strange = self._looked_at(model, rows, as_is)
        model.stats.strange_rows += strange
        deadline = self._deadline(arrival, patience_s)
        try:
            if start >= deadline:
                raise DeadlineExceeded("The deadline of the request was over before its rows could be computed.")
            outputs = await model.batcher.submit(rows, deadline)
        except BaseException:
            model.stats.failed.add(time.perf_counter() - arrival)
            raise
        return _answer(model, rows, arrival, start, strange, outputs)

    def predict_soon(
        self,
        model: ServedModel,
        rows: NDArray[Any],
        arrival: float,
        tell: Callable[[Answer | Exception], None],
        as_is: bool = False,
        patience_s: float | None = None,
    ) -> bool:
        """Does as `predict`, if that is over within this turn of the event loop and the next one.

        Args:
            model: As for `predict`.
            rows: As for `predict`.
            arrival: As for `predict`.
            tell: Called with the answer, or with the error; perhaps from here already. It must not raise.
            as_is: As for `predict`.
            patience_s: As for `predict`.

        Returns:
            False if it would take longer. Nothing was done then.

        Raises:
            BadInput, OtherScale: as `predict`; nothing was done then.
        """
        start, strange = self._looked_at(model, rows, as_is)
        deadline = self._deadline(arrival, patience_s)

        def done(outputs: NDArray[Any] | Exception) -> None:
            model.stats.strange_rows += strange
            if isinstance(outputs, Exception):
                model.stats.failed.add(time.perf_counter() - arrival)
                tell(outputs)
            else:
                tell(_answer(model, rows, arrival, start, strange, outputs))

        return start < deadline and model.batcher.soon(rows, deadline, done)

    def _looked_at(self, model: ServedModel, rows: NDArray[Any], as_is: bool) -> tuple[float, int]:
        """Checks rows; returns when that was, and how many of them are strange."""
        model.predictor.check(rows)
        start = time.perf_counter()
        return start, strange_rows(rows, model.contract, None if as_is else model.scale)

    def _deadline(self, arrival: float, patience_s: float | None) -> float:
        most_s = self._settings.deadline_s
        return arrival + (most_s if patience_s is None else min(most_s, patience_s))

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


def _answer(
    model: ServedModel, rows: NDArray[Any], arrival: float, start: float, strange: int, outputs: NDArray[Any]
) -> Answer:
    """Counts what was answered."""
    stats, now = model.stats, time.perf_counter()
    stats.answered.add(now - arrival)
    stats.parsing_s += start - arrival
    stats.last_inference = time.time()
    return Answer(outputs, now - start, strange, rows)
