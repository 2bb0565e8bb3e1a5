"""The door to the Docker engine.

Importing the library takes a third of a second, so it waits until an engine is opened.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pipelines.executors.docker.base import (
    ContainerPlan,
    EngineFacts,
    EngineGone,
    EngineRefused,
    Exit,
    ImageMissing,
    NotThere,
)

if TYPE_CHECKING:
    from docker import APIClient

_Answer = TypeVar("_Answer")
_ASKS_S = 60
_DEFAULT = "unix:///var/run/docker.sock"
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "")


class DockerEngine:
    """The engine that `DOCKER_HOST` names, or the one of Docker's current context on this machine."""

    def __init__(self) -> None:
        """Connects to nothing yet."""
        self.address = engine_address()
        self._clients = threading.local()  # a client is not made for several threads at once
        self._version: str | None = None

    def facts(self) -> EngineFacts:
        """See `Engine`."""
        told = self._ask(lambda client: client.info())
        options = " ".join(told.get("SecurityOptions") or ())
        memory = int(told.get("MemTotal") or 0)
        return EngineFacts(str(told.get("ID")), memory, "name=rootless" in options, "name=userns" in options)

    def image_id(self, image: str) -> str:
        """See `Engine`."""
        return str(self._ask(lambda client: client.inspect_image(image))["Id"])

    def pull(self, image: str) -> None:
        """See `Engine`."""
        name, tag = image, None
        if ":" in image.rsplit("/", 1)[-1] and "@" not in image:
            name, _, tag = image.rpartition(":")
        elif "@" not in image:
            tag = "latest"

        def ask(client: APIClient) -> None:
            for line in client.pull(name, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise EngineRefused(str(line["error"]))

        self._ask(ask)

    def create(self, plan: ContainerPlan) -> str:
        """See `Engine`."""
        from docker.types import DeviceRequest
        from docker.types import Mount as DockerMount

        def ask(client: APIClient) -> str:
            memory: dict[str, Any] = {}
            if plan.memory_bytes is not None:  # and no swap beside it
                memory = {"mem_limit": plan.memory_bytes, "memswap_limit": plan.memory_bytes}
            gpus = [DeviceRequest(device_ids=[plan.gpu], capabilities=[["gpu"]])] if plan.gpu is not None else None
            root = plan.user.startswith("0:")
            host = client.create_host_config(
                mounts=[DockerMount(each.target, each.source, "bind", each.read_only) for each in plan.mounts],
                init=True,
                nano_cpus=None if plan.cpus is None else int(plan.cpus * 1e9),
                shm_size=plan.shm_bytes,
                network_mode=plan.network,
                device_requests=gpus,
                userns_mode=plan.user_namespace or None,
                security_opt=["no-new-privileges:true"],
                cap_drop=["ALL"],
                cap_add=["DAC_OVERRIDE"] if root else None,  # root writes into the folders of whoever it works for
                log_config={"Type": "json-file", "Config": {"max-size": "10m"}},
                **memory,
            )
            made = client.create_container(
                plan.image,
                entrypoint=list(plan.command),
                command=[],
                name=plan.name,
                labels=dict(plan.labels),
                environment=dict(plan.environment),
                working_dir=plan.folder or None,
                user=plan.user or None,
                host_config=host,
            )
            return str(made["Id"])

        return self._ask(ask)

    def start(self, container: str) -> None:
        """See `Engine`."""
        self._ask(lambda client: client.start(container))

    def wait(self, container: str) -> Exit:
        """See `Engine`."""
        code = int(self._ask(lambda client: client.wait(container, timeout=None))["StatusCode"])
        try:
            state = self._ask(lambda client: client.inspect_container(container))["State"]
        except NotThere:  # somebody has removed it
            return Exit(code)
        return Exit(int(state["ExitCode"]), bool(state.get("OOMKilled")), str(state.get("Error") or ""))

    def kill(self, container: str) -> None:
        """See `Engine`."""
        with suppress(NotThere):
            self._ask(lambda client: client.kill(container))

    def remove(self, container: str) -> None:
        """See `Engine`."""
        with suppress(NotThere):
            self._ask(lambda client: client.remove_container(container, v=True, force=True))

    def printed(self, container: str, lines: int) -> bytes:
        """See `Engine`."""
        return bytes(self._ask(lambda client: client.logs(container, tail=lines)))

    def labelled(self, labels: Mapping[str, str]) -> dict[str, bool]:
        """See `Engine`."""
        wanted = {"label": [f"{name}={value}" for name, value in labels.items()]}
        found = self._ask(lambda client: client.containers(all=True, filters=wanted))
        return {str(each["Id"]): each.get("State") in ("running", "paused", "restarting") for each in found}

    def _client(self) -> APIClient:
        client: APIClient | None = getattr(self._clients, "client", None)
        if client is None:
            from docker import DockerClient

            parts = urlsplit(self.address)
            if parts.scheme == "unix":  # the library leaves a socket behind that it could not connect
                with closing(socket.socket(socket.AF_UNIX)) as attempt:
                    attempt.connect(parts.netloc + parts.path)
            client = DockerClient.from_env(version=self._version, timeout=_ASKS_S).api
            self._version = client.api_version
            self._clients.client = client
        return client

    def _ask(self, ask: Callable[[APIClient], _Answer]) -> _Answer:
        from docker.errors import APIError, DockerException, ImageNotFound
        from requests.exceptions import RequestException

        try:
            return ask(self._client())
        except ImageNotFound as error:
            raise ImageMissing(_said(error)) from None
        except APIError as error:
            raise (NotThere if error.status_code in (404, 409) else EngineRefused)(_said(error)) from None
        except (RequestException, DockerException, OSError) as error:
            cause = _cause(error)
            text = (cause.strerror if cause is not None and cause.strerror else str(error)).strip()
            raise EngineGone(text, forbidden=isinstance(cause, PermissionError)) from None


def engine_address() -> str:
    """Where the engine is: as `DOCKER_HOST` or Docker's current context says."""
    from docker.context import ContextAPI

    return os.environ.get("DOCKER_HOST") or str(ContextAPI.kwargs_from_context().get("base_url") or _DEFAULT)


def is_elsewhere(address: str) -> bool:
    """Whether an engine is on another machine by its very address, and so sees other files than this one."""
    parts = urlsplit(address)
    return parts.scheme not in ("unix", "npipe", "http+unix") and (parts.hostname or "") not in _LOOPBACK


def _said(error: Any) -> str:
    return str(error.explanation or error).strip().rstrip(".")


def _cause(error: BaseException) -> OSError | None:
    """The error of the system that is at the bottom of one, through whatever libraries it came up."""
    return next((each for each in _all_in(error, 8) if isinstance(each, OSError) and each.errno is not None), None)


def _all_in(error: BaseException, depth: int) -> Iterator[BaseException]:
    yield error
    inner = [each for each in (*error.args, error.__cause__, error.__context__) if isinstance(each, BaseException)]
    for each in inner if depth else ():
        yield from _all_in(each, depth - 1)
