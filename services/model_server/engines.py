"""Who computes a model version: ONNX Runtime in this process, or Keras in one of its own. The contract says which."""

from __future__ import annotations

from importlib.util import find_spec

from services.model_server.errors import PackageRejected
from services.model_server.keras_engine.engine import KerasEngine, Limits, Tell
from services.model_server.onnx_engine import OnnxEngine
from services.model_server.package import Package
from services.model_server.predictor import Predictor
from services.model_server.settings import Settings


def open_predictor(
    package: Package, threads: int, settings: Settings, tell: Tell = lambda event, **facts: None
) -> Predictor:
    """Opens a verified package with the engine that its contract names.

    Args:
        package: A verified package.
        threads: The most cores one call may use.
        settings: The settings; they say how long a Keras engine may take.
        tell: Told what becomes of a Keras engine's process, as an event's name with facts, from another thread.

    Raises:
        PackageRejected: the engine is not here, or cannot open it.
    """
    if package.contract.engine == "onnx":
        return OnnxEngine(package, threads)
    if find_spec("tensorflow") is None or find_spec("keras") is None:  # which imports neither
        why = f" ({package.contract.engine_reason})" if package.contract.engine_reason else ""
        raise PackageRejected(
            f"ONNX cannot hold it{why}, so it needs the Keras engine, and this server has no TensorFlow; run the image "
            f"that `docker build --target keras` makes, or install requirements/model-server-keras.txt"
        )
    limits = Limits(settings.keras_start_s, settings.keras_request_s, settings.max_batch)
    return KerasEngine(package, threads, limits=limits, tell=tell)
