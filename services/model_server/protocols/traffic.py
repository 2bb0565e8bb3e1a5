"""What the server has learned from its traffic, and what it can be told.

GET  /traffic          every model: shadow, drift, feedback, by version
GET  /traffic/NAME     one of them
POST /feedback         {"request_id": "...", "label": "7"}: what was right of an answered request
                       {"model": "digits", "inputs": sample, "label": "7"}: the same, asked again

`labels` holds one label for each row of a request of several; of a regression it is `value` or `values`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.engine import Engine
from services.model_server.errors import (
    BadInput,
    BadRequest,
    UnknownAddress,
    UnknownRequest,
)
from services.model_server.events import EventLog
from services.model_server.keys import ApiKeys
from services.model_server.package import Contract
from services.model_server.protocols.base import Call, Dialect, Reply
from services.model_server.protocols.cells import listed
from services.model_server.protocols.tables import read_table
from services.model_server.protocols.tensors import Array, as_batch, load_json, refuse_booleans, to_array
from services.model_server.settings import Settings
from services.model_server.traffic import Siblings, Traffic, said_by

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z
_KEYS = frozenset({"request_id", "model", "version", "alias", "inputs", "label", "labels", "value", "values"})
_LONGEST_ID = 128
_MOST_VALUE = 1e30


class Learning(Dialect):
    """`/traffic` and `/feedback`."""

    name = "traffic"

    def __init__(
        self, engine: Engine, settings: Settings, log: EventLog, keys: ApiKeys | None, traffic: Traffic
    ) -> None:
        """Takes what all dialects take, and the traffic."""
        super().__init__(engine, settings, log, keys)
        self._traffic = traffic
        self.siblings: Siblings | None = None
        """The other processes on the port, which know other requests."""

    def routes(self) -> list[BaseRoute]:
        """Returns the addresses; they are there, too, while everything is off, and say so."""
        return [
            Route("/traffic", self.endpoint(self.all_numbers, "GET, HEAD")),
            Route("/traffic/{name}", self.endpoint(self.numbers, "GET, HEAD")),
            Route("/feedback", self.endpoint(self.feedback, "POST")),
        ]

    async def all_numbers(self, _: Call) -> Reply:
        """Says what is known of every model."""
        names = dict.fromkeys(model.name for model in self.engine.loaded())
        models = {name: self._traffic.report(name) for name in names}
        return Reply(orjson.dumps({**self._traffic.state(), "models": models}, option=_OPTIONS))

    async def numbers(self, call: Call) -> Reply:
        """Says what is known of one model."""
        model = self.engine.find(call.path_parameter("name"))
        body = {**self._traffic.state(), "model": model.name, "versions": self._traffic.report(model.name)}
        return Reply(orjson.dumps(body, option=_OPTIONS))

    async def feedback(self, call: Call) -> Reply:
        """Counts what was right."""
        if not self.settings.feedback:
            raise UnknownAddress("This server takes no feedback; MODEL_SERVER_FEEDBACK=on makes it do so.")
        body = await self.body(call)
        request = load_json(body)
        if not isinstance(request, dict):
            raise BadRequest('The body must be an object like {"request_id": "...", "label": "..."}.')
        unknown = sorted(request.keys() - _KEYS)
        if unknown:
            raise BadRequest(f"The body has unknown keys: {listed(unknown, 64)}; see {listed(sorted(_KEYS), 128)}.")
        if ("request_id" in request) == ("inputs" in request):
            raise BadRequest("The body must have 'request_id', or 'model' and 'inputs', and not both.")
        if "inputs" in request:
            return await self._asked_again(call, request, body)
        told = self.remembered(request)
        if told is None and self.siblings is not None:
            told = await self.siblings.ask(request)
        if told is None:
            raise UnknownRequest(
                "There is no such request: it was not answered here, or too long ago, or had too many rows."
            )
        return Reply(told)

    def remembered(self, request: dict[str, Any]) -> bytes | None:
        """Counts feedback on a request that this process answered, and returns the answer; None on another one.

        Raises:
            BadRequest: the feedback does not fit.
        """
        request_id = request["request_id"]
        if not isinstance(request_id, str) or not 0 < len(request_id) <= _LONGEST_ID:
            raise BadRequest(
                f"'request_id' must be a text of 1 to {_LONGEST_ID} characters: x-request-id of an answer."
            )
        remembered = self._traffic.memory.find(request_id)
        numbers = None if remembered is None else self._traffic.versions.get(remembered.version)
        if remembered is None or numbers is None:
            return None
        truth = read_truth(request, numbers.contract, len(remembered.said))
        counted = self._traffic.count(remembered, truth)
        return self._told(numbers.version, remembered.said, truth, counted)

    async def _asked_again(self, call: Call, request: dict[str, Any], body: bytes) -> Reply:
        name, version, alias = (request.get(key) for key in ("model", "version", "alias"))
        if not isinstance(name, str):
            raise BadRequest("'model' must be the name of a model; it goes with 'inputs'.")
        if any(text is not None and not isinstance(text, str) for text in (version, alias)):
            raise BadRequest("'version' and 'alias' must be texts.")
        model = self.engine.find(name, version, alias)
        rows = _rows(request["inputs"], model.contract, body)
        model.predictor.check(rows)  # before its rows are counted: a number alone has none
        truth = read_truth(request, model.contract, len(rows))
        # Not by way of `predict`: what is asked for the sake of feedback is no traffic.
        answer = await self.engine.predict(model, rows, call.arrival)
        call.model, call.rows = model, len(rows)
        said = said_by(model, answer.outputs)
        self._traffic.score(self._traffic.of(model), said, truth)
        return Reply(self._told((model.name, model.version), said, truth, True))

    def _told(self, version: tuple[str, str], said: Array, truth: Array, counted: bool) -> bytes:
        numbers = self._traffic.versions[version]
        told: dict[str, Any] = {"model": {"name": version[0], "version": version[1]}, "counted": counted}
        told["rows"] = len(said)
        if numbers.contract.labels:
            told["right"] = int((said == truth).sum())
        else:
            told["error"] = float(np.abs(said - truth).mean())
        live = {key: value for key, value in numbers.score.report()["window"].items() if key != "labels"}
        return orjson.dumps({**told, "live": live}, option=_OPTIONS)


def read_truth(request: dict[str, Any], contract: Contract, rows: int) -> Array:
    """Reads what was right: places of labels int64 (rows,), or values float64 (rows,).

    Raises:
        BadInput: it is not one label or value that the model knows for each row.
    """
    one, several = ("label", "labels") if contract.labels else ("value", "values")
    if (one in request) == (several in request):
        raise BadInput(f"The body must say what was right in '{one}', or in '{several}' for a request of several rows.")
    told = [request[one]] if one in request else request[several]
    if not isinstance(told, list) or len(told) != rows:
        found = f"{len(told)}" if isinstance(told, list) else "no list"
        raise BadInput(f"The request had {rows} rows, and '{several}' must have as many entries; it has {found}.")
    if not contract.labels:
        if any(not isinstance(value, int | float) or isinstance(value, bool) for value in told):
            raise BadInput(f"'{one}' must be a number.")
        if not all(-_MOST_VALUE < value < _MOST_VALUE for value in told):  # which NaN and huge integers are not, either
            raise BadInput(f"'{one}' must be a number between {-_MOST_VALUE:g} and {_MOST_VALUE:g}.")
        return np.array(told, dtype=np.float64)
    places = {label: place for place, label in enumerate(contract.labels)}
    try:
        return np.array([places[_label(label)] for label in told], dtype=np.int64)
    except KeyError:
        raise BadInput(f"'{one}' must be one of the model's labels: {listed(contract.labels, 128)}.") from None


def _label(told: Any) -> str:
    # Labels such as the digits are written as numbers by many a client.
    if isinstance(told, int) and not isinstance(told, bool) and abs(told) < 2**63:
        return str(told)
    return told if isinstance(told, str) else ""


def _rows(inputs: Any, contract: Contract, body: bytes) -> Array:
    if contract.columns:
        return read_table(inputs, contract, body)[0]
    refuse_booleans(body, inputs, contract.input)
    return as_batch(to_array(inputs, contract.input), contract)[0]
