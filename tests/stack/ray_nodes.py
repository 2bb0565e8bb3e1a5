"""A Ray cluster of several nodes on this machine, in a process of its own: `python -m tests.stack.ray_nodes`.

It does what it reads, a line each: `add HOME CPUS` starts a node whose workers have that folder for their own and
answers with its number, `remove NUMBER` and `kill NUMBER` end one, in good order or not. It ends with its input.
Folders that are its arguments are hidden from all nodes: an empty one is mounted in their place, for these processes
alone.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

CLONE_NEWNS = 0x00020000
OBJECT_STORE = 100 << 20


def hide(folders: list[str]) -> None:
    """Mounts an empty folder over each, which nobody outside of this process's family sees."""
    if folders:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "this process may not have mounts of its own")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for folder in folders:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)


def main(hidden: list[str]) -> None:
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"})
    hide(hidden)
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    nodes: list[Any] = []
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["add", home, cpus]:
                variables = {"REGATTA_NODE_HOME": home}
                nodes.append(cluster.add_node(num_cpus=int(cpus), object_store_memory=OBJECT_STORE, env_vars=variables))
                print(len(nodes) - 1, cluster.address, flush=True)
            case ["remove" | "kill" as how, number]:
                cluster.remove_node(nodes[int(number)], allow_graceful=how == "remove")
                print("gone", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
