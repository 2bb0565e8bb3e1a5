"""What an actor does once the code is on its node: it lays the data, dials in, and serves as any worker does."""

from __future__ import annotations

import os
import threading
import traceback
from typing import Any

from pipelines.executors.calling import CallFailed, answer_call
from pipelines.executors.ray.cargo import Cargo, unload
from pipelines.executors.reception import Invitation
from pipelines.executors.serving import print_to
from pipelines.home import node_home

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def serve(invitation: str, cargo: Any) -> str:
    """Serves a controller. Returns what went wrong where it was not even reached.

    Args:
        invitation: Whom to dial, as text.
        cargo: The data, as plain types, its pieces references of Ray's; None where there is none.
    """
    import ray

    known: Any = ray
    if not known.get_gpu_ids():
        os.environ[_VISIBLE] = "-1"  # Ray leaves it empty, or as it was
    if cargo is not None:
        unload(Cargo.from_plain(cargo), node_home(), known.get)
    try:
        answer_call(Invitation.from_json(invitation))
    except CallFailed as problem:
        return str(problem)
    except Exception:
        traceback.print_exc()
        _have_it_sent()
        raise
    return ""


def _have_it_sent() -> None:
    """Waits until what was printed has gone to the controller: this process has not long to live."""
    print_to(os.devnull)  # and with it the other end of the pipe is closed
    for thread in threading.enumerate():
        if thread.name == "printed":
            thread.join(5)
