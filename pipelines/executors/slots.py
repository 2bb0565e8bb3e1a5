"""The books about warm workers, wherever they live: started once, used for many tasks, replaced as they die or grow."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.errors import ExecutorError
from pipelines.executors.base import Executor, Handler, Loss, LossKind
from pipelines.executors.logs import WorkerLog
from pipelines.executors.serving import ANSWER, MEMORY, PRINTED, REST, ROOM, TASK
from pipelines.executors.slot import Recycling as Recycling
from pipelines.executors.slot import Slot as Slot
from pipelines.executors.staff import Agency, Staff

_STARTS_IN_A_ROW = 3
"""Workers of one slot that may end before they were ever ready; then something is wrong with the worker itself."""
_KILLS_IN_A_ROW = 10
"""The same of workers that somebody ended, which says less about them."""
_LOOK_S = 1.0
"""How often the memory of working processes is looked at, where it has a cap, and who has not dialled in yet."""
_MOST_WORDS = 200
"""Words of one worker that are heard at a time: one that never stops talking must not keep others from their tasks."""


class SlotsExecutor(Executor):
    """One worker a slot, found by an agency.

    The replacement of an ageing worker is started while the old one still works, so that it is warm when it takes
    over: from then on the room that the old one offers is told to nobody, and when it is done with its tasks the new
    one's is.
    """

    def __init__(
        self,
        agency: Agency,
        workers: int,
        *,
        logs: Path,
        recycling: Recycling | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes everything that it needs; nothing is started yet.

        Args:
            agency: Finds the workers.
            workers: How many there are.
            logs: Folder for what they print.
            recycling: When a worker is replaced.
            clock: Seconds that only go forward.
        """
        self._agency = agency
        self._workers = workers
        self._logs = logs
        self._recycling = recycling or Recycling()
        self._clock = clock
        self._slots: list[Slot] = []
        self._handler: Handler | None = None
        self._looked = 0.0
        self._closed = False

    def start(self, handler: Handler) -> None:
        """Starts all workers at once, but for those that are there already."""
        self._handler = handler
        self._logs.mkdir(parents=True, exist_ok=True)
        self.grow(self._workers)

    def grow(self, workers: int) -> None:
        """Has so many slots, if there are fewer; each is started at once. News of them come in `wait`, as of all."""
        for number in range(len(self._slots), workers):
            log = WorkerLog(self._logs / f"worker-{number}.log")
            self._slots.append(Slot(number, log, self._agency.start(number, log)))

    def hand_over(self, handler: Handler) -> None:
        """See `Executor`."""
        if not self._slots:
            self.start(handler)
            return
        self._handler = handler
        for slot in self._slots:
            if slot.room > 0:
                handler.on_room(slot.number, slot.room)

    def assign(self, worker: int, task: Any) -> None:
        """Sends the task; should the worker have died this moment, `wait` says so."""
        slot = self._slots[worker]
        # one that has room for one at a time is done with the one before, even where it has not said so yet
        if slot.current.resting or slot.current.most == 1:
            slot.log.mark()
        else:
            slot.log.keep_small()
        slot.room -= 1
        slot.current.post(TASK, task)

    def wait(self, timeout_s: float) -> None:
        """Delivers what has come from the workers, and replaces those that died."""
        ready: dict[int, tuple[Slot, Staff]] = {}  # its line and its sentinel may both have something
        with selectors.PollSelector() as selector:
            for slot in self._slots:
                for entry in slot.staff:
                    if self._watch(selector, slot, entry):
                        ready[id(entry)] = (slot, entry)
            for door in self._agency.doors():
                selector.register(door, selectors.EVENT_READ)
            for key, _ in selector.select(0.0 if ready else timeout_s):
                if key.data is not None:
                    ready[id(key.data[1])] = key.data
        self._agency.attend()
        for slot, entry in ready.values():
            entry.flush()
            self._listen(slot, entry)
        self._look()

    def tell(self, worker: int, answer: Any) -> None:
        """Sends the answer; should the worker have died this moment, `wait` says so."""
        self._slots[worker].current.post(ANSWER, answer)

    def end(self, worker: int, reason: str) -> None:
        """Kills the worker: one that does not get on may not listen to anything gentler."""
        self._slots[worker].current.kill(Loss(reason, LossKind.ENDED))

    def log_tail(self, worker: int) -> str:
        """The last lines that the worker has printed since it was given the task that it is at, or the first of them.

        Of one that is never without a task they may be of others before.
        """
        return self._slots[worker].log.tail() if worker < len(self._slots) else ""

    def close(self) -> None:
        """Ends all workers: gently, then for good after a second."""
        self._closed = True
        everybody = [entry for slot in self._slots for entry in slot.staff]
        self._slots = []
        for entry in everybody:
            entry.hang_up()
            entry.body.terminate()
        deadline = time.monotonic() + 1.0
        for entry in everybody:
            entry.body.join(max(0.0, deadline - time.monotonic()))
            if entry.body.alive:
                entry.body.kill()
        for entry in everybody:
            entry.body.join(10)
            entry.body.forget()
        self._agency.close()

    @staticmethod
    def _watch(selector: selectors.PollSelector, slot: Slot, entry: Staff) -> bool:
        """Has the selector look at a worker. Returns whether there is no need to wait for it."""
        if entry.wire is not None and not entry.wire.ended:
            writes = selectors.EVENT_WRITE if entry.has_mail else 0
            selector.register(entry.wire, selectors.EVENT_READ | writes, (slot, entry))
        sentinel = entry.body.sentinel
        if sentinel is not None:
            selector.register(sentinel, selectors.EVENT_READ, (slot, entry))
        elif entry.wire is None and not entry.alive:
            return True
        return entry.has_word or (entry.wire is not None and entry.wire.ended)

    def _listen(self, slot: Slot, entry: Staff) -> None:
        """Handles what one worker has said, and, once that is all heard, its death if it died."""
        dead = not entry.alive  # asked before: what it said until then has come
        more = True
        for _ in range(_MOST_WORDS):
            while more and not entry.has_word:
                more = entry.listen()
            if not entry.has_word:
                break
            assert entry.wire is not None
            word, content = entry.wire.take()
            self._hear(slot, entry, word, content)
        else:
            return  # there may be more, said before it died
        was_let_go = self._closed or not (entry is slot.current or entry is slot.successor)
        if not was_let_go and (dead or entry.is_cut_off()):
            self._died(slot, entry)

    def _hear(self, slot: Slot, entry: Staff, word: str, content: Any) -> None:
        handler = self._handler
        assert handler is not None
        if word == MEMORY:
            entry.memory = content
            return
        if word == PRINTED:
            slot.log.append(content)
            return
        if word not in (ROOM, REST):
            answer = handler.on_message(slot.number, content)
            if answer is not None:
                entry.post(ANSWER, answer)
            return
        entry.ready, slot.failed_starts = True, 0
        if word == ROOM:
            entry.note_room(content)
        elif content > entry.done:
            entry.done = content
            self._agency.did_something(slot.number)
            handler.on_rest(slot.number, slot.before + content)
        self._see_to(slot)

    def _see_to(self, slot: Slot) -> None:
        """Replaces a worker that is due, and tells of its room."""
        if slot.successor is None and self._is_due(slot.current):
            slot.successor = self._agency.start(slot.number, slot.log)
        if slot.successor is not None and slot.replaceable and slot.current.resting:
            slot.current.retire()
            slot.before += slot.current.given
            slot.current, slot.successor = slot.successor, None
        self._tell_room(slot)

    def _tell_room(self, slot: Slot) -> None:
        """Tells the handler of room that it does not know of, unless the worker is to come to rest."""
        more = slot.current.room - slot.room
        if more > 0 and not slot.replaceable:
            assert self._handler is not None
            slot.room += more
            self._handler.on_room(slot.number, more)

    def _is_due(self, entry: Staff) -> bool:
        most, given = self._recycling.after_tasks, entry.given
        return given > 0 and (
            (most is not None and given >= most) or entry.resident_bytes() > self._recycling.above_bytes
        )

    def _look(self) -> None:
        """Ends those that have grown beyond what they may use, before the system picks one by its own rules.

        And those that have not dialled in when they should have.
        """
        now = self._clock()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        cap = self._recycling.cap_bytes
        for slot in (one for one in self._slots if not one.out):
            if cap is not None and slot.current.loss is None and (used := slot.current.resident_bytes()) > cap:
                text = f"it used {used >> 20} MiB of memory, and may use {cap >> 20} (execution.memory_cap_mb)"
                slot.current.kill(Loss(text, LossKind.MEMORY))
            for entry in slot.staff:
                if entry.wire is None and entry.due is not None and now > entry.due and entry.loss is None:
                    entry.kill(Loss("it did not report to the controller in time after it was started"))

    def _died(self, slot: Slot, entry: Staff) -> None:
        handler = self._handler
        assert handler is not None
        entry.hang_up()
        death = entry.death()
        entry.body.forget()
        why = self._agency.gone(slot.number, death.loss)
        if why:
            self._take_out(slot, entry, Loss(f"{death.loss.reason}; {why}", LossKind.DEVICE))
            return
        if entry is slot.successor:
            slot.successor = None
            self._tell_room(slot)
            return
        if not entry.ready:
            slot.failed_starts += 1
            if slot.failed_starts >= (_KILLS_IN_A_ROW if death.blameless else _STARTS_IN_A_ROW):
                raise ExecutorError(
                    f"Worker {slot.number} died {slot.failed_starts} times before it was ready ({death.loss.reason}). "
                    f"The end of {slot.log.path}:\n{slot.log.tail(12) or '(nothing was printed)'}"
                )
        slot.before += entry.given
        slot.room = 0
        slot.current, slot.successor = slot.successor or self._agency.start(slot.number, slot.log), None
        handler.on_lost(slot.number, death.loss)
        self._tell_room(slot)

    def _take_out(self, slot: Slot, dead: Staff, loss: Loss) -> None:
        """No worker of this number will be any more; the last one has died."""
        assert self._handler is not None
        for entry in slot.staff:
            if entry is not dead:  # on a device that others die on
                entry.kill(loss)
                entry.hang_up()
                entry.body.join(5)
                entry.body.forget()
        slot.out, slot.successor, slot.room = loss.reason, None, 0
        slot.before += slot.current.given
        self._handler.on_lost(slot.number, loss)
        if all(one.out for one in self._slots):
            raise ExecutorError(f"No worker is left: {loss.reason}.")
