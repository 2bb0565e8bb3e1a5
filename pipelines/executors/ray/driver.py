"""The process that speaks with Ray in the controller's place: it starts actors, and tells what becomes of them.

Ray ends a process that loses its cluster, and takes over its signals. Here it may: the controller sees the end of the
line, says what happened, and all that it recorded stays. Where the controller dies, this process sees the end of the
line, and leaves the cluster in good order: no actor outlives it, nor does anything of a cluster of this machine alone.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipelines.executors.ray import bootstrap, cargo
from pipelines.executors.ray.nodes import find, knocks, places_of, said
from pipelines.executors.ray.reasons import in_a_sentence, kind_of
from pipelines.executors.ray.words import Ask, Cluster, Connect, Dead, Failed, Kill, Load, Placed, Start
from pipelines.executors.serving import print_to

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nobody is called
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # what nodes run is told by us
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of what it will do one day
}
_LOOK_S = 0.05
_COUNT_S = 1.0
"""How often the nodes are counted."""
_PATIENCE_S = 2.0
"""For how long Ray may take to find out why an actor is gone; the controller waits for that."""
_SETTLES_S = 5.0
"""For how long after its start an actor without a place is not ended: Ray 2.60 loses the place that it grants to one
that is killed in the same moment ("Ignoring granted lease for canceled lease request"), and nobody gets it any more."""


def drive(line: Connection, log: str) -> None:
    """The whole life of the process.

    Args:
        line: To the controller; its first word is a `Connect`.
        log: File into which everything is printed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the controller decides what Ctrl-C means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    print_to(log)
    os.environ.update(_QUIET)
    with suppress(EOFError, OSError):  # the controller is gone
        connect: Connect = line.recv()
        try:
            driver = Driver(line, connect)
        except Exception as problem:
            logging.getLogger(__name__).exception("No cluster")
            line.send(Failed(f"The Ray cluster {_called(connect)} cannot be used: {in_a_sentence(problem)}."))
            return
        try:
            driver.work()
        except (EOFError, ConnectionError):
            raise
        except Exception as problem:
            logging.getLogger(__name__).exception("The cluster is gone")
            line.send(Failed(f"The Ray cluster {_called(connect)} is gone: {in_a_sentence(problem)}."))
        finally:
            driver.close()


@dataclass
class _Actor:
    """One that was started, when, by the monotonic clock. `node` is its node's id and address, once it lives."""

    handle: Any
    placed: Any
    serves: Any
    started: float
    node: tuple[str, str] | None = None
    unwanted: bool = False
    killed: bool = False


class Driver:
    """Speaks with Ray."""

    def __init__(self, line: Connection, connect: Connect) -> None:
        """Connects to the cluster."""
        import ray

        self._ray: Any = ray
        self._line = line
        self._connect = connect
        self._actors: dict[int, _Actor] = {}
        self._cargo: Any = None
        self._told: Cluster | None = None
        self._counted = 0.0
        find(connect.address)
        told: dict[str, Any] = {"address": connect.address}
        if connect.address is None:
            told = {
                "address": "local",
                "num_cpus": connect.cores,
                "num_gpus": connect.gpus,
                "include_dashboard": False,
                "object_store_memory": connect.object_store_bytes,
            }
        self._ray.init(
            **told,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace="regatta",
        )
        self._local = connect.address is None
        self._code = self._ray.put(Path(connect.code).read_bytes())
        self._worker = self._prepared()
        self._count()

    def work(self) -> None:
        """Does what the controller says, and tells it what happens, until it hangs up."""
        while True:
            while self._line.poll(_LOOK_S):
                self._do(self._line.recv())
            self._look()
            if time.monotonic() - self._counted > _COUNT_S:
                self._count()

    def close(self) -> None:
        """Leaves the cluster; its actors end with that."""
        with suppress(Exception):
            self._ray.shutdown()

    def _do(self, word: Any) -> None:
        match word:
            case Load(folder=folder):
                self._cargo = cargo.load(Path(folder), self._ray.put).to_plain()
            case Start(token=token, invitation=invitation):
                self._start(token, invitation)
            case Kill(token=token):
                self._kill(token)
            case Ask(token=token):
                self._explain(token)

    def _start(self, token: int, invitation: str) -> None:
        connect = self._connect
        handle = self._worker.remote()
        placed = handle.where.remote()
        serves = handle.serve.remote(self._code, invitation, dict(connect.variables), self._cargo)
        self._actors[token] = _Actor(handle, placed, serves, time.monotonic())

    def _kill(self, token: int) -> None:
        actor = self._actors.get(token)
        if actor is not None:
            actor.unwanted = True
            self._end(actor)

    def _end(self, actor: _Actor) -> None:
        """Ends one that is not wanted any more, as soon as its place comes free with that."""
        settled = actor.node is not None or time.monotonic() - actor.started > _SETTLES_S
        if actor.unwanted and settled and not actor.killed:
            actor.killed = True
            self._ray.kill(actor.handle)

    def _look(self) -> None:
        """Finds out who lives by now, and who does not any more."""
        if not self._actors:
            return
        serving = {actor.serves: token for token, actor in self._actors.items()}
        placing = {actor.placed: token for token, actor in self._actors.items() if actor.node is None}
        waited = [*placing, *serving]
        ready, _ = self._ray.wait(waited, num_returns=len(waited), timeout=0, fetch_local=False)
        for reference in ready:
            if reference in placing:
                token = placing[reference]
                with suppress(Exception):  # it has died, which the other one tells
                    self._actors[token].node = node = self._ray.get(reference)
                    self._line.send(Placed(token, node[1]))
        for reference in ready:
            if reference in serving:
                self._bury(serving[reference])
        for actor in self._actors.values():
            self._end(actor)

    def _bury(self, token: int) -> None:
        """Tells of one that is over."""
        actor = self._actors.pop(token)
        try:
            why = self._ray.get(actor.serves)
        except Exception as problem:
            print(f"Actor {token}: {type(problem).__name__}: {problem}", flush=True)  # all of it; few words are told
            kind, reason = kind_of(problem)
            if kind == "died" and self._has_left(actor):
                kind = "node"
        else:
            kind, reason = ("raised", why) if why else ("left", "its line ended")
        self._kill_quietly(actor)  # one that raised lives, and its line with it, until nothing here holds its handle
        if kind == "node":
            reason = self._left(actor)
        self._line.send(Dead(token, kind, reason))

    def _explain(self, token: int) -> None:
        """Finds out why the line to an actor has ended: Ray takes a while to see that a node is gone."""
        actor = self._actors.get(token)
        if actor is None:
            return  # it is told already
        ready, _ = self._ray.wait([actor.serves], timeout=_PATIENCE_S / 4, fetch_local=False)
        if not ready and self._has_left(actor):
            del self._actors[token]
            self._line.send(Dead(token, "node", self._left(actor)))
            return
        if not ready:
            ready, _ = self._ray.wait([actor.serves], timeout=_PATIENCE_S, fetch_local=False)
        if ready:
            self._bury(token)
        else:
            del self._actors[token]
            self._kill_quietly(actor)
            self._line.send(Dead(token, "died", "the line to it broke, and Ray does not know why"))

    def _kill_quietly(self, actor: _Actor) -> None:
        with suppress(Exception):
            self._ray.kill(actor.handle)

    def _has_left(self, actor: _Actor) -> bool:
        """Whether an actor's node is gone: by Ray's word, or because nobody opens there any more."""
        if actor.node is None:
            return False
        node = next((each for each in self._ray.nodes() if each["NodeID"] == actor.node[0]), None)
        if node is None or not node["Alive"]:
            return True
        return not knocks(node["NodeManagerAddress"], int(node["NodeManagerPort"]))

    @staticmethod
    def _left(actor: _Actor) -> str:
        return f"node {actor.node[1]} left" if actor.node is not None else "its node left"

    def _count(self) -> None:
        """Tells what the cluster is, where that is new."""
        self._counted = time.monotonic()
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        places = sum(places_of(node["Resources"], self._connect.needs) for node in nodes)
        listed = tuple(sorted(f"{node['NodeManagerAddress']}: {said(node['Resources'])}" for node in nodes))
        cluster = Cluster(_called(self._connect), places, listed)
        if cluster != self._told:
            self._told = cluster
            self._line.send(cluster)

    def _prepared(self) -> Any:
        """The actor's class with what it takes of a node, and what it finds there."""
        self._ray.cloudpickle.register_pickle_by_value(bootstrap)
        connect = self._connect
        environment: dict[str, Any] = dict(connect.environment)
        if connect.pins and (connect.always or self._is_lacking()):
            environment["pip"] = list(connect.pins)
        needs = dict(connect.needs)
        return self._ray.remote(bootstrap.NodeWorker).options(
            num_cpus=needs.pop("CPU", 0),
            num_gpus=needs.pop("GPU", 0),
            memory=int(needs.pop("memory", 0)) or None,
            resources=needs or None,
            runtime_env=environment or None,
            scheduling_strategy="SPREAD",
            max_restarts=0,
            max_concurrency=1,
        )

    def _is_lacking(self) -> bool:
        """Whether any node lacks some of the lock's packages."""
        if self._local:
            return False
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        pins = list(self._connect.pins)
        asked = [
            self._ray.remote(bootstrap.lacking)
            .options(num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False))
            .remote(pins)
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        return any(self._ray.get(asked, timeout=120))


def _called(connect: Connect) -> str:
    return "of this machine" if connect.address is None else f"at {connect.address}"
