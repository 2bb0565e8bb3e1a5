"""Asks a server by kserve's client, in V1 and V2, and prints what it said as JSON. Run by another Python than ours.

`ask_kserve.py URL SAMPLES` with the samples (n, 28, 28) as JSON, which model `pictures` takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

import httpx
import numpy as np
from kserve import (  # type: ignore[import-not-found, unused-ignore]
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput  # type: ignore[import-not-found, unused-ignore]


async def refused(call: Awaitable[Any]) -> dict[str, Any]:
    try:
        await call
    except httpx.HTTPStatusError as error:
        return {"status": error.response.status_code, "message": str(error)}
    return {"status": 200, "message": None}


async def main(url: str, samples: Any) -> dict[str, Any]:
    images = np.array(samples, dtype=np.float32)

    def request(binary: bool, answered: bool, array: Any = images, datatype: str = "FP32") -> Any:
        tensor = InferInput("image", list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        wanted = [RequestedOutput("probabilities", {"binary_data": answered})]
        return InferRequest("pictures", [tensor], request_id="mine", request_outputs=wanted)

    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        second: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model ready": await client.is_model_ready(url, "pictures"),
            "other model ready": await client.is_model_ready(url, "nothing"),
        }
        for binary in (False, True):
            for answered in (False, True):
                answer = await client.infer(url, request(binary, answered), model_name="pictures")
                name = f"{'binary' if binary else 'json'} to {'binary' if answered else 'json'}"
                second[name] = answer.outputs[0].as_numpy().tolist()
                second["identity"] = [answer.id, answer.model_name]
        small = images.astype(np.uint8)
        answer = await client.infer(url, request(True, True, small, "UINT8"), model_name="pictures")
        second["integers"] = answer.outputs[0].as_numpy().tolist()
        second["wrong"] = {
            "shape": await refused(client.infer(url, request(True, True, images[:, :5]), model_name="pictures")),
            "model": await refused(client.infer(url, request(True, True), model_name="nothing")),
        }
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        first = {
            "live": await client.is_server_live(url),
            "model ready": await client.is_model_ready(url, "pictures"),
            "predictions": (await client.infer(url, {"instances": samples}, model_name="pictures"))["predictions"],
        }
    return {"v1": first, "v2": second}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))))
