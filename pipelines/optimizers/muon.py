"""Muon."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.optimizers.base import OptimizerSpec, Positive, Share


class Muon(OptimizerSpec):
    """Muon (Jordan et al. 2024): orthogonal steps for matrices, Adam for everything else."""

    keras_name = "Muon"
    name: Literal["muon"] = "muon"
    weight_decay: float | None = Field(4e-3, ge=0)
    """Weight decay of the matrices: share of each weight that a step takes away, times the learning rate."""
    adam_beta_1: Share = 0.9
    """Adam's share of the old gradient mean."""
    adam_beta_2: Share = 0.999
    """Adam's share of the old mean square."""
    adam_weight_decay: float = Field(4e-3, ge=0)
    """Weight decay of what Adam trains."""
    epsilon: Positive = 1e-7
    """Keeps the division finite."""
    exclude_layers: tuple[str, ...] | None = None
    """Patterns of weight names that Adam trains although they are matrices."""
    exclude_embeddings: bool = True
    """Leave embeddings to Adam."""
    muon_a: float = 3.4445
    """First coefficient of the Newton-Schulz iteration."""
    muon_b: float = -4.775
    """Second coefficient."""
    muon_c: float = 2.0315
    """Third coefficient."""
    adam_lr_ratio: Positive = 1.0
    """Adam's learning rate as a multiple of Muon's."""
    momentum: Share = 0.95
    """Share of the last step that is taken again, in [0, 1)."""
    ns_steps: int = Field(5, ge=1)
    """Newton-Schulz iterations in a step."""
    nesterov: bool = True
    """Look ahead along the momentum before taking the gradient."""
    rms_rate: float | None = Field(0.2, gt=0)
    """Root mean square that a matrix's step is scaled to, as a multiple of the learning rate."""
