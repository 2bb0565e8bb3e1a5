"""Which packages the server cannot do without, and which of them are missing. Imports none of them."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = {
    "PIL": "pillow",
    "httptools": "httptools",
    "mlflow": "mlflow-skinny",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "orjson": "orjson",
    "prometheus_client": "prometheus-client",
    "pydantic": "pydantic",
    "simdjson": "pysimdjson",
    "starlette": "starlette",
    "uvloop": "uvloop",
}
"""Top-level modules, and the packages that they come in. TensorFlow is not among them: few models need it."""


def missing_packages() -> list[str]:
    """Returns the packages that this Python does not have."""
    return [package for module, package in NEEDED.items() if find_spec(module) is None]
