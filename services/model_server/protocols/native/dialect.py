"""The server's own dialect, for people and pages: labels and probabilities, what is served, golden samples.

POST /predict/NAME           samples as JSON, a picture, a form with pictures, or rows as CSV; see `bodies`
GET  /models                 every wanted model: state, version, digest, run, staleness, rejection, what it takes
GET  /models/NAME            the one of them that answers for a name
GET  /models/NAME/samples    golden samples with true label or value and stored output; ?start= and ?count=

?version= or ?alias= picks one of several versions. Classes are answered with label, probability and the top k, a
regression with its value.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.engine import Answer, Engine
from services.model_server.errors import (
    BadRequest,
    UnknownAddress,
)
from services.model_server.events import EventLog
from services.model_server.images import Form, form_of
from services.model_server.keys import ApiKeys
from services.model_server.protocols.base import Call, Dialect, Prepared, Reply
from services.model_server.protocols.cells import to_cells
from services.model_server.protocols.desk import Desk
from services.model_server.protocols.native.answers import astray, describe, identity, warnings
from services.model_server.protocols.native.bodies import Asked, Reader, read_json
from services.model_server.protocols.native.listing import describe_slot, task_of
from services.model_server.protocols.native.options import VERSION, check_options, check_query
from services.model_server.protocols.tensors import NOT_FINITE, Array, has_nulls
from services.model_server.served import ServedModel, Slot
from services.model_server.settings import Settings

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z
_MOST_SAMPLES = 256


class Native(Dialect):
    """`/predict` and `/models`. Numbers that are not finite are written as null, and an x-warning header says so."""

    name = "native"

    def __init__(self, engine: Engine, settings: Settings, log: EventLog, keys: ApiKeys | None) -> None:
        super().__init__(engine, settings, log, keys)
        self._reader = Reader(Desk(), settings.max_pixels)
        self._forms: WeakKeyDictionary[ServedModel, Form | None] = WeakKeyDictionary()

    def routes(self) -> list[BaseRoute]:
        """Returns the addresses of the own API."""
        return [
            Route("/predict/{name}", self.endpoint(self.answer, "POST")),
            Route("/models", self.endpoint(self.models, "GET, HEAD")),
            Route("/models/{name}", self.endpoint(self.model, "GET, HEAD")),
            Route("/models/{name}/samples", self.endpoint(self.samples, "GET, HEAD")),
        ]

    async def unknown(self, _: Call) -> Reply:
        """Answers every address that no dialect has."""
        raise UnknownAddress(
            "There is nothing here. See GET /models, POST /predict/NAME and POST /v1/models/NAME:predict."
        )

    async def answer(self, call: Call) -> Reply:
        """Predicts, and says it in labels."""
        body = await self.body(call)
        query, kind = call.query(), call.header(b"content-type")
        name, version, alias = call.path_parameter("name"), query.get("version"), query.get("alias")

        def find(_: Call) -> ServedModel:
            return self.engine.find(name, version, alias)

        def read(_: Call, model: ServedModel, body: bytes | memoryview) -> Prepared | None:
            asked = read_json(bytes(body), kind, query, model.contract)
            return None if asked is None else _prepared(asked, model)

        model = call.model = find(call)
        prepared = read(call, model, body)
        if prepared is not None:
            check_options(query, "JSON")
            self.offer(call, find, read)
            return await self.predict(call, model, prepared)
        deadline = call.deadline(self.settings.deadline_s)
        asked = await self._reader.read(body, kind, query, model.contract, self._form(model), deadline)
        return await self.predict(call, model, _prepared(asked, model))

    async def models(self, call: Call) -> Reply:
        """Lists every wanted model."""
        check_query(call.query(), ())
        body = {"ready": self.engine.ready, "models": [self._entry(slot) for slot in self.engine.slots.values()]}
        body["registry"] = {"uri": self.settings.tracking_uri, "reachable": self.engine.stats.registry_up}
        return Reply(orjson.dumps(body, option=_OPTIONS))

    async def model(self, call: Call) -> Reply:
        """Says the same of one model, and of the version of it that is asked for."""
        query = call.query()
        check_query(query, VERSION)
        slot = self.engine.slot_of(call.path_parameter("name"), query.get("version"), query.get("alias"))
        return Reply(orjson.dumps(self._entry(slot), option=_OPTIONS))

    async def samples(self, call: Call) -> Reply:
        """Gives golden samples of the version that answers now."""
        query = call.query()
        check_query(query, ("start", "count", *VERSION))
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
        body = {"model": identity(model), "total": len(golden), **task_of(contract), "samples": samples}
        return Reply(orjson.dumps(body, option=_OPTIONS))

    def _entry(self, slot: Slot) -> dict[str, Any]:
        return describe_slot(slot, None if slot.served is None else self._form(slot.served))

    def _form(self, model: ServedModel) -> Form | None:
        """The form of a model's pictures; looked for once."""
        if model not in self._forms:
            self._forms[model] = form_of(model.contract, model.golden)
        return self._forms[model]


def _prepared(asked: Asked, model: ServedModel) -> Prepared:
    def write(answer: Answer) -> Reply:
        predictions = describe(answer.outputs, model.contract, asked.top_k)
        reply: dict[str, Any] = {"model": identity(model)}
        reply |= {"prediction": predictions[0]} if asked.single else {"predictions": predictions}
        reply |= _pictures(asked)
        told = warnings(answer, asked.rows, model) if answer.strange_rows else []
        if asked.pictures:
            told += astray(asked.pictures)
        if told:
            reply["warnings"] = told
        encoded = orjson.dumps(reply, option=_OPTIONS)
        return Reply(encoded, headers=(NOT_FINITE,) if has_nulls(encoded) and not _finite(answer.outputs) else ())

    # A picture was put on the model's scale here; a dark one is not another scale.
    return Prepared(asked.rows, write, as_is=bool(asked.pictures))


def _pictures(asked: Asked) -> dict[str, Any]:
    """Says what was done to the pictures of a request."""
    if not asked.pictures:
        return {}
    told = [picture.told() for picture in asked.pictures]
    return {"image": told[0]} if asked.single else {"images": told}


def _finite(outputs: Array) -> bool:
    return bool(np.isfinite(outputs).all())


def _whole(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest(f"?{name}= must be a whole number, 0 or more.")
    return int(text)
