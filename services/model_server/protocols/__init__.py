"""The dialects the server speaks, in the order in which their addresses are tried: the busiest first."""

from __future__ import annotations

from services.model_server.protocols.base import Dialect
from services.model_server.protocols.explain import Explain
from services.model_server.protocols.mlflow import Mlflow
from services.model_server.protocols.native import Native
from services.model_server.protocols.open_inference import OpenInference
from services.model_server.protocols.openapi import OpenApi
from services.model_server.protocols.page import Page
from services.model_server.protocols.probes import Probes
from services.model_server.protocols.tf_serving import TfServing

DIALECTS: tuple[type[Dialect], ...] = (TfServing, OpenInference, Mlflow, Page, Native, Explain, Probes, OpenApi)

__all__ = [
    "DIALECTS",
    "Dialect",
    "Explain",
    "Mlflow",
    "Native",
    "OpenApi",
    "OpenInference",
    "Page",
    "Probes",
    "TfServing",
]
