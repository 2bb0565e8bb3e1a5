"""When the study stops a trial that will not win: one file a kind. To add one, write its file and list it in the union.

Arguments have Optuna's names. Optuna's Wilcoxon pruner is not here: it takes the values of a trial as so many
independent samples of one quality, such as the folds of a cross-validation, and tests their differences to the best
trial's; the epochs of a learning curve are one path, and a late bloomer would be stopped for its slow beginning.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.pruners.base import PrunerSpec
from pipelines.pruners.hyperband import HyperbandPruner
from pipelines.pruners.median import MedianPruner
from pipelines.pruners.none import NoPruner
from pipelines.pruners.patient import PatientPruner
from pipelines.pruners.percentile import PercentilePruner
from pipelines.pruners.successive_halving import SuccessiveHalvingPruner
from pipelines.pruners.threshold import ThresholdPruner
from pipelines.spec import named

Pruner = Annotated[
    Annotated[
        MedianPruner
        | PercentilePruner
        | SuccessiveHalvingPruner
        | HyperbandPruner
        | PatientPruner
        | ThresholdPruner
        | NoPruner,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]

__all__ = ["MedianPruner", "NoPruner", "Pruner", "PrunerSpec"]
