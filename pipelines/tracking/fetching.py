"""Brings a checkpoint from the tracker to this disk, whole or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.checkpoints import sha256_of, write_whole
from pipelines.tracking.base import Refused, Tracker


def bring(tracker: Tracker, experiment: str, uid: str, sha256: str, path: Path) -> None:
    """Brings the checkpoint of a run.

    Args:
        tracker: Which has it.
        experiment: Where the run is.
        uid: Our name of the run.
        sha256: Of the checkpoint's file.
        path: Where it goes.

    Raises:
        Refused: It is not there, or not as it was sent.
        Unavailable: The tracker cannot be reached.
    """
    held = (each for each in tracker.held_checkpoints(experiment) if (each.uid, each.sha256) == (uid, sha256))
    found = next((each.model_id for each in held if each.status == "READY"), None)
    if found is None:
        raise Refused("it is not there any more")
    bring_model(tracker, found, sha256, path)


def bring_model(tracker: Tracker, model_id: str, sha256: str, path: Path) -> None:
    """Brings a checkpoint by the tracker's own name of it; see `bring`."""
    with tempfile.TemporaryDirectory(prefix="regatta-checkpoint-") as folder:
        back = tracker.fetch_checkpoint(model_id, Path(folder))
        if sha256_of(back) != sha256:
            raise Refused("MLflow's copy is damaged, too")
        write_whole(path, lambda beside: beside.write_bytes(back.read_bytes()))
