"""The server's own dialect, for people and pages: labels and probabilities, what is served, golden samples.

POST /predict/NAME           {"inputs": one sample or a list of samples, "top_k": 3}; ?version= or ?alias= picks one
GET  /models                 every wanted model: state, version, digest, run, staleness, rejection
GET  /models/NAME/samples    golden samples with true label and stored output; ?start= and ?count=
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.engine import ServedModel, Slot
from services.model_server.errors import (
    BadRequest,
    BodyTooLarge,
    DeadlineExceeded,
    ModelServerError,
    NotReady,
    Overloaded,
    Unauthorized,
    UnknownAddress,
    UnknownModel,
    UnsupportedMedia,
    WrongMethod,
)
from services.model_server.protocols.base import Call, Dialect, Reply
from services.model_server.protocols.tensors import (
    NOT_FINITE,
    Array,
    as_batch,
    has_nulls,
    load_json,
    refuse_booleans,
    to_array,
)

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z
_MOST_SAMPLES = 256


class Native(Dialect):
    """`/predict` and `/models`. Numbers that are not finite are written as null, and an x-warning header says so."""

    name = "native"
    codes: ClassVar = {
        BadRequest: 400,
        Unauthorized: 401,
        UnknownModel: 404,
        UnknownAddress: 404,
        WrongMethod: 405,
        BodyTooLarge: 413,
        UnsupportedMedia: 415,
        Overloaded: 429,
        NotReady: 503,
        DeadlineExceeded: 504,
        ModelServerError: 500,
    }

    def routes(self) -> list[BaseRoute]:
        """Returns the own API and KServe V1's answer at the root."""
        return [
            Route("/predict/{name}", self.endpoint(self.answer, "POST")),
            Route("/models", self.endpoint(self.models, "GET, HEAD")),
            Route("/models/{name}/samples", self.endpoint(self.samples, "GET, HEAD")),
            Route("/", self.endpoint(self.root, "GET, HEAD", guarded=False)),
        ]

    def error_body(self, error: Exception, status: int) -> Reply:
        """`{"error": message}`."""
        return Reply(orjson.dumps({"error": str(error)}), status)

    async def root(self, _: Call) -> Reply:
        """What KServe V1 clients look for."""
        return Reply(b'{"status":"alive"}')

    async def unknown(self, _: Call) -> Reply:
        """Answers every address that no dialect has."""
        raise UnknownAddress(
            "There is nothing here. See GET /models, POST /predict/NAME and POST /v1/models/NAME:predict."
        )

    async def answer(self, call: Call) -> Reply:
        """Predicts, and says it in labels."""
        body = await call.body()
        query = call.query()
        model = call.model = self.engine.find(call.path_parameter("name"), query.get("version"), query.get("alias"))
        request = load_json(body)
        if not isinstance(request, dict) or "inputs" not in request:
            raise BadRequest('The body must be an object like {"inputs": [...]}: one sample, or a list of samples.')
        unknown = request.keys() - {"inputs", "top_k"}
        if unknown:
            raise BadRequest(
                f"The body has unknown keys: {', '.join(sorted(unknown))[:256]}; it takes 'inputs' and 'top_k'."
            )
        top_k = request.get("top_k", 3)
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
            raise BadRequest("'top_k' must be a whole number, 1 or more.")
        spec = model.contract.input
        refuse_booleans(body, request["inputs"], spec)
        batch, single = as_batch(to_array(request["inputs"], spec), model.contract)
        result = await self.predict(call, model, batch)
        predictions = describe(result.outputs, model, top_k)
        reply: dict[str, Any] = {"model": _identity(model)}
        reply |= {"prediction": predictions[0]} if single else {"predictions": predictions}
        if result.strange_rows:
            low, high = spec.range or (None, None)
            strange = f"{result.strange_rows} of {len(batch)} samples have values outside {low} to {high}"
            reply["warnings"] = [f"{strange}, the range of the training data; were they scaled? Send raw values."]
        encoded = orjson.dumps(reply, option=_OPTIONS)
        return Reply(encoded, headers=(NOT_FINITE,) if has_nulls(encoded) and not _finite(result.outputs) else ())

    async def models(self, _: Call) -> Reply:
        """Lists every wanted model."""
        slots = self.engine.slots.values()
        body = {"ready": self.engine.ready, "models": [_slot(slot) for slot in slots]}
        body["registry"] = {"uri": self.settings.tracking_uri, "reachable": self.engine.stats.registry_up}
        return Reply(orjson.dumps(body, option=_OPTIONS))

    async def samples(self, call: Call) -> Reply:
        """Gives golden samples of the version that answers now."""
        query = call.query()
        model = call.model = self.engine.find(call.path_parameter("name"), query.get("version"), query.get("alias"))
        golden, labels = model.golden, model.contract.labels
        start, count = _whole(query, "start", 0), _whole(query, "count", 16)
        count = min(count, _MOST_SAMPLES)
        samples = [
            {
                "index": index,
                "input": golden.inputs[index],
                "label": _label(labels, int(golden.labels[index])),
                "class": int(golden.labels[index]),
                "output": golden.outputs[index],
            }
            for index in range(min(start, len(golden.labels)), min(start + count, len(golden.labels)))
        ]
        body = {"model": _identity(model), "total": len(golden.labels), "labels": labels, "samples": samples}
        return Reply(orjson.dumps(body, option=_OPTIONS))


def describe(outputs: Array, model: ServedModel, top_k: int) -> list[dict[str, Any]]:
    """Says outputs (n, classes) in labels: for each row the best label, its probability, the top k, all probabilities.

    One output with two labels is the probability of the second. Outputs without labels are given as values.
    """
    labels = model.contract.labels
    flat = outputs.reshape(len(outputs), -1)
    if flat.shape[1] == 1 and len(labels) == 2:
        flat = np.concatenate([1.0 - flat, flat], axis=1)
    if flat.shape[1] != len(labels):
        return [{"values": row} for row in np.ascontiguousarray(outputs)]
    # NaN sorts last as a number, but as the least probable here.
    order = np.argsort(-np.nan_to_num(flat, nan=-np.inf), axis=1, kind="stable")[:, :top_k]
    described = []
    for row, best in zip(flat, order.tolist(), strict=True):
        top = [{"label": labels[index], "probability": row[index]} for index in best]
        described.append({**top[0], "top": top, "probabilities": np.ascontiguousarray(row)})
    return described


def _finite(outputs: Array) -> bool:
    return bool(np.isfinite(outputs).all())


def _identity(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "alias": model.ref.alias,
        "digest": f"sha256:{model.digest}",
        "run_id": model.run_id,
    }


def _slot(slot: Slot) -> dict[str, Any]:
    served, refused = slot.served, slot.rejection
    staleness_s = slot.staleness_s()
    entry: dict[str, Any] = {
        "name": slot.ref.name,
        "wanted": str(slot.ref),
        "state": slot.state.value,
        "version": served.version if served else None,
        "loading": slot.loading,
        "rejected": None
        if refused is None
        else {"version": refused.version, "reason": f"REJECTED: {refused.reason}", "attempts": refused.attempts},
        "staleness_s": None if staleness_s is None else round(staleness_s, 1),
        "note": slot.note if served is None else "",
    }
    if served is not None:
        contract = served.contract
        entry |= _identity(served) | {
            "since": served.since,
            "source": contract.source,
            "dataset": contract.dataset,
            "metrics": contract.metrics,
            "task": contract.task,
            "labels": contract.labels,
            "input": contract.input.model_dump(mode="json"),
            "output": contract.output.model_dump(mode="json"),
            "samples": len(served.golden.labels),
        }
    return entry


def _label(labels: tuple[str, ...], index: int) -> str:
    return labels[index] if 0 <= index < len(labels) else str(index)


def _whole(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest(f"?{name}= must be a whole number, 0 or more.")
    return int(text)
