"""The server's own dialect, for people and pages: labels and probabilities, what is served, golden samples.

POST /predict/NAME           {"inputs": one sample or a list of samples, "top_k": 3}; ?version= or ?alias= picks one
GET  /models                 every wanted model: state, version, digest, run, staleness, rejection, what it takes
GET  /models/NAME/samples    golden samples with true label or value and stored output; ?start= and ?count=

A sample is an array, or a row of a table: a list of cells, or an object by column name. Classes are answered with
label, probability and the top k, a regression with its value.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.engine import Answer, ServedModel, Slot
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
from services.model_server.package import Contract
from services.model_server.protocols.base import Call, Dialect, Reply
from services.model_server.protocols.tables import listed, read_table, to_cells, unknown_words
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
_MOST_WARNINGS = 16


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
        contract = model.contract
        if contract.columns:
            batch, single = read_table(request["inputs"], contract, body)
        else:
            refuse_booleans(body, request["inputs"], contract.input)
            batch, single = as_batch(to_array(request["inputs"], contract.input), contract)
        result = await self.predict(call, model, batch)
        predictions = describe(result.outputs, contract, top_k)
        reply: dict[str, Any] = {"model": _identity(model)}
        reply |= {"prediction": predictions[0]} if single else {"predictions": predictions}
        if result.strange_rows:
            reply["warnings"] = _warnings(result, batch, contract)
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
        golden, contract = model.golden, model.contract
        start, count = _whole(query, "start", 0), _whole(query, "count", 16)
        count = min(count, _MOST_SAMPLES)
        samples: list[dict[str, Any]] = []
        for index in range(min(start, len(golden)), min(start + count, len(golden))):
            row = golden.inputs[index]
            sample = {"index": index, "input": to_cells(row, contract) if row.dtype == object else row}
            if golden.labels is not None:
                true = int(golden.labels[index])
                sample |= {"label": contract.labels[true], "class": true}
            if golden.targets is not None:
                sample |= {"value": golden.targets[index]}
            samples.append(sample | {"output": golden.outputs[index]})
        body = {"model": _identity(model), "total": len(golden), **_form(contract), "samples": samples}
        return Reply(orjson.dumps(body, option=_OPTIONS))


def describe(outputs: Array, contract: Contract, top_k: int) -> list[dict[str, Any]]:
    """Says outputs (n, outputs) in the words of the task, row by row.

    Classes: the best label, its probability, the top k, and all probabilities in the order of the labels. A binary
    model's one output is the probability of its second label, which is the answer from 0.5 on. Regression: the value.
    """
    labels = contract.labels
    if contract.task == "regression":
        return [{"value": value, "target": contract.target} for value in outputs[:, 0]]
    if contract.task == "binary":
        outputs = np.concatenate([1.0 - outputs, outputs], axis=1)
        second = outputs[:, 1:] >= 0.5
        order = np.concatenate([second, ~second], axis=1).astype(np.intp)[:, :top_k]
    else:
        # NaN sorts last as a number, but as the least probable here.
        order = np.argsort(-np.nan_to_num(outputs, nan=-np.inf), axis=1, kind="stable")[:, :top_k]
    described = []
    for row, best in zip(outputs, order.tolist(), strict=True):
        top = [{"label": labels[index], "probability": row[index]} for index in best]
        described.append({**top[0], "top": top, "probabilities": np.ascontiguousarray(row)})
    return described


def _warnings(answer: Answer, rows: Array, contract: Contract) -> list[str]:
    """Says what in a request training never saw; it was answered all the same."""
    if contract.input.range is not None:
        low, high = contract.input.range
        strange = f"{answer.strange_rows} of {len(rows)} samples have values outside {low} to {high}"
        return [f"{strange}, the range of the training data; were they scaled? Send raw values."]
    warnings = []
    if rows.dtype == object:
        for column, words in unknown_words(rows, contract):
            warnings.append(
                f"Column '{column.name}' has words that the model does not know: {listed(words)}. "
                f"It knows: {listed(column.words)}."
            )
    if not warnings:
        warnings.append(f"{answer.strange_rows} of {len(rows)} samples have values that are not finite.")
    return warnings[:_MOST_WARNINGS]


def _form(contract: Contract) -> dict[str, Any]:
    """What goes in and comes out, for a client that wants to ask or to show an answer."""
    return {
        "task": contract.task,
        "labels": contract.labels,
        "target": contract.target,
        "columns": [column.model_dump(mode="json") for column in contract.columns],
    }


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
            **_form(contract),
            "input": contract.input.model_dump(mode="json"),
            "output": contract.output.model_dump(mode="json"),
            "samples": len(served.golden),
        }
    return entry


def _whole(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest(f"?{name}= must be a whole number, 0 or more.")
    return int(text)
