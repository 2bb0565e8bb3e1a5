"""Long-lived processes on this machine: started once, found again by a pid file, stopped by it and by nothing else.

Each process has a session of its own, so it outlives the command that started it. What was started is written to
`HOME/run/NAME.json` beside its log. `services.local` says which services there are.
"""

from __future__ import annotations

import errno
import fcntl
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from services.asking import answers, port_holder
from services.other_settings import other_settings

START_TIMEOUT_S = 120.0  # from launch to the first answer; a slow disk and no bytecode take 30 s
STOP_TIMEOUT_S = 20.0  # a model server drains for up to 10 s
LOG_TAIL_LINES = 15


class LocalError(Exception):
    """A service cannot be started; the message says why and what to do."""


class PortTakenError(LocalError):
    """Somebody else listens where the service should."""


@dataclass(frozen=True)
class Service:
    """How one service is started and asked how it is.

    Attributes:
        name: Its folder under `services/`, and the name of its files under `run/`.
        port_variable: The environment variable that changes its port.
        default_port: Its port where that variable is not set.
        health: The path that answers 200 while the process is well.
        ready: The path that answers 200 once the first request can be served; waited for at the start.
        host: The address it listens on.
        command: Gives the argument list, from the state folder, the host and the port. May prepare files.
        environment: Gives the variables to add, from the same three; `None` for a value removes a variable.
        settings: How the names of the variables begin that change how it runs.
    """

    name: str
    port_variable: str
    default_port: int
    health: str
    ready: str
    host: str
    command: Callable[[Path, str, int], list[str]]
    environment: Callable[[Path, str, int], dict[str, str | None]]
    settings: tuple[str, ...] = ()

    def port(self, environ: Mapping[str, str]) -> int:
        """The port to listen on. Raises LocalError where the variable holds no port."""
        text = environ.get(self.port_variable) or str(self.default_port)
        if not (text.isdecimal() and 1 <= int(text) <= 65535):
            raise LocalError(f"{self.port_variable} is {text!r}; a port is a whole number from 1 to 65535.")
        return int(text)

    def address(self, port: int) -> str:
        """Where this machine reaches it: a service that listens everywhere listens on the loopback address too."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True)
class Started:
    """One started process, as its pid file tells it. `created` is its start in seconds since 1970."""

    pid: int
    created: float
    address: str
    command: list[str]

    def process(self) -> psutil.Process | None:
        """The process, if it is still the one that was started: a pid may since belong to somebody else."""
        try:
            process = psutil.Process(self.pid)
            same = process.cmdline() == self.command and abs(process.create_time() - self.created) < 60  # clocks jump
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


class Stack:
    """The services of one state folder. Every method that changes something holds the folder's lock while it does.

    Args:
        home: The state folder, `REGATTA_HOME`.
        services: The services by name, in the order in which they start.
        environ: The environment they inherit.
        say: Receives lines of progress.
    """

    def __init__(
        self, home: Path, services: Mapping[str, Service], environ: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self.home = home
        self.services = services
        self.environ = environ
        self.say = say

    def up(self, names: Sequence[str], *, wait: bool = True) -> list[str]:
        """Starts the named services that do not run yet, and waits until they answer. Returns those it has started.

        Raises:
            PortTakenError: Somebody else listens on a service's port.
            LocalError: A service ended or did not answer in time; the message ends with its last words.
        """
        launched = []
        with self._locked():
            for name in names:
                service = self.services[name]
                started = self.read(name)
                process = started.process() if started else None
                if started and process and answers(started.address, service.ready):
                    self.say(f"{name} already runs at {started.address}.")
                    self._say_what_differs(service, process)
                    continue
                if started is None or process is None:
                    started = self._launch(service)
                    launched.append(name)
                if wait:
                    self._wait(service, started)
        return launched

    def down(self, names: Sequence[str]) -> list[str]:
        """Stops the named services that `up` started, the last one first: gently, then hard. Returns their names."""
        stopped = []
        with self._locked():
            for name in reversed(names):
                started = self.read(name)
                process = started.process() if started else None
                if process:
                    self.say(f"Stopping {name} …")
                    stop(process)
                    stopped.append(name)
                self._file(name, "json").unlink(missing_ok=True)
        return stopped

    def status(self, names: Sequence[str]) -> dict[str, dict[str, object]]:
        """Tells of each named service its `state` (running, not answering, stopped), `address`, `pid` and `log`."""
        found: dict[str, dict[str, object]] = {}
        for name in names:
            started = self.read(name)
            log = str(self._file(name, "log"))
            if started is None or started.process() is None:
                found[name] = {"state": "stopped", "address": None, "pid": None, "log": log}
                continue
            state = "running" if answers(started.address, self.services[name].health) else "not answering"
            found[name] = {"state": state, "address": started.address, "pid": started.pid, "log": log}
        return found

    def read(self, name: str) -> Started | None:
        """What the service's pid file says; None where there is none that can be read."""
        try:
            return Started(**json.loads(self._file(name, "json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _launch(self, service: Service) -> Started:
        port = service.port(self.environ)
        if port_taken(service, port):
            holder = port_holder(port)
            raise PortTakenError(
                f"{service.name} cannot listen on port {port}: {holder or 'another program'} already does. "
                f"Stop that, or choose another port: {service.port_variable}={port + 1 if port < 65535 else 1024}."
            )
        command = service.command(self.home, service.host, port)
        environ = self._environment(service, port)
        with self._file(service.name, "log").open("wb") as log:
            child = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        child.returncode = 0  # it is meant to outlive this object, which would warn of that
        address = service.address(port)
        started = Started(child.pid, await_command(child.pid), address, command)
        file = self._file(service.name, "json")
        file.with_suffix(".tmp").write_text(json.dumps(asdict(started)))
        file.with_suffix(".tmp").replace(file)
        self.say(f"Starting {service.name} at {address} …")
        return started

    def _environment(self, service: Service, port: int) -> dict[str, str]:
        added = service.environment(self.home, service.host, port)
        return {key: value for key, value in {**self.environ, **added}.items() if value is not None}

    def _say_what_differs(self, service: Service, process: psutil.Process) -> None:
        """Says with which other settings a service runs than those that are asked for now; it goes on with them."""
        wanted = self._environment(service, service.port(self.environ))
        told = other_settings(process, wanted, self.environ, (service.port_variable, *service.settings))
        if told:
            self.say(
                f"{service.name} goes on with the settings that it was started with: {'; '.join(told)}. "
                f"To start it anew: make down-local SERVICES={service.name}, and then this command again."
            )

    def _wait(self, service: Service, started: Started) -> None:
        began = time.monotonic()
        while not answers(started.address, service.ready):
            process = started.process()
            if process is None:
                self._file(service.name, "json").unlink(missing_ok=True)
                raise LocalError(f"{service.name} ended while it started. {self._last_words(service.name)}")
            if time.monotonic() - began > START_TIMEOUT_S:
                stop(process)
                self._file(service.name, "json").unlink(missing_ok=True)
                raise LocalError(
                    f"{service.name} did not answer at {started.address}{service.ready} within {START_TIMEOUT_S:.0f} s "
                    f"and was stopped. {self._last_words(service.name)}"
                )
            time.sleep(0.05)
        self.say(f"{service.name} answers after {time.monotonic() - began:.1f} s.")

    def _last_words(self, name: str) -> str:
        log = self._file(name, "log")
        lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:] if log.exists() else []
        return f"The end of {log}:\n" + "\n".join(f"  {line}" for line in lines or ["(empty)"])

    def _file(self, name: str, suffix: str) -> Path:
        return self.home / "run" / f"{name}.{suffix}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self.home / "run"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
        except OSError as error:
            raise LocalError(
                f"Cannot write to {folder}: {error.strerror}. Set REGATTA_HOME to a folder of yours."
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say("Another command starts or stops services here; waiting for it …")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def await_command(pid: int) -> float:
    """Waits until the new process shows its command line, a moment after Popen returns. Returns its start."""
    process = psutil.Process(pid)
    try:
        while not process.cmdline():
            time.sleep(0.001)
    except psutil.ZombieProcess:
        pass  # it has ended already; who waits for it will find out
    return process.create_time()


def port_taken(service: Service, port: int) -> bool:
    """Whether somebody listens on the port already.

    Raises:
        LocalError: This user, or this machine, cannot listen there at all.
    """
    with socket.socket(socket.AF_INET6 if ":" in service.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
        try:
            probe.bind((service.host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise LocalError(f"{service.name} cannot listen on {service.host}:{port}: {error.strerror}.") from None
    return False


def stop(process: psutil.Process) -> None:
    """Ends a process and what it started: SIGTERM, and SIGKILL for what is left after STOP_TIMEOUT_S."""
    try:
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGTERM)
    except psutil.NoSuchProcess:
        return
    psutil.wait_procs([process], timeout=STOP_TIMEOUT_S)
    for member in family:
        if member.is_running():
            member.kill()
    psutil.wait_procs(family, timeout=5)
