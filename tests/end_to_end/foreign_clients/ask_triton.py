"""Asks a server by tritonclient, as its users do, and prints what it said as JSON. Run by another Python than ours.

`ask_triton.py HOST:PORT SAMPLES`: the samples (n, 28, 28) as JSON, for model `pictures`. Model `table` takes columns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.http as triton  # type: ignore[import-not-found, unused-ignore]
from tritonclient.utils import InferenceServerException  # type: ignore[import-not-found, unused-ignore]


def main(address: str, samples: Any) -> dict[str, Any]:
    client = triton.InferenceServerClient(address)
    images = np.array(samples, dtype=np.float32)

    def tensor(array: Any, datatype: str = "FP32", name: str = "image", binary: bool = True) -> Any:
        made = triton.InferInput(name, list(array.shape), datatype)
        made.set_data_from_numpy(array, binary_data=binary)
        return made

    def ask(array: Any, binary: bool = True, answer: Any = None, **options: Any) -> Any:
        outputs = None if answer is None else [triton.InferRequestedOutput("probabilities", **answer)]
        given = tensor(array, binary=binary)
        return client.infer("pictures", [given], outputs=outputs, **options)

    def refused(call: Callable[[], Any]) -> dict[str, str | None]:
        try:
            call()
        except InferenceServerException as error:
            return {"status": error.status(), "message": error.message()}
        return {"status": "200", "message": None}

    numbers = [
        tensor(np.array([39, 61], dtype=np.float32), name="age"),
        tensor(np.array([[1200.5], [np.nan]], dtype=np.float32), name="income"),
    ]
    words = [
        tensor(np.array([b"Oslo", b""], dtype=np.object_), "BYTES", "city"),
        tensor(np.array(["1", "x,y"], dtype=np.object_), "BYTES", "size", binary=False),
    ]
    half = triton.InferInput("image", list(images.shape), "FP16")
    half.set_data_from_numpy(images.astype(np.float16))
    brain = triton.InferInput("image", list(images.shape), "BF16")
    brain.set_data_from_numpy(images.astype(ml_dtypes.bfloat16))
    whole = ask(images, request_id="mine")
    # The client has one connection, which it does not lend to anybody else until this answer has been read.
    later = client.async_infer("pictures", [tensor(images)]).get_result()
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready("pictures"),
        "version ready": client.is_model_ready("pictures", "1"),
        "other version ready": client.is_model_ready("pictures", "9"),
        "server": client.get_server_metadata(),
        "metadata": client.get_model_metadata("pictures", "1"),
        "table metadata": client.get_model_metadata("table"),
        "configuration": client.get_model_config("pictures", "1"),
        "table configuration": client.get_model_config("table"),
        "index": client.get_model_repository_index(),
        "binary": whole.as_numpy("probabilities").tolist(),
        "header": {key: whole.get_response()[key] for key in ("id", "model_name", "model_version")},
        "json": ask(images, binary=False, answer={"binary_data": False}).as_numpy("probabilities").tolist(),
        "json, answered in binary": ask(images, binary=False).as_numpy("probabilities").tolist(),
        "gzip": ask(images, request_compression_algorithm="gzip").as_numpy("probabilities").tolist(),
        "deflate": ask(images, request_compression_algorithm="deflate", response_compression_algorithm="gzip")
        .as_numpy("probabilities")
        .tolist(),
        "one": ask(images[0]).as_numpy("probabilities").tolist(),
        "version": client.infer("pictures", [tensor(images)], model_version="1").as_numpy("probabilities").tolist(),
        "half": client.infer("pictures", [half]).as_numpy("probabilities").tolist(),
        "brain": client.infer("pictures", [brain]).as_numpy("probabilities").tolist(),
        "asynchronous": later.as_numpy("probabilities").tolist(),
        "classes": [text.decode() for text in ask(images, answer={"class_count": 2}).as_numpy("probabilities").ravel()],
        "classes in json": [
            str(text)
            for text in ask(images, answer={"class_count": 99, "binary_data": False}).as_numpy("probabilities")[0]
        ],
        "table": client.infer("table", [*numbers, *words]).as_numpy("probability").tolist(),
        "statistics": client.get_inference_statistics("pictures")["model_stats"][0],
        "wrong": {
            "shape": refused(lambda: ask(images[:, :5])),
            "datatype": refused(lambda: client.infer("pictures", [tensor(images.astype(np.int64), "INT64")])),
            "input": refused(lambda: client.infer("pictures", [tensor(images, name="picture")])),
            "model": refused(lambda: client.infer("nothing", [tensor(images)])),
            "version": refused(lambda: client.infer("pictures", [tensor(images)], model_version="9")),
            "output": refused(
                lambda: client.infer("pictures", [tensor(images)], outputs=[triton.InferRequestedOutput("logits")])
            ),
            "column": refused(lambda: client.infer("table", numbers)),
            "load": refused(lambda: client.load_model("pictures")),
            "unload": refused(lambda: client.unload_model("pictures")),
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
