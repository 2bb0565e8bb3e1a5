"""The record: a journal on this disk, a sender that ships it, trackers that take delivery. MLflow enters here.

To add a tracker, write its file and its line in `make_tracker`.
"""

from __future__ import annotations

from pipelines.tracking.base import Tracker


def make_tracker(uri: str) -> Tracker:
    """The tracker behind an address: `memory:` for one that forgets, anything else is MLflow's."""
    if uri == "memory:":
        from pipelines.tracking.memory import MemoryTracker

        return MemoryTracker()
    from pipelines.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker(uri)


__all__ = ["Tracker", "make_tracker"]
