"""ModelCheckpoint."""

from __future__ import annotations

from pathlib import PurePosixPath
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.callbacks.base import MonitoringSpec, Surroundings

if TYPE_CHECKING:
    import keras

WEIGHTS_SUFFIX = ".weights.h5"
COUNTERS = ("epoch", "batch")
"""What a path may name besides metrics; `batch` where a save follows a number of batches."""


class ModelCheckpoint(MonitoringSpec):
    """Saves the model while it trains, by a path template, as artifacts of the trial's run.

    Regatta keeps the best epoch's checkpoint of every trial without this callback.
    """

    name: Literal["model_checkpoint"] = "model_checkpoint"
    filepath: str = "{epoch:02d}-{val_loss:.2f}.keras"
    """Where, inside the trial's folder; may use `{epoch}` (from 1, as Keras counts here), with `save_freq: N` `{batch}`
    too, and any metric that is known then. Ends in `.keras`, or in `.weights.h5` with `save_weights_only`."""
    save_best_only: bool = False
    """Save only when the monitored metric is the best so far."""
    save_weights_only: bool = False
    """Save weights without the model around them."""
    save_freq: Literal["epoch"] | Annotated[int, Field(ge=1)] = "epoch"
    """`epoch`, or a number of batches."""
    initial_value_threshold: float | None = None
    """With `save_best_only`: the value that the first save must beat."""

    @field_validator("filepath")
    @classmethod
    def _a_template_within_the_folder(cls, value: str) -> str:
        path = PurePosixPath(value)
        if not value or path.is_absolute() or ".." in path.parts:
            example = "{epoch:02d}-{val_loss:.2f}.keras"
            raise ValueError(f"must be a path inside the trial's folder, such as '{example}', got '{value}'")
        try:
            placeholders(value)
        except ValueError as error:
            raise ValueError(
                f"is no path template: {error}; write '{{epoch:02d}}' or '{{val_loss:.2f}}', got '{value}'"
            ) from None
        return value

    @model_validator(mode="after")
    def _path_can_be_made(self) -> ModelCheckpoint:
        suffix = WEIGHTS_SUFFIX if self.save_weights_only else ".keras"
        if not self.filepath.endswith(suffix):
            raise ValueError(
                f"filepath must end in '{suffix}' with save_weights_only: {str(self.save_weights_only).lower()}, "
                f"got {self.filepath!r}"
            )
        if self.save_freq == "epoch" and "batch" in placeholders(self.filepath):
            raise ValueError(
                f"filepath names batch, which is known with save_freq: N, a number of batches, and not with save_freq: "
                f"epoch, got {self.filepath!r}"
            )
        late = [name for name in placeholders(self.filepath) if name.startswith("val_")]
        if self.save_freq != "epoch" and late:
            raise ValueError(
                f"filepath names {late[0]}, which is known when an epoch ends, not after {self.save_freq} batches; use "
                f"save_freq: epoch, or a path such as '{{epoch:02d}}-{{loss:.2f}}{suffix}'"
            )
        if self.save_freq != "epoch" and self.save_best_only and self.monitor.startswith("val_"):
            raise ValueError(  # Keras would save every time
                f"save_best_only watches {self.monitor}, which is known when an epoch ends, not after {self.save_freq} "
                f"batches; use save_freq: epoch, or monitor: {self.monitor.removeprefix('val_')}"
            )
        return self

    def watched_metrics(self) -> tuple[str, ...]:
        """The monitored metric where only the best is saved, and those that the path names."""
        named = tuple(name for name in placeholders(self.filepath) if name not in COUNTERS)
        return (self.monitor, *named) if self.save_best_only else named

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback; it writes below the attempt's folder."""
        import keras  # heavy, and not needed to read a recipe

        arguments = self.model_dump(exclude={"name", "filepath"})
        around.folder.mkdir(parents=True, exist_ok=True)  # Keras makes the folders that the template names
        # braces in the folder's own name are no placeholders
        folder = str(around.folder).replace("{", "{{").replace("}", "}}")
        return keras.callbacks.ModelCheckpoint(f"{folder}/{self.filepath}", **arguments)


def placeholders(template: str) -> list[str]:
    """The names in braces of a path template.

    Raises:
        ValueError: The braces do not match, or a name is missing.
    """
    names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    if any(not name.isidentifier() for name in names):
        raise ValueError("every brace needs a name such as epoch or val_loss")
    template.format(**{name: 1 if name in COUNTERS else 0.5 for name in names})  # `{val_loss:d}` is wrong already now
    return names
