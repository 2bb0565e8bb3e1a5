"""A plain FastAPI server around a Keras model, as most tutorials end up with: JSON in, `model(x)`, JSON out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True, help="a .keras file")
    chosen = parser.parse_args()

    import keras
    import numpy as np
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Instances(BaseModel):
        instances: list[list[list[float]]]

    class Predictions(BaseModel):
        predictions: list[list[float]]

    model = keras.models.load_model(chosen.model, safe_mode=True)
    app = FastAPI()

    async def health() -> dict[str, Any]:
        return {}

    async def invocations(asked: Instances) -> Predictions:
        x = np.asarray(asked.instances, dtype=np.float32)
        return Predictions(predictions=np.asarray(model(x, training=False)).tolist())

    # Registered by hand: FastAPI reads annotations, and those of local classes are texts in this module.
    health.__annotations__ = {}
    invocations.__annotations__ = {"asked": Instances, "return": Predictions}
    app.get("/ping")(health)
    app.post("/invocations")(invocations)
    uvicorn.run(
        app, host="127.0.0.1", port=chosen.port, http="httptools", loop="uvloop", log_config=None, access_log=False
    )


if __name__ == "__main__":
    main()
