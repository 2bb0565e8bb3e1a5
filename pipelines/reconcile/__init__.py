"""Compares Optuna, MLflow, the journal, checkpoint files and the registry, and mends what a crash left between them.

The journal is what counts: it is written first. Everything here can be done again and again, and finds nothing then.
"""

from __future__ import annotations

from pipelines.reconcile.homes import Mended, reconcile, sync, sync_folder
from pipelines.reconcile.mending import mend_study

__all__ = ["Mended", "mend_study", "reconcile", "sync", "sync_folder"]
