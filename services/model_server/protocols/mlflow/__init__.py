"""MLflow's scoring dialect: /invocations and its probes; `dialect` joins the parts."""

from __future__ import annotations

from services.model_server.protocols.mlflow.dialect import Mlflow

__all__ = ["Mlflow"]
