"""The one call every protocol makes: check the rows for a model, batch them, keep the deadline, count."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from services.model_server.errors import DeadlineExceeded
from services.model_server.extent import extent_of
from services.model_server.metrics.counters import ServerStats
from services.model_server.model_store import Stored
from services.model_server.package import Package
from services.model_server.predictor import Cost, Predictor
from services.model_server.queueing.batching import Batcher
from services.model_server.queueing.crowd import Crowd
from services.model_server.roster import Roster
from services.model_server.scale import scale_of
from services.model_server.served import ServedModel
from services.model_server.settings import Ref, Settings
from services.model_server.strange import strange_rows

# So many requests at one turn of the event loop cost less in one call, even of a model that is quick.
_COMPANY = 2


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


class Engine(Roster):
    """Computes requests with the models of its roster. Used on the event loop only."""

    def __init__(self, settings: Settings, stats: ServerStats) -> None:
        super().__init__(stats)
        self._settings = settings
        self.note: Callable[[ServedModel, Answer, str], None] | None = None
        """Told of every answer after it was sent, with its request id; None if nobody wants to know."""
        self.asking: Callable[[], int] | None = None
        """Says how many clients ask, as far as anybody counts them."""
        self.company = 1
        """How many requests came at this turn of the event loop, as far as anybody counts them."""

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
        served.extent = extent_of(package.contract, package.golden)
        if self._settings.scale_check:
            served.scale = scale_of(package.contract, package.golden)
        return served

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
        return start, strange_rows(rows, model.contract, None if as_is else model.scale, model.extent)

    def _deadline(self, arrival: float, patience_s: float | None) -> float:
        most_s = self._settings.deadline_s
        return arrival + (most_s if patience_s is None else min(most_s, patience_s))


def _answer(
    model: ServedModel, rows: NDArray[Any], arrival: float, start: float, strange: int, outputs: NDArray[Any]
) -> Answer:
    """Counts what was answered."""
    stats, now = model.stats, time.perf_counter()
    stats.answered.add(now - arrival)
    stats.parsing_s += start - arrival
    stats.last_inference = time.time()
    return Answer(outputs, now - start, strange, rows)
