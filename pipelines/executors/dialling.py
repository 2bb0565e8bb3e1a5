"""Workers that dial in: what a container and an actor on another machine have in common."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence

from pipelines.executors.base import Factory
from pipelines.executors.logs import WorkerLog
from pipelines.executors.reception import Invitation, Reception
from pipelines.executors.staff import Agency, Body, Door, Staff
from pipelines.executors.wire import Wire


class DialledAgency(Agency):
    """Houses workers where they are to live, and waits at a reception for them to dial in."""

    def __init__(
        self,
        factory: Factory | None,
        reception: Reception,
        *,
        patience_s: float | None = 120.0,
        same_files: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes what all of them share.

        Args:
            factory: Makes a worker; None where that is not known yet, see `recruit`.
            reception: Where they dial in; it is closed with the agency.
            patience_s: Within which one has to have dialled in after it was started; None: it may wait for a place.
            same_files: Whether they see the files of this machine, and so can write their own logs.
            clock: Seconds that only go forward.
        """
        self.factory = factory
        self.reception = reception
        self._patience_s = patience_s
        self._same_files = same_files
        self._clock = clock
        self._waiting: dict[int, Staff] = {}

    @abstractmethod
    def house(self, number: int, invitation: Invitation) -> Body:
        """Starts something that runs `pipelines.executors.calling.answer_call` with this invitation; does not wait.

        Args:
            number: Of the worker.
            invitation: Whom it is to call.
        """

    def recruit(self, number: int) -> None:
        """Starts one before it is known what it will work on; `start` hires it, with the factory that there is then."""
        self._waiting[number] = self._begin(number)

    def start(self, number: int, log: WorkerLog) -> Staff:
        """See `Agency`."""
        log.keep_small()
        staff = self._waiting.pop(number, None)
        if staff is None or not staff.alive:
            if staff is not None:
                self._dismiss(staff)
            staff = self._begin(number)
        staff.due = self._due()  # one that has waited has not been listened to
        staff.send(str(log.path) if self._same_files else "")
        staff.send(self.factory)
        return staff

    def doors(self) -> Sequence[Door]:
        """See `Agency`."""
        return self.reception.doors()

    def attend(self) -> None:
        """See `Agency`."""
        self.reception.attend()

    def dismiss(self) -> None:
        """Ends those that nobody has hired. Calling it twice is fine."""
        while self._waiting:
            self._dismiss(self._waiting.popitem()[1])

    def close(self) -> None:
        """See `Agency`."""
        self.dismiss()
        self.reception.close()

    def _begin(self, number: int) -> Staff:
        arrivals: list[Staff] = []

        def arrived(wire: Wire) -> None:
            (staff,) = arrivals
            if staff.loss is None:
                staff.connect(wire)
            else:
                wire.close()  # it was given up in the meantime

        invitation = self.reception.expect(arrived)
        arrivals.append(Staff(self.house(number, invitation)))
        return arrivals[0]

    def _due(self) -> float | None:
        return None if self._patience_s is None else self._clock() + self._patience_s

    @staticmethod
    def _dismiss(staff: Staff) -> None:
        staff.body.kill()
        staff.body.join(10)
        staff.hang_up()
        staff.body.forget()
