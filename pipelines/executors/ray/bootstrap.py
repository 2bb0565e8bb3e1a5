"""The first lines that run on a node, where nothing of ours is installed: they lay the code, and go on in that.

It is sent to nodes as it stands, by value, so it may import nothing but the standard library and Ray. The code does not
travel as Ray's `working_dir`: the nodes of a machine share one copy of that, and when one of them leaves, it is removed
under the workers of the others.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import sys
import tempfile
import time
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

_HOME = "REGATTA_NODE_HOME"
_OLD_S = 30 * 86400.0


class NodeWorker:
    """An actor. Its methods are called one after another, the last of them `serve`."""

    def where(self) -> tuple[str, str]:
        """The id and the address of its node."""
        import ray

        told: Any = ray
        return str(told.get_runtime_context().get_node_id()), str(told.util.get_node_ip_address())

    def serve(self, code: bytes, invitation: str, variables: dict[str, str], cargo: Any) -> str:
        """The whole life of a worker; see `pipelines.executors.ray.actor.serve`.

        Args:
            code: A zip archive of everything that is to be imported here.
            invitation: Whom to dial, as text.
            variables: Of its environment.
            cargo: The data, as plain types.
        """
        os.environ.update(variables)
        home = Path(os.environ.get(_HOME) or Path(tempfile.gettempdir()) / f"regatta-node-{os.getuid()}").absolute()
        os.environ[_HOME] = str(home)
        folder = laid(code, home / "code")
        sys.path.insert(0, str(folder))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        os.chdir(folder)
        from pipelines.executors.ray.actor import serve

        return serve(invitation, cargo)


def laid(code: bytes, base: Path) -> Path:
    """The folder with the code, once for all workers of the node; others that nobody used for long are removed."""
    base.mkdir(parents=True, exist_ok=True)
    target = base / hashlib.sha256(code).hexdigest()[:16]
    with (base / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            building = Path(tempfile.mkdtemp(prefix=".laying-", dir=base))
            with zipfile.ZipFile(io.BytesIO(code)) as archive:
                archive.extractall(building)
            building.rename(target)
        os.utime(target)
        for other in base.iterdir():
            if other.is_dir() and time.time() - other.stat().st_mtime > _OLD_S:
                shutil.rmtree(other, ignore_errors=True)
    return target


def lacking(pins: list[str]) -> list[str]:
    """Which packages a node lacks, or has in another version."""
    found = []
    for pin in pins:
        name, _, version = pin.partition("==")
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            there = ""
        if there != version:
            found.append(pin)
    return found
