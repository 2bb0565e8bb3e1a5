"""TensorFlow Serving's REST dialect, under /v1: status, metadata, predict, classify, regress; KServe V1 reads it too.

Three differences: a single sample without batch dimension is taken and answered in kind; the status of a model that is
not ready comes with code 503 (KServe looks at the code, TF Serving's clients look at the body); /v1/models is KServe's
list, where TF Serving has an error that no client waits for.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import orjson
from starlette.routing import BaseRoute, Mount

from services.model_server.errors import (
    BadRequest,
    BodyTooLarge,
    DeadlineExceeded,
    ModelServerError,
    NotReady,
    Overloaded,
    Unauthorized,
    UnknownLabel,
    UnknownModel,
    UnsupportedMedia,
)
from services.model_server.protocols.base import Call, Dialect, Reply
from services.model_server.protocols.cells import listed
from services.model_server.protocols.tf_serving.addresses import Address, read_address
from services.model_server.protocols.tf_serving.metadata import describe_model, version_status
from services.model_server.protocols.tf_serving.reading import read_examples, read_predict
from services.model_server.served import ServedModel


class TfServing(Dialect):
    """`/v1/models/...` as TF Serving 2.x answers it."""

    name = "tf_serving"
    codes: ClassVar = {
        BadRequest: 400,
        UnsupportedMedia: 400,
        Unauthorized: 401,
        UnknownModel: 404,
        BodyTooLarge: 413,
        Overloaded: 429,
        NotReady: 503,
        DeadlineExceeded: 504,
        ModelServerError: 500,
    }

    def routes(self) -> list[BaseRoute]:
        """Takes everything under /v1: the dialect has its own grammar and its own answer to what does not fit."""
        return [Mount("/v1", app=self.endpoint(self.handle))]

    async def handle(self, call: Call) -> Reply:
        """Answers any address under /v1."""
        raw = call.scope.get("raw_path")
        path = str(raw, "latin-1").partition("?")[0] if raw else call.scope["path"]
        address = read_address(call.method, path)
        if address.verb == "models":
            return Reply(orjson.dumps({"models": sorted({slot.ref.name for slot in self.engine.slots.values()})}))
        if address.verb == "status":
            return self._status(address)
        if address.verb == "metadata":
            model = call.model = self._find(address)
            return Reply(orjson.dumps(describe_model(model)))
        body = await self.body(call)
        model = call.model = self._find(address)
        read = read_predict if address.verb == "predict" else partial(read_examples, address.verb)
        self.offer(call, lambda _: self._find(address), read)
        return await self.predict(call, model, read(call, model, body))

    def _find(self, address: Address) -> ServedModel:
        try:
            return self.engine.find(address.name, address.version, address.label)
        except UnknownLabel:
            raise _unknown_label(address) from None
        except UnknownModel as error:
            name = listed([address.name])
            wanted = f"Specific({name}, {address.version})" if address.version else f"Latest({name})"
            raise type(error)(f"Servable not found for request: {wanted}") from None

    def _status(self, address: Address) -> Reply:
        slots = self.engine.slots_of(address.name)
        if not slots:
            raise UnknownModel(f"Could not find any versions of model {listed([address.name])}")
        versions = [
            entry
            for slot in slots
            if address.label is None or slot.ref.alias == address.label
            for entry in version_status(slot)
            if address.version is None or entry["version"] == address.version
        ]
        if not versions and address.version is not None:
            raise UnknownModel(f"Could not find version {address.version} of model {address.name}")
        if not versions and address.label is not None:
            raise _unknown_label(address)
        versions = list({(entry["version"], entry["state"]): entry for entry in versions}.values())
        versions.sort(key=lambda entry: -int(entry["version"]))
        ready = any(entry["state"] == "AVAILABLE" for entry in versions) and not self.engine.draining
        body = {"model_version_status": versions, "name": address.name, "ready": ready}
        return Reply(orjson.dumps(body), 200 if ready else 503)


def _unknown_label(address: Address) -> UnknownLabel:
    return UnknownLabel(f"Unrecognized servable version label: {listed([address.label or ''])}")
