"""The dialects the server speaks, in the order in which their addresses are tried: the busiest first."""

from __future__ import annotations

from services.model_server.protocols.base import Dialect
from services.model_server.protocols.mlflow import Mlflow
from services.model_server.protocols.native import Native
from services.model_server.protocols.probes import Probes
from services.model_server.protocols.tf_serving import TfServing

DIALECTS: tuple[type[Dialect], ...] = (TfServing, Mlflow, Native, Probes)

__all__ = ["DIALECTS", "Dialect", "Mlflow", "Native", "Probes", "TfServing"]
