"""The OpenAPI document: valid by the standard's own schema, and true of what the server takes and answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from services.model_server.settings import Ref
from tests.services.model_server.parts import FolderStore, run, serving, write_kind, write_package

# The schema that https://spec.openapis.org/oas/3.1/schema/2022-10-07 is; without the schemas inside, checked below.
STANDARD = json.loads((Path(__file__).parent / "openapi_3_1.json").read_text())
KINDS = (
    "multiclass grey",
    "binary colour",
    "regression grey",
    "multiclass words",
    "binary numbers",
    "regression numbers",
)
METHODS = ("get", "post")


@pytest.fixture(scope="module", params=KINDS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A server of one kind of model, its document, and what it answered to the document's own requests."""
    folder = tmp_path_factory.mktemp("openapi")
    store = FolderStore(folder / "cache")
    store.add(write_kind(folder / "v1", request.param), "mo del.ö", "7")
    found: Seen = run(look(store, feedback=True))
    return found


class Seen:
    def __init__(self, document: dict[str, Any], answers: list[tuple[str, str, Any, httpx.Response]]) -> None:
        self.document = document
        self.answers = answers
        self._registry = Registry().with_resource(
            "urn:document", Resource.from_contents(document, default_specification=DRAFT202012)
        )

    def errors(self, schema: Any, value: Any) -> list[str]:
        """What of a value a schema of the document does not allow."""
        validator = Draft202012Validator(at(schema), registry=self._registry)
        return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield path, method, item[method]


def at(schema: Any) -> Any:
    """Lets the references of a part of the document find the whole of it."""
    if isinstance(schema, dict):
        return {
            key: f"urn:document{value}" if key == "$ref" and isinstance(value, str) else at(value)
            for key, value in schema.items()
        }
    return [at(item) for item in schema] if isinstance(schema, list) else schema


async def look(store: FolderStore, **settings: Any) -> Seen:
    async with serving(store, **settings) as server:
        document = (await server.client.get("/openapi.json")).json()
        answers = []
        for path, item in document["paths"].items():
            for method in METHODS:
                if method in item:
                    for body in bodies(item[method]):
                        response = await server.client.request(method.upper(), path, json=body)
                        answers.append((path, method, body, response))
        return Seen(document, answers)


def bodies(operation: dict[str, Any]) -> Iterator[Any]:
    """Requests that an operation describes: its example, or one by the first alternative of its schema."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        yield None
    elif "example" in content:
        yield content["example"]
    elif not operation["requestBody"]["required"]:
        yield None
        yield {"ready": True}


def test_the_document_is_valid_by_the_standards_own_schema(seen: Seen) -> None:
    errors = list(Draft202012Validator(STANDARD).iter_errors(seen.document))
    assert not errors, [f"{error.json_path}: {error.message[:200]}" for error in errors]


def test_every_schema_is_one_and_every_reference_leads_somewhere(seen: Seen) -> None:
    def schemas(part: Any) -> Iterator[Any]:
        if isinstance(part, dict):
            if "schema" in part:
                yield part["schema"]
            for value in part.values():
                yield from schemas(value)
        elif isinstance(part, list):
            for value in part:
                yield from schemas(value)

    found = [*schemas(seen.document["paths"]), *seen.document["components"]["schemas"].values()]
    assert len(found) > 50
    for schema in found:
        Draft202012Validator.check_schema(schema)
    references = {
        text.split('"')[0]
        for text in json.dumps(seen.document, ensure_ascii=False).split('"$ref":"#/')
        if text[:1] == "c"
    } | set(references_of(seen.document))
    for reference in references:
        part: Any = seen.document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert isinstance(part, dict)


def references_of(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references_of(value)
    elif isinstance(part, list):
        for value in part:
            yield from references_of(value)


def test_every_operation_has_a_name_of_its_own(seen: Seen) -> None:
    names = [operation["operationId"] for _, _, operation in seen.operations()]
    assert len(names) == len(set(names)) > 20


def test_every_example_is_allowed_by_its_schema_and_taken_by_the_server(seen: Seen) -> None:
    taken = 0
    for path, method, body, response in seen.answers:
        operation = seen.document["paths"][path][method]
        assert response.status_code == 200, (path, response.text)
        if body is not None:
            content = operation["requestBody"]["content"]["application/json"]
            assert not seen.errors(content["schema"], body), path
            taken += 1
    assert taken >= 5, "each dialect predicts at least once"


def test_every_answer_is_what_the_document_says(seen: Seen) -> None:
    for path, method, _, response in seen.answers:
        described = seen.document["paths"][path][method]["responses"]["200"]
        for kind, content in described.get("content", {}).items():
            assert response.headers["content-type"].startswith(kind), path
            value = response.json() if kind == "application/json" else response.text
            assert not seen.errors(content["schema"], value), path
        for name in described.get("headers", {}):
            if not name.startswith(("x-model", "x-mlflow")):
                assert name in response.headers, (path, name)


def test_what_the_schema_does_not_allow_is_refused_by_the_server_as_the_document_says(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1"), "tiny", "1")
    wrong: list[Any] = [
        [],
        {},
        {"instances": []},
        {"instances": [[1]]},
        {"instances": [[[1, 2], [3, "4"]]]},
        {"instances": [[[1, 2], [3]]]},
    ]
    path = "/v1/models/tiny:predict"

    async def work() -> None:
        look_at = await look(store)
        described = look_at.document["paths"][path]["post"]
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        async with serving(store) as server:
            for body in wrong:
                assert look_at.errors(schema, body), body
                response = await server.client.post(path, json=body)
                error = described["responses"][str(response.status_code)]["content"]["application/json"]["schema"]
                assert not look_at.errors(error, response.json())

    run(work())


def test_two_loaded_versions_and_two_models_are_described_apart(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1"), "tiny", "1")
    store.add(write_package(tmp_path / "v2", shape=(3,)), "tiny", "2", alias="previous")
    store.add(write_package(tmp_path / "other"), "other", "1")
    models = (Ref("tiny", "champion"), Ref("tiny", "previous"), Ref("other", "champion"))
    found = run(look(store, models=models))
    paths = found.document["paths"]
    assert {"/v1/models/tiny/versions/1:predict", "/v1/models/tiny/versions/2:predict"} <= paths.keys()
    assert "/v1/models/other:predict" in paths
    for label, version in (("champion", 1), ("previous", 2)):
        of_label, of_version = [
            paths[f"/v1/models/tiny/{start}:predict"]["post"]["requestBody"]
            for start in (f"labels/{label}", f"versions/{version}")
        ]
        assert of_label == of_version
        assert f"/v1/models/tiny/labels/{label}/metadata" in paths
    assert not any("/labels/" in path and "tiny" not in path and "other/labels/champion" not in path for path in paths)
    schemas = found.document["components"]["schemas"]
    assert schemas["tiny.v1.sample"]["items"]["maxItems"] == 2
    assert schemas["tiny.v2.sample"]["maxItems"] == 3
    (versions, *_) = paths["/predict/tiny"]["post"]["parameters"]
    assert versions["schema"]["enum"] == ["1", "2"]
    assert not list(Draft202012Validator(STANDARD).iter_errors(found.document))


def test_the_document_says_where_the_server_is_and_which_error_is_no_json(seen: Seen) -> None:
    (server,) = seen.document["servers"]
    # Beside the document: a proxy may have put it below another path.
    assert urljoin("http://proxy/below/openapi.json", f"{server['url']}/livez") == "http://proxy/below/livez"
    assert "/invocations" in seen.document["info"]["description"]
    content = seen.document["paths"]["/invocations"]["post"]["responses"]["415"]["content"]
    others = {
        kind
        for path, method, operation in seen.operations()
        for status, response in operation["responses"].items()
        if status >= "400" and (path, status) != ("/invocations", "415")
        for kind in response.get("content", {})
    }
    assert (set(content), others) == ({"text/plain"}, {"application/json"})


def test_a_server_without_models_describes_itself(tmp_path: Path) -> None:
    found = run(look(FolderStore(tmp_path / "cache")))
    assert "/v2/health/live" in found.document["paths"]
    assert "/invocations" not in found.document["paths"]
    assert not list(Draft202012Validator(STANDARD).iter_errors(found.document))


def test_keys_are_described_where_they_are_wanted(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1"), "tiny", "1")

    async def work() -> dict[str, Any]:
        async with serving(store, api_key="s3cret") as server:
            assert (await server.client.get("/openapi.json")).status_code == 401
            document: dict[str, Any] = (
                await server.client.get("/openapi.json", headers={"x-api-key": "s3cret"})
            ).json()
            return document

    document = run(work())
    assert document["security"] == [{"key": []}, {"bearer": []}]
    assert document["paths"]["/readyz"]["get"]["security"] == []
    assert "s3cret" not in json.dumps(document)
    damaged = copy.deepcopy(document)
    damaged["paths"]["/readyz"]["get"]["responses"]["200"].pop("description")
    assert list(Draft202012Validator(STANDARD).iter_errors(damaged)), "the standard's schema can say no"


def test_feedback_is_described_where_it_is_wanted(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1"), "tiny", "1")
    assert "/feedback" not in run(look(store)).document["paths"]
    found: Seen = run(look(store, feedback=True))
    described = found.document["paths"]["/feedback"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    right = {"model": "tiny", "inputs": [[1, 2], [3, 4]], "label": "one"}
    wrong = [
        right | {"label": "nine"},
        right | {"request_id": "a"},
        {"label": "one"},
        right | {"inputs": [[1, 2]]},
        right | {"inputs": 0},
    ]

    async def work() -> None:
        async with serving(store, feedback=True) as server:
            response = await server.client.post("/feedback", json=right)
            assert response.status_code == 200
            answer = described["responses"]["200"]["content"]["application/json"]["schema"]
            assert not found.errors(answer, response.json())
            assert not found.errors(schema, right)
            for body in wrong:
                assert found.errors(schema, body)
                assert (await server.client.post("/feedback", json=body)).status_code in (400, 404)

    run(work())
