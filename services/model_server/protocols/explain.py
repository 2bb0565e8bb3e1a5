"""What mattered to an answer, for people and pages.

POST /explain/NAME    {"inputs": one sample, "label": "7"}; ?version= or ?alias= picks one, as with /predict/NAME

A sample is what /predict/NAME takes: an array, or a row of a table. Told is the drop of the probability of the best
class, or of `label`, when a part of the sample is hidden: by cells of an image, or by columns of a table. A regression
tells the drop of its value. It costs one batch of at most 256 rows, and counts neither as traffic nor as predictions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.errors import (
    BadRequest,
)
from services.model_server.package import Contract
from services.model_server.protocols.base import Call, Dialect, Reply
from services.model_server.protocols.native.bodies import refuse_what_is_no_json
from services.model_server.protocols.native.options import VERSION, check_query
from services.model_server.protocols.occlusion import (
    MOST_ROWS,
    background_of,
    hide_patches,
    replace_columns,
    summary_of,
)
from services.model_server.protocols.tables import read_table
from services.model_server.protocols.tensors import Array, as_batch, load_json, refuse_booleans, to_array
from services.model_server.served import ServedModel


class Explain(Dialect):
    """`/explain/NAME`: one sample in, and how much each of its parts counted."""

    name = "explain"

    def routes(self) -> list[BaseRoute]:
        """Returns the one address."""
        return [Route("/explain/{name}", self.endpoint(self.explain, "POST"))]

    async def explain(self, call: Call) -> Reply:
        """Hides parts of one sample, computes all of it at once, and tells what changed."""
        body = await self.body(call)
        query = call.query()
        check_query(query, VERSION)
        model = call.model = self.engine.find(call.path_parameter("name"), query.get("version"), query.get("alias"))
        contract = model.contract
        try:
            request = load_json(body)
        except BadRequest:
            refuse_what_is_no_json(body, 'one sample as JSON, {"inputs": ...}; POST /predict/NAME reads more')
            raise
        if not isinstance(request, dict) or "inputs" not in request or request.keys() - {"inputs", "label"}:
            raise BadRequest('The body must be an object like {"inputs": one sample}; "label" may name a class.')
        sample = _one_sample(request["inputs"], contract, body)
        most_rows = min(MOST_ROWS, self.settings.queue)
        explanation: dict[str, Any]
        if contract.columns:
            replaced = replace_columns(sample, model.golden.inputs, most_rows)
            outputs = await self._outputs(call, model, replaced.rows)
            of, scores = _scores(outputs, contract, request.get("label"))
            found = summary_of(scores[0] - scores[1:], replaced.fillings)
            columns = [{"name": name, **drops} for name, drops in zip(contract.column_names, found, strict=True)]
            explanation = {"kind": "columns", "columns": columns, "rows": len(replaced.rows)}
        else:
            image, golden = _as_image(sample, model.golden.inputs)
            patches = hide_patches(image, background_of(golden), most_rows)
            rows = patches.rows.reshape(-1, *sample.shape)
            outputs = await self._outputs(call, model, rows)
            of, scores = _scores(outputs, contract, request.get("label"))
            heat = patches.heat(scores[0] - scores[1:])
            explanation = {"kind": "patches", "cell": patches.cell, "heat": heat, "rows": len(rows)}
        identity = {"name": model.name, "version": model.version, "alias": model.ref.alias}
        return Reply(
            orjson.dumps({"model": identity, "of": of, **explanation}, option=orjson.OPT_SERIALIZE_NUMPY),
        )

    async def _outputs(self, call: Call, model: ServedModel, rows: Array) -> Array:
        """Computes the rows in the model's queue. Not by way of `Engine.predict`: nobody sent these samples."""
        model.predictor.check(rows)
        call.rows = len(rows)
        outputs: Array = await model.batcher.submit(rows, call.arrival + self.settings.deadline_s)
        return outputs


def _one_sample(value: Any, contract: Contract, body: bytes) -> Array:
    """Reads one sample, with or without a batch dimension of one."""
    if contract.columns:
        rows, _ = read_table(value, contract, body)
    else:
        refuse_booleans(body, value, contract.input)
        rows, _ = as_batch(to_array(value, contract.input), contract)
    if rows.ndim == 0 or len(rows) != 1:
        raise BadRequest("One sample at a time is explained; send 'inputs' with one.")
    sample: Array = rows[0]
    wanted = contract.input.sample_shape
    if sample.ndim != len(wanted) or any(
        size not in (None, own) for size, own in zip(wanted, sample.shape, strict=True)
    ):
        shape = " x ".join("any" if size is None else str(size) for size in wanted) or "one number"
        raise BadRequest(f"A sample of this model is {shape}; this one has the shape {sample.shape}.")
    if sample.size == 0:
        raise BadRequest("The sample is empty.")
    return sample


def _as_image(sample: Array, golden: Array) -> tuple[Array, Array]:
    """Looks at a sample and the golden ones as images (h, w[, c]); a plain list of numbers is one of height 1."""
    if sample.ndim in (2, 3):
        return sample, golden
    if sample.ndim == 1:
        return sample[np.newaxis], golden.reshape(len(golden), 1, -1)
    raise BadRequest(f"Samples of {sample.ndim} dimensions are not explained; lists of numbers, images and tables are.")


def _scores(outputs: Array, contract: Contract, label: Any) -> tuple[dict[str, Any], Array]:
    """Returns what is explained, and its probability or value (n,) for all rows; the first row is the sample."""
    if contract.task == "regression":
        if label is not None:
            raise BadRequest("This model answers with a value; it has no labels.")
        return {"value": float(outputs[0, 0]), "target": contract.target}, outputs[:, 0].astype(float)
    probabilities = outputs if contract.task != "binary" else np.concatenate([1.0 - outputs, outputs], axis=1)
    if label is None:
        best = int(np.nan_to_num(probabilities[0], nan=-np.inf).argmax())
        if contract.task == "binary":
            best = int(outputs[0, 0] >= 0.5)
    elif isinstance(label, str) and label in contract.labels:
        best = contract.labels.index(label)
    else:
        raise BadRequest("'label' must be one of the model's labels; GET /models lists them.")
    told = {"label": contract.labels[best], "probability": float(probabilities[0, best])}
    return told, probabilities[:, best].astype(float)
