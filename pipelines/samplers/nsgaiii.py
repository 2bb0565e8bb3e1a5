"""NSGA-III."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.samplers.genetic import GeneticSpec


class NsgaIIISampler(GeneticSpec):
    """NSGA-III (Deb and Jain 2014): a genetic search meant for many objectives; with one it is much like NSGA-II."""

    optuna_name = "NSGAIIISampler"
    name: Literal["nsgaiii"] = "nsgaiii"
    dividing_parameter: int = Field(3, ge=1)
    """Parts that each objective is divided into, to spread the best over all of them."""
    reference_points: (
        Annotated[tuple[Annotated[tuple[float, ...], Field(min_length=1)], ...], Field(min_length=1)] | None
    ) = None
    """Directions in which to look, each with a number an objective, in place of those of `dividing_parameter`; the last
    objective matters least to `[1, 1, 0]`."""

    @model_validator(mode="after")
    def _points_lead_somewhere(self) -> NsgaIIISampler:
        for point in self.reference_points or ():
            if not any(point):
                raise ValueError("a reference point of zeros leads nowhere; at least one number must be another")
        return self

    def misfits_with(self, objectives: int) -> dict[str, str]:
        """Reference points with another number of objectives."""
        odd = next((point for point in self.reference_points or () if len(point) != objectives), None)
        if odd is None:
            return {}
        return {"reference_points": f"must have a number an objective, and there are {objectives}; got {list(odd)}"}

    def settings(self, *without: str) -> dict[str, Any]:
        """Optuna's, which takes the points as an array."""
        import numpy as np

        points = self.reference_points
        return {**super().settings(*without), "reference_points": None if points is None else np.array(points)}
