"""Callbacks: one file a kind. To add one, write its file and list it in the union."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipelines.callbacks.base import CallbackSpec
from pipelines.callbacks.early_stopping import EarlyStopping
from pipelines.callbacks.learning_rate_scheduler import LearningRateScheduler
from pipelines.callbacks.model_checkpoint import ModelCheckpoint
from pipelines.callbacks.reduce_lr_on_plateau import ReduceLrOnPlateau
from pipelines.spec import kinds_of, named

Callback = Annotated[
    Annotated[EarlyStopping | ReduceLrOnPlateau | ModelCheckpoint | LearningRateScheduler, Field(discriminator="name")],
    BeforeValidator(named),
]


def label_is_name(data: Any) -> Any:
    """Fills in `name` from the label where the label is the name of a kind."""
    if not isinstance(data, dict):
        return data
    kinds = kinds_of(Callback)
    filled = {}
    for label, settings in data.items():
        settings = {} if settings is None and label in kinds else settings
        if isinstance(settings, dict) and "name" not in settings and label in kinds:
            settings = {"name": label, **settings}
        filled[label] = settings
    return filled


__all__ = ["Callback", "CallbackSpec", "label_is_name"]
