"""What holds for every address: deadlines, traces, keys, origins, memory for bodies, headers of answers."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.model_server.errors import SettingsError
from services.model_server.keys import ApiKeys
from services.model_server.protocols.call import Call
from services.model_server.protocols.patience import patience_s
from services.model_server.protocols.tracing import read_trace
from tests.services.model_server.parts import FolderStore, ask, run, serving

ONE = [[1.0, 2.0], [3.0, 4.0]]
TFS, INFER = "/v1/models/tiny:predict", "/v2/models/tiny/infer"
V2 = {"inputs": [{"name": "image", "shape": [1, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
BODIES: dict[str, Any] = {
    TFS: {"instances": [ONE]},
    INFER: V2,
    "/invocations": {"inputs": [ONE]},
    "/predict/tiny": {"inputs": [ONE]},
}
JSON = {"content-type": "application/json"}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EVERY_DIALECT = pytest.mark.parametrize("path", BODIES)


def predict(store: FolderStore, path: str, headers: Any = None, **settings: Any) -> httpx.Response:
    return ask(store, "POST", path, BODIES[path], JSON | (headers or {}), **settings)


# ------------------------------------------------------------------------------------------------ headers of answers


@EVERY_DIALECT
def test_every_answer_says_which_version_answered_and_how_long_it_took(store: FolderStore, path: str) -> None:
    headers = predict(store, path).headers
    assert headers["x-model-version"] == "1"
    assert headers["x-model-digest"].startswith("sha256:")
    assert headers["x-mlflow-run-id"] == "run-1"
    timing = dict(part.strip().split(";dur=") for part in headers["server-timing"].split(","))
    assert 0 < float(timing["infer"]) <= float(timing["total"])
    assert headers["x-request-id"]


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready", "/v2/models/tiny/ready", "/v1/models/tiny"])
def test_who_asks_whether_it_is_ready_hears_no_and_not_when_to_ask_again(tmp_path: Path, path: str) -> None:
    empty = FolderStore(tmp_path / "cache")
    response = ask(empty, "GET", path, models="tiny")
    assert (response.status_code, response.json()["ready"]) == (503, False)
    assert "retry-after" not in response.headers  # urllib3 would wait and ask again, and its caller never hear "no"


@EVERY_DIALECT
def test_who_cannot_be_answered_yet_hears_when_to_ask_again(tmp_path: Path, path: str) -> None:
    response = predict(FolderStore(tmp_path / "cache"), path, models="tiny")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-1", True), ("a" * 128, True), ("a" * 129, False), ("two words", False), ("", False)]
)
def test_a_request_id_is_kept_if_it_is_a_plain_word(store: FolderStore, sent: str, kept: bool) -> None:
    answered = ask(store, "GET", "/livez", headers={"x-request-id": sent}).headers["x-request-id"]
    assert (answered == sent) == kept
    assert answered


# ---------------------------------------------------------------------------------------------------------- deadlines


@pytest.mark.parametrize(
    ("prefer", "envoy", "seconds"),
    [
        (None, None, None),
        ("wait=5", None, 5),
        ("respond-async, Wait = 10", None, 10),
        ('foo; bar="", wait="3"; baz', None, 3),
        ("wait=0", None, 0),
        ("wait=soon", None, None),
        ("wait=-1", None, None),
        ("await=5", None, None),
        ("wait=99999999999999999999", None, None),
        (None, "250", 0.25),
        (None, "abc", None),
        (None, "-5", None),
        (None, "1.5", None),
        (None, "٣", None),
        ("wait=1", "5000", 1),
        ("wait=9", "5000", 5),
    ],
)
def test_a_client_says_how_long_it_waits_as_http_and_envoy_do(
    prefer: str | None, envoy: str | None, seconds: float | None
) -> None:
    assert patience_s(prefer, envoy) == seconds


@EVERY_DIALECT
@pytest.mark.parametrize("header", [{"prefer": "wait=0"}, {"x-envoy-expected-rq-timeout-ms": "0"}])
def test_a_deadline_that_is_over_is_honoured_before_work_starts(
    store: FolderStore, path: str, header: dict[str, str]
) -> None:
    async def work() -> None:
        async with serving(store) as server:
            (model,) = server.engine.loaded()
            ran: list[Any] = []
            model.batcher._run = ran.append
            response = await server.client.post(path, json=BODIES[path], headers=header)
            # Triton, whose codes the Open Inference Protocol has here, calls it unavailable.
            assert response.status_code == (503 if path == INFER else 504)
            body = response.json()
            assert "deadline" in (body.get("error") or body["message"])
            assert (body.get("error_code") == "DEADLINE_EXCEEDED") == (path == "/invocations")
            assert not ran

    run(work())


def test_a_client_may_wait_for_less_than_the_server_allows_and_not_for_more(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store, deadline_s=10) as server:
            (model,) = server.engine.loaded()
            asked: list[float] = []
            submit = model.batcher.submit

            async def noted(rows: Any, deadline: float) -> Any:
                asked.append(deadline)
                return await submit(rows, deadline)

            model.batcher.at_once, model.batcher.submit = (lambda _: None), noted
            for seconds in (3600, 10, 5):
                await server.client.post(TFS, json=BODIES[TFS], headers={"prefer": f"wait={seconds}"})
            await server.client.post(TFS, json=BODIES[TFS])
            most, same, less, none = asked
            assert most <= same <= none
            assert less < most

    run(work())


# ------------------------------------------------------------------------------------------------------------- traces


def test_a_trace_goes_on_with_a_step_of_our_own(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            server.app.state.log.requests = True
            headers = {"traceparent": PARENT, "tracestate": "vendor=a,other=b"}
            response = await server.client.post(TFS, json=BODIES[TFS], headers=headers)
            version, trace, span, flags = response.headers["traceparent"].split("-")
            assert (version, trace, flags) == ("00", PARENT[3:35], "01")
            assert span != PARENT[36:52]
            assert response.headers["tracestate"] == "vendor=a,other=b"
            (line,) = server.events("request")
            assert (line["trace"], line["span"], line["parent"]) == (trace, span, PARENT[36:52])
            assert "traceparent" not in (await server.client.get("/livez")).headers

    run(work())


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "-more",
        PARENT + "0",
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        PARENT.replace("4bf9", "4bg9"),
        PARENT.replace("-", "_"),
    ],
)
def test_a_trace_that_the_standard_does_not_allow_is_left_alone(parent: str) -> None:
    assert read_trace([parent], ["a=b"]) is None


def test_two_parents_are_none() -> None:
    assert read_trace([PARENT, PARENT], []) is None


def test_a_later_version_of_the_standard_is_read_as_far_as_it_is_known() -> None:
    trace = read_trace(["cc" + PARENT[2:-2] + "ff-what-the-future-brings"], [])
    assert trace is not None
    assert (trace.trace_id, trace.flags) == (PARENT[3:35], "01")
    assert read_trace(["cc" + PARENT[2:] + "x"], []) is None


def test_states_are_joined_and_dropped_when_they_are_too_long() -> None:
    trace = read_trace([PARENT], ["a=b", "c=d"])
    assert trace is not None
    assert trace.headers()[1] == (b"tracestate", b"a=b,c=d")
    long = read_trace([PARENT], ["a=" + "b" * 600])
    assert long is not None
    assert [name for name, _ in long.headers()] == [b"traceparent"]


# --------------------------------------------------------------------------------------------------------------- keys


def test_every_key_of_the_file_and_the_environment_opens(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("old\n\n  new  \n")
    settings = {"api_key": "main", "api_key_file": tmp_path / "keys"}
    for key in ("main", "old", "new"):
        assert predict(store, TFS, {"x-api-key": key}, **settings).status_code == 200
        assert predict(store, TFS, {"authorization": f"Bearer {key}"}, **settings).status_code == 200
    for wrong in ({}, {"x-api-key": "ol"}, {"x-api-key": ""}, {"authorization": "Basic main"}, {"x-api-key": b"\xe9"}):
        response = predict(store, TFS, wrong, **settings)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
    assert ask(store, "GET", "/livez", **settings).status_code == 200


def test_a_key_is_never_logged(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store, api_key="s3cret") as server:
            server.app.state.log.requests = True
            for headers in ({"x-api-key": "s3cret"}, {"authorization": "Bearer s3cret"}, {"x-api-key": "gu3ss"}):
                await server.client.post(TFS, json=BODIES[TFS], headers=headers)
            lines = server.events("request")
            assert len(lines) == 3
            assert "s3cret" not in json.dumps(lines)
            assert "gu3ss" not in json.dumps(lines)

    run(work())


def test_keys_are_exchanged_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("old\n")
    keys = ApiKeys(None, file)
    assert keys.accept("old")
    file.write_text("old\nnew\n")
    keys.look()
    assert keys.accept("old")
    assert keys.accept("new")
    replacement = tmp_path / "replacement"
    replacement.write_text("new\n")
    os.replace(replacement, file)  # noqa: PTH105 - as Kubernetes does
    keys.look()
    assert not keys.accept("old")
    file.unlink()
    keys.look()
    assert keys.accept("new"), "a file that is gone for a moment locks nobody out"


def test_a_change_of_the_keys_holds_at_every_address_also_if_nobody_asks_meanwhile(
    store: FolderStore, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("old\nrevoked\n")
    asked = (("POST", TFS), ("POST", INFER), ("POST", "/invocations"), ("GET", "/models"), ("POST", "/predict/tiny"))

    async def work() -> None:
        async with serving(store, api_key_file=file) as server:

            async def statuses(key: str) -> set[int]:
                headers = {"x-api-key": key}
                calls = (server.client.request(method, path, headers=headers) for method, path in asked)
                return {answer.status_code for answer in [await call for call in calls]}

            assert 401 not in await statuses("revoked")
            file.write_text("old\n")
            async with asyncio.timeout(20):
                while not server.events("api_keys_changed"):
                    await asyncio.sleep(0.01)
            file.unlink()
            server.app.state.keys.look()
            assert await statuses("revoked") == {401}
            assert 401 not in await statuses("old")

    run(work())


def test_the_log_says_what_becomes_of_the_keys_and_never_a_key(store: FolderStore, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("s3cret\n")

    async def work() -> None:
        async with serving(store, api_key="main", api_key_file=file) as server:
            keys = server.app.state.keys
            keys.look()
            file.unlink()
            for _ in range(3):
                keys.look()
            file.write_text("\n")
            for _ in range(3):
                keys.look()
            gone, empty = server.events("api_keys_not_read")
            assert {event["level"] for event in (gone, empty)} == {"warning"}
            assert "cannot be read" in gone["reason"]
            assert "has no key" in empty["reason"]
            assert [event["still_right"] for event in (gone, empty)] == [2, 2]
            assert server.events("api_keys_changed") == []
            file.write_text("s3cret\nan0ther\n")
            for _ in range(3):
                keys.look()
            (changed,) = server.events("api_keys_changed")
            assert (changed["level"], changed["keys"]) == ("info", 3)
            told = json.dumps([gone, empty, changed])
            assert not any(key in told for key in ("s3cret", "an0ther", "main"))

    run(work())


def test_a_file_of_keys_that_comes_back_as_it_was_is_told(tmp_path: Path) -> None:
    file, told = tmp_path / "keys", list[str]()
    file.write_text("old\n")
    keys = ApiKeys(None, file, lambda event, **_: told.append(event))
    file.rename(tmp_path / "aside")
    keys.look()
    (tmp_path / "aside").rename(file)
    keys.look()
    keys.look()
    assert told == ["api_keys_not_read", "api_keys_changed"]


def test_a_file_without_keys_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n \n")
    with pytest.raises(SettingsError, match="has no key; put one in each line"):
        ApiKeys(None, tmp_path / "empty")
    with pytest.raises(SettingsError, match=r"cannot be read: No such file"):
        ApiKeys(None, tmp_path / "missing")


# --------------------------------------------------------------------------------------------------- memory for bodies


def test_long_bodies_of_all_requests_share_what_memory_there_is(store: FolderStore) -> None:
    body = json.dumps(BODIES[TFS] | {"padding": "x" * 100_000})

    async def work() -> None:
        async with serving(store, bodies_bytes=150_000) as server:
            stats = server.engine.stats
            alone = await server.client.post(TFS, content=body)
            assert alone.status_code != 429
            assert stats.body_bytes == 0, "what a request held is given back"
            stats.body_bytes = 100_000  # another request holds it
            for path, status in ((TFS, 429), (INFER, 503), ("/invocations", 429), ("/predict/tiny", 429)):
                refused = await server.client.post(path, content=body, headers=JSON)
                assert (refused.status_code, refused.headers["retry-after"]) == (status, "1")
            small = await server.client.post(TFS, json=BODIES[TFS])
            assert small.status_code == 200
            assert stats.body_bytes == 100_000

    run(work())


def test_a_body_without_a_length_is_counted_as_it_comes(store: FolderStore) -> None:
    pieces: list[dict[str, Any]] = [
        {"body": b"x" * 50_000, "more_body": True},
        {"body": b"x" * 50_000, "more_body": True},
        {"body": b"x"},
    ]
    held = []

    async def work() -> None:
        async with serving(store) as server:
            left = list(pieces)
            call: Call

            async def receive() -> Any:
                held.append(call.held)
                return {"type": "http.request", **left.pop(0)}

            call = Call({"headers": []}, receive, 2**20, server.engine.stats)
            await call.body()
            assert held == [0, 0, 100_000]
            assert server.engine.stats.body_bytes == 100_001
            call.release()
            assert server.engine.stats.body_bytes == 0

    run(work())


@pytest.mark.parametrize("length", ["0" * 5000 + "9", "9" * 5000])
def test_a_length_of_thousands_of_digits_is_no_error_of_the_server(store: FolderStore, length: str) -> None:
    async def work() -> None:
        async with serving(store) as server:
            request = httpx.Request("POST", f"http://test{TFS}", content=b"{}", headers={"content-length": length})
            response = await server.client.send(request)
            assert response.status_code in (400, 413)

    run(work())


# --------------------------------------------------------------------------------------------------------------- pages

ORIGIN = "https://pages.example.org"
ASKS = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}


def test_other_origins_get_no_headers_by_default(store: FolderStore) -> None:
    for response in (predict(store, TFS, {"origin": ORIGIN}), ask(store, "OPTIONS", TFS, headers=ASKS)):
        assert not any(name.startswith("access-control") for name in response.headers)


@EVERY_DIALECT
def test_a_page_of_a_listed_origin_may_ask_and_read(store: FolderStore, path: str) -> None:
    settings = {"cors": (ORIGIN,), "api_key": "s3cret"}
    preflight = ask(store, "OPTIONS", path, headers=ASKS, **settings)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-api-key" in preflight.headers["access-control-allow-headers"]
    assert preflight.headers["vary"] == "origin"
    response = predict(store, path, {"origin": ORIGIN, "x-api-key": "s3cret"}, **settings)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "x-model-version" in response.headers["access-control-expose-headers"]
    refused = predict(store, path, {"origin": ORIGIN}, **settings)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "https://pages.example.org.evil.org"])
def test_a_page_of_another_origin_may_not(store: FolderStore, origin: str) -> None:
    preflight = ask(store, "OPTIONS", TFS, headers=ASKS | {"origin": origin}, cors=(ORIGIN,))
    response = predict(store, TFS, {"origin": origin}, cors=(ORIGIN,))
    for answer in (preflight, response):
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "origin"


def test_every_origin_may_where_the_setting_says_so(store: FolderStore) -> None:
    response = predict(store, TFS, {"origin": "https://anybody.example"}, cors=("*",))
    assert response.headers["access-control-allow-origin"] == "*"
    assert "vary" not in response.headers
