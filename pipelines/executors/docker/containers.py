"""Warm workers in containers of this machine's Docker engine: they dial in over a Unix socket that both see."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.devices import Rotation
from pipelines.errors import ExecutorError
from pipelines.executors import memory
from pipelines.executors.base import Factory, Loss, LossKind
from pipelines.executors.calling import CALL
from pipelines.executors.dialling import DialledAgency
from pipelines.executors.docker.adrift import CONTROLLER, NOTE, labels_of
from pipelines.executors.docker.base import ContainerPlan, Engine, EngineGone, EngineRefused, Exit
from pipelines.executors.docker.berth import Berth, gpu_of
from pipelines.executors.logs import WorkerLog
from pipelines.executors.reception import Invitation, Reception
from pipelines.executors.staff import Body, Death, Staff

COMMAND = ("python", "-P", "-m", "pipelines.executors.calling")
"""What a worker's container runs. `-P`: what is imported is the image's, also in a folder with modules of that name."""

_AWAY_S = 60.0
"""For how long an engine may be away, as while it is restarted, before one that is to be started is given up."""
_LOOKS_S = 0.5
_LEAVES_S = 10.0
"""What a container has for ending by itself when nobody needs it any more."""
_ERRANDS = 8


class Containers(DialledAgency):
    """Workers that are containers."""

    def __init__(
        self,
        engine: Engine,
        berth: Berth,
        factory: Factory | None = None,
        *,
        prepare: tuple[str, Sequence[Any]] | None = None,
        rotation: Rotation | None = None,
        patience_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens a place to dial in, in the folder of the logs.

        Args:
            engine: Runs them.
            berth: Where they live.
            factory: Makes a worker; None where that is not known yet.
            prepare: What each does until it is hired: a function, as `module:name`, and its arguments.
            rotation: Knows which of the GPUs are still worth a worker.
            patience_s: Within which one has to have dialled in.
            clock: Seconds that only go forward.

        Raises:
            ExecutorError: There is no place to dial in.
        """
        try:
            berth.logs.mkdir(parents=True, exist_ok=True)
            reception = Reception.at_path(berth.logs / f"dial-{CONTROLLER}-{secrets.token_hex(2)}.sock")
        except OSError as error:
            raise ExecutorError(
                f"Workers in containers report over a Unix socket, and none can be made in {berth.logs} "
                f"({error.strerror or error}). Set REGATTA_HOME to a folder on a disk of this machine."
            ) from None
        super().__init__(factory, reception, patience_s=patience_s, clock=clock)
        self.berth = berth
        self._engine = engine
        self._prepare = prepare
        self._rotation = rotation or Rotation(())
        self._hired = False
        self._errands = ThreadPoolExecutor(_ERRANDS, "containers")

    def __len__(self) -> int:
        """How many wait to be hired."""
        return len(self._waiting)

    def house(self, number: int, invitation: Invitation) -> Body:
        """See `DialledAgency`."""
        berth = self.berth
        call = {"invitation": json.loads(invitation.to_json()), "prepare": self._prepare, "path": list(berth.path)}
        environment = dict(berth.environments[number])
        gpu = gpu_of(environment)
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = "0"  # it is the only one that the container has
        plan = replace(
            berth.plan,
            name=f"regatta-{berth.study}-{number}-{secrets.token_hex(3)}",
            labels={
                **labels_of(berth.study, berth.folder),
                "regatta.worker": str(number),
                "regatta.controller": CONTROLLER,
            },
            environment={**environment, **berth.plan.environment, CALL: json.dumps(call)},
            gpu=gpu,
        )
        return ContainerBody(self._engine, plan, berth.logs / f"worker-{number}", self._errands)

    def start(self, number: int, log: WorkerLog) -> Staff:
        """See `Agency`."""
        self._hired = True
        return super().start(number, log)

    def did_something(self, number: int) -> None:
        """See `Agency`."""
        self._rotation.did_something(number)

    def gone(self, number: int, loss: Loss) -> str:
        """See `Agency`: the device may be gone, too."""
        return self._rotation.gone(number, loss.reason, by_itself=loss.kind is LossKind.DIED)

    def dismiss(self) -> None:
        """Ends those that nobody has hired, and, where nobody ever was, everything. Calling it twice is fine."""
        super().dismiss()
        if not self._hired:
            self.close()

    def close(self) -> None:
        """See `Agency`. No container is left when it returns, unless the engine does not answer any more."""
        self._hired = True
        super().close()
        self._errands.shutdown()


class ContainerBody(Body):
    """A container that serves one worker. A thread sees it through, as its engine may take its time over everything."""

    def __init__(self, engine: Engine, plan: ContainerPlan, log: Path, errands: ThreadPoolExecutor) -> None:
        """Starts it.

        Args:
            engine: Runs it.
            plan: What it is to be.
            log: The worker's log, without its ending.
            errands: Does what nobody waits for.
        """
        self._engine = engine
        self._plan = plan
        self._log = log.with_suffix(".log")
        self._note = log.with_name(f"{log.name}-{CONTROLLER}-{plan.name[-6:]}{NOTE}")
        self._errands = errands
        self._id: str | None = None
        self._kills = memory.kills()
        self._unwanted = threading.Event()
        self._dead = threading.Event()
        self._death = Death(Loss("its container was not started"), blameless=True)
        self._sentinel: int | None
        self._sentinel, self._goes = os.pipe()
        threading.Thread(target=self._live, name=plan.name, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it runs, or is still on its way to."""
        return not self._dead.is_set()

    @property
    def sentinel(self) -> int | None:
        """See `Body`."""
        return self._sentinel

    def kill(self) -> None:
        """Has it ended; its thread tells when it is."""
        self._unwanted.set()
        self._do(self._end)

    def join(self, timeout_s: float) -> None:
        """See `Body`."""
        self._dead.wait(timeout_s)

    def death(self) -> Death:
        """What it died of, as the engine tells."""
        return self._death

    def let_go(self) -> None:
        """Has it ended and removed, while nobody waits for it."""

        def see_off() -> None:
            if not self._dead.wait(_LEAVES_S):
                self._unwanted.set()
                self._end()
                self._dead.wait(_LEAVES_S)
            self._remove()

        self._do(see_off)

    def forget(self) -> None:
        """Has it removed."""
        self._do(self._remove)

    def _do(self, errand: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # nobody runs errands any more: what is left is found by its note
            self._errands.submit(errand)

    def _live(self) -> None:
        """The life of the container, from its creation to its death."""
        try:
            with suppress(OSError):  # a full disk is met elsewhere
                self._note.write_text(json.dumps({"name": self._plan.name}), encoding="utf-8")
            self._id = container = self._patiently(lambda: self._engine.create(self._plan))
            if self._unwanted.is_set():
                self._engine.remove(container)
                return
            self._patiently(lambda: self._engine.start(container))
            if self._unwanted.is_set():
                self._end()
            ended = self._patiently(lambda: self._engine.wait(container), for_good=True)
            self._death = self._told_by(ended)
            if ended.code:
                self._keep_last_words(container)
        except (EngineGone, EngineRefused) as problem:
            self._death = Death(Loss(f"its container could not be had: {problem}"))
        finally:
            self._dead.set()
            os.close(self._goes)

    def _patiently(self, ask: Callable[[], Any], *, for_good: bool = False) -> Any:
        """Asks the engine again while it is away, unless nobody wants to know any more.

        Args:
            ask: The question.
            for_good: Whether to ask for as long as it takes.
        """
        until = time.monotonic() + _AWAY_S
        while True:
            try:
                return ask()
            except EngineGone:
                if self._unwanted.wait(_LOOKS_S) or (not for_good and time.monotonic() > until):
                    raise

    def _told_by(self, ended: Exit) -> Death:
        if ended.out_of_memory and ended.code:
            may = self._plan.memory_bytes
            limit = "" if may is None else f"; it may use {may >> 20} MiB (execution.docker.memory_mb)"
            text = f"its container was ended by the system for lack of memory{limit}"
            return Death(Loss(text, LossKind.MEMORY), blameless=True)
        number = ended.code - 128
        if number <= 0:
            return Death(Loss(f"its container exited with code {ended.code}{f': {ended.said}' if ended.said else ''}"))
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        if number == signal.SIGKILL and memory.killed_since(self._kills):
            text = "its container was ended by the system for lack of memory on this machine (SIGKILL)"
            return Death(Loss(text, LossKind.MEMORY), blameless=True)
        return Death(Loss(f"its container was ended by {name}"), blameless=True)

    def _keep_last_words(self, container: str) -> None:
        """Adds what it printed before it was hired, or after its log could not be written any more, to its log."""
        with suppress(EngineGone, EngineRefused):
            printed = self._engine.printed(container, 50)
            if printed:
                WorkerLog(self._log).append(printed)

    def _end(self) -> None:
        if self._id is not None:
            with suppress(EngineGone, EngineRefused):
                self._engine.kill(self._id)

    def _remove(self) -> None:
        """Removes it and its note, which stays where the engine cannot be reached."""
        with suppress(EngineGone, EngineRefused):
            if self._id is not None:
                self._engine.remove(self._id)
            self._note.unlink(missing_ok=True)
        sentinel, self._sentinel = self._sentinel, None
        if sentinel is not None:
            os.close(sentinel)
