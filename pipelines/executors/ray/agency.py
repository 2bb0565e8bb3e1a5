"""The controller's side of a Ray cluster: its actors as workers' bodies, and the process that speaks with Ray."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import ExecutorError, RegattaError, ServiceError
from pipelines.executors.base import Factory, Loss, LossKind
from pipelines.executors.dialling import DialledAgency
from pipelines.executors.ray.driver import drive
from pipelines.executors.ray.words import Ask, Cluster, Connect, Dead, Failed, Kill, Load, Placed, Start
from pipelines.executors.reception import Invitation, Reception
from pipelines.executors.staff import Body, Death, Door
from pipelines.executors.wire import Wire

_KINDS = {"node": LossKind.NODE, "memory": LossKind.MEMORY}
_AGAIN = "The sweep can be gone on with by the same command"
_LEAVES_IN_S = 10.0
"""What the driver has for leaving its cluster."""


class ActorBody(Body):
    """An actor of Ray's."""

    def __init__(self, token: int, driver: DriverLine) -> None:
        """Takes by what number the driver knows it."""
        self.token = token
        self.node = ""
        self.dead: Dead | None = None
        self._driver = driver
        self._killed = False

    @property
    def alive(self) -> bool:
        """Whether it lives, or waits for a node that has room for it."""
        return self.dead is None and not self._killed

    def kill(self) -> None:
        """Has the driver end it, which nobody waits for."""
        if self.alive:
            self._killed = True
            self._driver.send(Kill(self.token))

    def join(self, timeout_s: float) -> None:
        """Has the driver find out what became of it."""
        if self.alive:
            self._driver.send(Ask(self.token))
            self._driver.wait_for(lambda: not self.alive, timeout_s)

    def death(self) -> Death:
        """As the driver tells it."""
        if self.dead is None:
            return Death(Loss("it was ended"), blameless=True)
        kind = _KINDS.get(self.dead.kind, LossKind.DIED)
        return Death(Loss(self.dead.reason, kind), blameless=kind is not LossKind.DIED)

    def let_go(self) -> None:
        """It rests, and its place is needed at once."""
        self.forget()

    def forget(self) -> None:
        """Nothing of it is left on this machine; one that does not leave by itself is ended."""
        self.kill()
        self._driver.forget(self)


class DriverLine:
    """The driver's process, and our end of the line to it."""

    def __init__(self, connect: Connect, log: Path) -> None:
        """Starts it: it connects to the cluster, which takes seconds."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self.cluster: Cluster | None = None
        self.log = log
        self._bodies: dict[int, ActorBody] = {}
        self._made = 0
        self._failed: str | None = None
        self._name = connect.address
        self._wire, theirs = Wire.pair()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=drive, args=(theirs, str(log)), name="regatta-ray", daemon=True)
        with _ctrl_c_waits():
            self._process.start()
        theirs.close()
        self.send(connect)

    def fileno(self) -> int:
        """For a selector."""
        return self._wire.fileno()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._wire.closed

    def send(self, word: Any) -> None:
        """Says something to it, without waiting."""
        if not self._wire.closed:
            self._wire.send(word)

    def new_body(self) -> ActorBody:
        """One that is to be started."""
        self._made += 1
        self._bodies[self._made] = body = ActorBody(self._made, self)
        return body

    def forget(self, body: ActorBody) -> None:
        """Nobody asks about it any more."""
        self._bodies.pop(body.token, None)

    def attend(self) -> None:
        """Hears what it has said.

        Raises:
            ServiceError: It never came to anything.
            ExecutorError: It cannot go on, or is gone.
        """
        if self._wire.closed:
            return
        self._wire.flush()
        while self._wire.has_word or self._wire.listen() or self._wire.has_word:
            if self._wire.has_word:
                self._hear(self._wire.take())
        if self._failed is not None or self._wire.ended:
            raise self._gone()

    def wait_for(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Hears it until a condition holds, for so long at most, and says whether it does.

        Raises:
            ServiceError: It never came to anything.
            ExecutorError: It cannot go on, or is gone.
        """
        until = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._wire.fileno(), select.POLLIN)
        while True:
            self.attend()
            if condition():
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            poll.poll(min(left, 0.2) * 1000)

    def close(self) -> None:
        """Has it leave the cluster. Calling it twice is fine."""
        if self._wire.closed:
            return
        self._wire.close()
        self._process.join(_LEAVES_IN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _hear(self, word: Any) -> None:
        match word:
            case Cluster():
                self.cluster = word
            case Placed(token=token, node=node) if token in self._bodies:
                self._bodies[token].node = node
            case Dead(token=token) if token in self._bodies:
                self._bodies[token].dead = word
            case Failed(sentence=sentence):
                self._failed = sentence

    def _gone(self) -> RegattaError:
        if self._failed is not None and self.cluster is None:  # it never was connected
            return ServiceError(self._failed)
        where = "of this machine" if self._name is None else f"at {self._name}"
        what = self._failed or f"The Ray cluster {where} is gone: what spoke with it ended, see {self.log}."
        return ExecutorError(f"{what} {_AGAIN}.")


class RayAgency(DialledAgency):
    """Houses workers in actors of a cluster."""

    def __init__(self, driver: DriverLine, reception: Reception, factory: Factory | None = None) -> None:
        """Takes what speaks with the cluster, where its actors dial in, and what makes a worker."""
        super().__init__(factory, reception, patience_s=None, same_files=False)
        self._driver = driver

    @property
    def cluster(self) -> Cluster | None:
        """What the cluster is, as far as is known."""
        return self._driver.cluster

    def connected(self, timeout_s: float) -> Cluster:
        """Waits until the cluster is known.

        Raises:
            ServiceError: It cannot be had.
        """
        if not self._driver.wait_for(lambda: self._driver.cluster is not None, timeout_s):
            raise ServiceError(
                f"The Ray cluster did not answer within {timeout_s:g} s; what was tried is in {self._driver.log}. Is "
                f"it up, and its address right (execution.ray.address, or RAY_ADDRESS)?"
            )
        assert self._driver.cluster is not None
        return self._driver.cluster

    def load(self, folder: Path) -> None:
        """Has the files of a folder brought to every node that gets a worker from now on."""
        self._driver.send(Load(str(folder)))

    def house(self, number: int, invitation: Invitation) -> Body:
        """See `DialledAgency`."""
        body = self._driver.new_body()
        self._driver.send(Start(body.token, invitation.to_json()))
        return body

    def doors(self) -> Sequence[Door]:
        """See `Agency`."""
        return [*super().doors(), *([] if self._driver.closed else [self._driver])]

    def attend(self) -> None:
        """See `Agency`."""
        super().attend()
        self._driver.attend()

    def close(self) -> None:
        """See `Agency`."""
        super().close()
        self._driver.close()


def own_address(address: str | None) -> str:
    """The address of this machine on the way to a cluster."""
    if address == "auto":  # the one that this machine belongs to, which Ray notes there
        noted = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
        address = noted.read_text(encoding="utf-8").strip() if noted.is_file() else None
    host = (address or "").rpartition(":")[0].strip("[]")
    if not host:
        return "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as outward:  # nothing is sent
        try:
            outward.connect((host, 9))
        except OSError:
            return "127.0.0.1"
        return str(outward.getsockname()[0])


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Holds a Ctrl-C back while the process is started; it lets it come when it ignores it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
