"""Callbacks: one file a kind. To add one, write its file and list it in the union."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipelines.callbacks.base import CallbackSpec
from pipelines.callbacks.decision_surface import DecisionSurface
from pipelines.callbacks.diagnostics import Diagnostics
from pipelines.callbacks.early_stopping import EarlyStopping
from pipelines.callbacks.learning_rate_scheduler import LearningRateScheduler
from pipelines.callbacks.model_checkpoint import ModelCheckpoint
from pipelines.callbacks.own import OwnCallback
from pipelines.callbacks.reduce_lr_on_plateau import ReduceLrOnPlateau
from pipelines.callbacks.swa import Swa
from pipelines.callbacks.swap_ema_weights import SwapEmaWeights
from pipelines.callbacks.terminate_on_nan import TerminateOnNan
from pipelines.spec import kinds_of, named

Callback = Annotated[
    Annotated[
        EarlyStopping
        | ReduceLrOnPlateau
        | ModelCheckpoint
        | LearningRateScheduler
        | TerminateOnNan
        | SwapEmaWeights
        | Swa
        | Diagnostics
        | DecisionSurface
        | OwnCallback,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]

LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}"


def label_is_name(data: Any) -> Any:
    """Fills in `name` from the label where the label is the name of a kind."""
    if not isinstance(data, dict):
        return data
    wrong = [str(label) for label in data if not re.fullmatch(LABEL, str(label))]
    if wrong:  # a label becomes part of paths in the search space, and of metrics and tags of a run
        raise ValueError(f"a label is made of letters, digits, '_' and '-', got '{wrong[0]}'")
    kinds = kinds_of(Callback)
    filled = {}
    for label, settings in data.items():
        settings = {} if settings is None and label in kinds else settings
        if isinstance(settings, dict) and "name" not in settings and label in kinds:
            settings = {"name": label, **settings}
        filled[label] = settings
    return filled


__all__ = ["Callback", "CallbackSpec", "DecisionSurface", "label_is_name"]
