"""What a candidate must keep to become the champion: the `promotion` part of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipelines.spec import Spec

JudgedBy = Literal["test_accuracy", "test_auc", "test_loss", "test_r2", "test_mae", "test_rmse", "test_mse"]


class Promotion(Spec):
    """When the best trial becomes the champion. Every rule must hold; a refusal says which does not, and by how much.

    The rules that compare are for a candidate that meets a champion; limits hold for the first champion, too.
    """

    metric: JudgedBy | None = None
    """What candidate and champion are compared by, on the sealed test part. Where left out, what the objective is
    there (`val_mae`: `test_mae`); for `val_loss`, `test_accuracy` of classes and `test_r2` of a number."""
    min_gain: float = Field(0.0, ge=0)
    """By how much the candidate must be better; 0 means any gain at all."""
    confidence: float | None = Field(0.95, gt=0.5, lt=1)
    """How sure it must be that the gain is more than `min_gain` and no chance of these samples: the lower end of the
    gain's confidence interval must be above it, and of an accuracy McNemar's test must agree. Null asks for neither."""
    max_class_drop: float | None = Field(None, ge=0, le=1)
    """By how much the recall of any class may fall, as a share of the class: 0.05 lets 90 % fall to 85 %. Null: as far
    as it likes."""
    max_bytes: int | None = Field(None, gt=0)
    """Bytes that the served file, `model.onnx`, may have at most."""
    max_latency_ms: float | None = Field(None, gt=0)
    """Milliseconds that an answer about one row may take at most: the median of many, on one core, as it is measured
    when the candidate is judged."""
    parity: float = Field(1e-4, gt=0, le=1)
    """How far the served form's outputs may be from the Keras model's, as a share of the largest output where that is
    above 1. Rounding gives about 1e-6. A candidate that breaks this is not registered, and cannot be forced."""
    top_k: int = Field(1, ge=1, le=50)
    """How many of the best trials, by validation, are candidates. Each is judged once."""
    seeds: int = Field(0, ge=0, le=100)
    """How often each candidate is trained again, with other seeds, before one is chosen: by its mean over these
    trainings less one standard error of it, still by validation. 0 means that nobody is trained again."""
    against: Literal["first", "any"] = "first"
    """Who meets the champion: `first`, the best candidate by validation alone; or `any`, each of them in that order
    until one passes, with a confidence that is raised to make up for the several tries (Bonferroni)."""
    pick: Literal["first", "knee"] = "first"
    """Which trial is the candidate where there are several objectives: `first` is the best by the first of them; `knee`
    is the one nearest to the best of all of them, each scaled to 0..1 over the trials that no other beats in all."""

    @model_validator(mode="after")
    def _several_tries_need_several_candidates(self) -> Promotion:
        if self.against == "any" and self.top_k == 1:
            raise ValueError("against: any needs more than one candidate, and top_k is 1; set top_k to 2 or more")
        return self

    @property
    def tries(self) -> int:
        """How many candidates may meet the champion at most."""
        return self.top_k if self.against == "any" else 1

    @property
    def level(self) -> float:
        """The confidence of one comparison's interval: 95 % where the recipe asks for none, raised for several tries.

        With Bonferroni's correction the chance that any of the tries is wrong is no more than what the recipe allows.
        """
        return 1.0 - (1.0 - (self.confidence or 0.95)) / self.tries
