"""The Optuna door: asks for trials, weighs epochs, takes results. One process, one thread, one writer of the storage.

Ask and tell rather than `study.optimize`: the controller sees every worker's death, and no trial stays RUNNING behind
its back, where it would repel the sampler for ever (TPE's constant liar).
"""

from __future__ import annotations

from pipelines.study.book import Counts, StudyRecord
from pipelines.study.door import AskedTrial, Study

__all__ = ["AskedTrial", "Counts", "Study", "StudyRecord"]
