"""The Keras engine as the server sees it: a predictor whose work is done by a child, and a thread that keeps one alive.

When the child dies, hangs or sends nonsense, what it was asked is answered with "not ready", and another is started;
ever more slowly if it goes on dying. The server's own process is never at risk, and its port stays open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from services.model_server.errors import EngineLost, PackageRejected, PredictionFailed
from services.model_server.keras_engine.frames import BadFrame, Ended, Frame, Kind, TooLarge, TooLate
from services.model_server.keras_engine.process import COMMAND, Child
from services.model_server.package import Package
from services.model_server.predictor import Predictor, hold_against_golden

LONGEST_WAIT_S = 60.0
# A child that lived this long did not die of its start, and the next one is started at once.
STEADY_S = 60.0

Tell = Callable[..., object]


@dataclass(frozen=True)
class Limits:
    """How long a child may take, in seconds, and the most rows that it is asked at once."""

    start_s: float = 120.0
    request_s: float = 10.0
    max_batch: int = 256


class _NotStarted(Exception):
    """A child was started and is of no use; the message is a part of a sentence."""


class KerasEngine(Predictor):
    """One model in a child process. `run` may be called from any thread but the event loop's; it waits for the child.

    A thread of its own starts the children, waits for their end, and starts the next ones, until `close`.

    Attributes:
        traces: How often the newest child had TensorFlow trace the model, by its last answer; once, or it is slow.
    """

    engine: ClassVar[str] = "keras"
    inline: ClassVar[bool] = False

    def __init__(
        self,
        package: Package,
        threads: int = 1,
        *,
        limits: Limits = Limits(),
        tell: Tell = lambda event, **facts: None,
        command: Sequence[str] = COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the first child and waits until it has loaded and warmed the model.

        Args:
            package: A verified package whose contract asks for this engine.
            threads: How many cores one call may use.
            limits: How long the child may take.
            tell: Told of deaths and starts, as an event's name with facts, from another thread.
            command: What to run; the two arguments that say where the server is are added.
            clock: The clock that tells how long a child has lived, in seconds.

        Raises:
            PackageRejected: the child cannot load the model, or did not do so in time.
        """
        super().__init__(package)
        self.threads = threads
        self._package, self._limits, self._tell = package, limits, tell
        self._command, self._clock = tuple(command), clock
        self._calling = threading.Lock()  # held while the child is asked
        self._changing = threading.Lock()  # held for moments, while it is decided which child there is
        self._child: Child | None = None
        self._newest: Child | None = None
        self._why = ""
        self._asked = 0
        self.traces = 0
        self._restarts = 0
        self._closing = threading.Event()
        first: Future[None] = Future()
        name = f"keras-engine-{self.contract.name}"
        self._keeper = threading.Thread(target=self._keep_one_alive, args=(first,), name=name, daemon=True)
        self._keeper.start()
        try:
            first.result()
        except _NotStarted as problem:
            raise PackageRejected(f"the Keras engine cannot serve it: {problem}") from None

    @property
    def fault(self) -> str | None:
        """See `Predictor.fault`."""
        return None if self._child is not None else f"{self._why}; it is being started again"

    @property
    def restarts(self) -> int:
        """See `Predictor.restarts`."""
        return self._restarts

    @property
    def pid(self) -> int | None:
        """The process id of the child that answers; None while there is none."""
        child = self._child
        return None if child is None else child.pid

    def run(self, rows: NDArray[Any]) -> NDArray[Any]:
        """See `Predictor.run`.

        Raises:
            EngineLost: there is no child at the moment, or it was lost over these rows.
            PredictionFailed: the model failed on these rows, and the child is well.
        """
        with self._calling:
            child = self._child
            if child is None:
                raise EngineLost(f"The Keras engine of this model is down: {self.fault}.")
            try:
                return self._ask(child, rows)
            except TooLarge as problem:
                raise PredictionFailed(f"The Keras engine cannot take these rows: {problem}.") from None
            except TooLate:
                why = f"it gave no answer within {self._limits.request_s:g} s"
            except Ended:
                child.settle()
                why = "it died while it computed"
            except BadFrame as problem:
                why = f"it sent what is no answer ({problem})"
            self._drop(child, why)
            raise EngineLost(f"The Keras engine of this model was lost: {why}. It is being started again.")

    def close(self) -> None:
        """See `Predictor.close`."""
        with self._changing:
            self._closing.set()
            self._child, self._why = None, "the model is not served any more"
            if self._newest is not None:
                self._newest.kill()

    def _ask(self, child: Child, rows: NDArray[Any]) -> NDArray[Any]:
        self._asked += 1
        frame = child.ask(Kind.RUN, {"id": self._asked}, rows, self._limits.request_s)
        if frame.facts.get("id") != self._asked:
            raise BadFrame("it answers another question")
        self.traces = frame.facts.get("traces", 0)
        if frame.kind is Kind.FAILED:
            raise PredictionFailed(f"The model failed: {_text(frame)}")
        wanted = (len(rows), self.contract.output.shape[1])
        outputs = frame.array
        if frame.kind is not Kind.OUTPUT or outputs is None or outputs.shape != wanted or outputs.dtype != np.float32:
            raise BadFrame("it has not the outputs of these rows")
        return outputs

    def _drop(self, child: Child, why: str) -> None:
        with self._changing:
            if self._child is child:
                self._child, self._why = None, why
        child.kill()

    def _keep_one_alive(self, first: Future[None]) -> None:
        """The keeper's thread: all children are made here, as Linux ends a child with the thread that made it."""
        deaths = 0
        while not self._closing.is_set():
            began = self._clock()
            try:
                child = self._start(again=first.done())
            except _NotStarted as problem:
                if not first.done():
                    first.set_exception(problem)
                    return
                why, facts, event = str(problem), {}, "keras_engine_not_started"
            else:
                if first.done():
                    self._restarts += 1
                    self._tell("keras_engine_restarted", pid=child.pid, took_s=round(self._clock() - began, 3))
                else:
                    first.set_result(None)
                why, ended = self._wait_for_the_end_of(child)
                facts, event = {"pid": child.pid, "ended": ended}, "keras_engine_died"
            if self._closing.is_set():
                return
            deaths = 0 if self._clock() - began >= STEADY_S else deaths + 1
            wait_s = min(LONGEST_WAIT_S, 2.0 ** (deaths - 2)) if deaths > 1 else 0.0
            with self._changing:
                self._why = why
            self._tell(event, level="error", reason=why, **facts, next_start_s=wait_s)
            self._closing.wait(wait_s)

    def _wait_for_the_end_of(self, child: Child) -> tuple[str, str]:
        """Returns why it is of no use any more, and how it ended."""
        ended = child.wait()
        with self._changing:
            if self._child is child:  # it was asked nothing
                self._child, self._why = None, ended
            why = self._why
        with self._calling:
            child.close()
        return why, ended

    def _start(self, again: bool) -> Child:
        """Starts a child, has it load the model, and lets it answer.

        Raises:
            _NotStarted: says why it is of no use.
        """
        with self._changing:
            if self._closing.is_set():
                raise _NotStarted("the model is not served any more")
            try:
                child = self._newest = Child(self._command)
            except OSError as error:
                raise _NotStarted(f"its process cannot be started ({error.strerror or error})") from None
        try:
            frame = child.ask(Kind.LOAD, self._facts(), None, self._limits.start_s)
            if frame.kind is Kind.FAILED:
                raise _NotStarted(_text(frame))
            if frame.kind is not Kind.READY:
                raise BadFrame("it does not say that it is ready")
            if again:  # the rollout holds the first one against them
                hold_against_golden(self._ask(child, self._package.golden.inputs), self._package.golden, self.contract)
        except BaseException as error:
            if isinstance(error, Ended):
                child.settle()
            child.kill()
            ended = child.wait()
            child.close()
            raise _NotStarted(self._sentence(error, ended)) from None
        with self._changing:
            if self._closing.is_set():
                child.kill()
            else:
                self._child, self._why = child, ""
        return child

    def _sentence(self, error: BaseException, ended: str) -> str:
        match error:
            case TooLate():
                return f"it was not ready within {self._limits.start_s:g} s"
            case Ended():
                return f"it was not ready yet when {ended}"
            case BadFrame():
                return f"it sent what is no answer ({error})"
            case _:
                return str(error)

    def _facts(self) -> dict[str, Any]:
        contract = self.contract
        return {
            "path": str(self._package.keras_file.resolve()),
            "shape": list(contract.input.sample_shape),
            "outputs": contract.output.shape[1],
            "columns": [{"name": column.name, "type": column.type} for column in contract.columns],
            "texts": contract.input.dtype == "string",
            "threads": self.threads,
            "max_batch": self._limits.max_batch,
        }


def _text(frame: Frame) -> str:
    return str(frame.facts.get("error"))[:300]
