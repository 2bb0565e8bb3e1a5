"""The Open Inference Protocol V2 over HTTP, with Triton's extensions; `dialect` joins the parts."""

from __future__ import annotations

from services.model_server.protocols.open_inference.dialect import OpenInference

__all__ = ["OpenInference"]
