"""TensorFlow Serving's REST dialect, which KServe V1 reads too; `dialect` joins the parts."""

from __future__ import annotations

from services.model_server.protocols.tf_serving.dialect import TfServing

__all__ = ["TfServing"]
