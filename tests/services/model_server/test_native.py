"""The own dialect takes pictures, forms and CSV beside JSON, and says of each what it did or what is wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_digits

from services.model_server.errors import BadRequest
from services.model_server.protocols.desk import Desk
from services.model_server.protocols.native.multipart import parts_of
from tests.services.model_server.drawn import chunk, jpeg, png, png_of
from tests.services.model_server.parts import (
    NUMBER_ROWS,
    WORD_ROWS,
    FolderStore,
    ask,
    expected,
    run,
    serving,
    write_kind,
    write_package,
)

PREDICT = "/predict/tiny"
PIXELS = np.array([[0, 51], [204, 255]], np.uint8)
SAMPLE = PIXELS.astype(np.float32) * 16 / 255
CSV = {"content-type": "text/csv"}


def form_of(*parts: tuple[str, bytes, bool], mark: str = "xxMARKxx") -> tuple[bytes, dict[str, str]]:
    """A form of (name, content, whether it is a file), and its header."""
    body = b""
    for name, content, is_file in parts:
        line = f'Content-Disposition: form-data; name="{name}"' + ('; filename="a.png"' if is_file else "")
        kind = "\r\nContent-Type: application/octet-stream" if is_file else ""
        body += f"--{mark}\r\n{line}{kind}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{mark}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={mark}"}


def close(prediction: dict[str, Any], scores: Any) -> bool:
    return bool(np.allclose(prediction["probabilities"], scores, rtol=1e-4))


# ------------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    "kind", ["image/png", "image/jpeg", "application/json", "application/x-www-form-urlencoded", None]
)
def test_a_picture_is_one_sample_whatever_its_header_says(store: FolderStore, tmp_path: Path, kind: str | None) -> None:
    response = ask(store, "POST", PREDICT, png(PIXELS), {} if kind is None else {"content-type": kind})
    assert response.status_code == 200, response.text
    body = response.json()
    assert close(body["prediction"], expected(tmp_path / "v1", [SAMPLE])[0])
    assert "warnings" not in body
    assert body["image"] == {"format": "png", "size": [2, 2], "resized": [2, 2], "inverted": False, "centred": False}
    assert response.headers["x-model-version"] == "1"


def test_a_jpeg_is_resized_as_the_contract_says(store: FolderStore, tmp_path: Path) -> None:
    large = np.kron(PIXELS, np.ones((64, 64), np.uint8))
    body = ask(store, "POST", PREDICT, jpeg(large, quality=100)).json()
    assert np.allclose(body["prediction"]["probabilities"], expected(tmp_path / "v1", [SAMPLE])[0], atol=0.02)
    assert (body["image"]["format"], body["image"]["size"], body["image"]["resized"]) == ("jpeg", [128, 128], [2, 2])


def test_the_options_of_a_picture_stand_in_the_address(store: FolderStore, tmp_path: Path) -> None:
    body = ask(store, "POST", f"{PREDICT}?invert=yes&top_k=1&version=1", png(255 - PIXELS)).json()
    assert close(body["prediction"], expected(tmp_path / "v1", [SAMPLE])[0])
    assert len(body["prediction"]["top"]) == 1
    assert body["image"]["inverted"] is True


def test_a_dark_picture_is_no_other_scale(tmp_path: Path) -> None:
    inputs = np.random.default_rng(1).integers(0, 17, (4, 2, 2)).astype(np.float32)
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1", golden={"inputs": inputs}), "tiny", "1")
    assert ask(store, "POST", PREDICT, png(np.full((2, 2), 9))).status_code == 200  # 0.56 of 16


def test_a_small_drawing_is_answered_with_the_way_to_a_better_answer(tmp_path: Path) -> None:
    digits = load_digits().images[:16].astype(np.float32)
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1", shape=(8, 8), golden={"inputs": digits}), "tiny", "1")
    small = np.zeros((200, 200), np.uint8)
    small[30:62, 120:152] = np.kron(digits[0] * 255 / 16, np.ones((4, 4)))
    golden, drawing = png(digits[0] * 255 / 16), png(small)
    (warning,) = ask(store, "POST", PREDICT, drawing).json()["warnings"]
    assert "What is drawn is smaller than in the golden samples" in warning
    assert "centre=yes" in warning
    for query, body in (("?centre=yes", drawing), ("", golden)):
        assert "warnings" not in ask(store, "POST", f"{PREDICT}{query}", body).json()
    files = {"a": golden, "b": drawing, "c": drawing}

    async def work() -> httpx.Response:
        async with serving(store) as server:
            response: httpx.Response = await server.client.post(PREDICT, files=files)
            return response

    (warning,) = run(work()).json()["warnings"]
    assert "What is drawn in picture 2 of 3, and in 1 more, is smaller" in warning


@pytest.mark.parametrize("form", ["grey", "colour"])
def test_a_picture_has_the_colours_that_the_contract_wants(tmp_path: Path, form: str) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", f"multiclass {form}"), "tiny", "1")
    pixels = np.arange(18, dtype=np.uint8).reshape(3, 2, 3) * 14
    luma = np.rint(pixels @ [0.299, 0.587, 0.114])
    body = ask(store, "POST", PREDICT, png(pixels)).json()
    wanted = expected(tmp_path / "v1", [(pixels.astype(float) if form == "colour" else luma) * 16 / 255])[0]
    assert np.allclose(body["prediction"]["probabilities"], wanted, atol=0.02)


def test_models_say_what_pictures_they_take(store: FolderStore) -> None:
    (entry,) = ask(store, "GET", "/models").json()["models"]
    assert entry["picture"] == {"width": 2, "height": 2, "channels": 1, "ground": None}


@pytest.mark.parametrize(
    ("body", "headers", "status", "told"),
    [
        (b"GIF89a....", {"content-type": "image/gif"}, 415, "the body is a GIF"),
        (b"GIF89a....", {"content-type": "application/x-www-form-urlencoded"}, 415, "the body is a GIF"),
        (b"RIFF....WEBP", {"content-type": "image/webp"}, 415, "the body is a WebP"),
        (b"BM......", {"content-type": "image/png"}, 415, "the body is a BMP"),
        (b"\0\0\0\x18ftypheic", {"content-type": "image/heic"}, 415, "the body is a HEIC"),
        (b"hello", {"content-type": "image/png"}, 415, "the body is something else"),
        (b"", {"content-type": "image/png"}, 415, "something else"),
        (b"<a/>", {"content-type": "application/xml"}, 415, "This call reads application/json, image/png"),
        (b"1,2", CSV, 400, "CSV is for tables"),
        (png(PIXELS)[:-5], {}, 400, "cut off"),
        (png_of(50_000, 50_000, rows=0), {}, 413, "50000 x 50000 pixels; 25000000 may be"),
        (png_of(2, 2, chunk(b"acTL", bytes(8))), {}, 400, "animated"),
    ],
)
def test_what_is_no_picture_or_a_bad_one_is_refused(
    store: FolderStore, body: bytes, headers: dict[str, str], status: int, told: str
) -> None:
    response = ask(store, "POST", PREDICT, body, headers)
    assert response.status_code == status, response.text
    assert told in response.json()["error"]
    assert len(response.json()["error"]) <= 256


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("invert=perhaps", "invert must be auto, yes or no"),
        ("fit=cover", "fit must be contain or stretch"),
        ("centre=1", "centre must be yes or no"),
        ("top_k=0", "top_k must be a whole number"),
        ("top_k=x", "top_k must be a whole number"),
        ("top_k=99999999999", "top_k must be a whole number"),
    ],
)
def test_an_option_that_cannot_be_is_told(store: FolderStore, query: str, told: str) -> None:
    response = ask(store, "POST", f"{PREDICT}?{query}", png(PIXELS))
    assert response.status_code == 400
    assert told in response.json()["error"]


JSON_BODY = json.dumps({"inputs": SAMPLE.tolist()}).encode()
ROWS_BODY = b"39,Oslo,1200.5,1"


@pytest.mark.parametrize(
    ("query", "body", "headers", "told"),
    [
        (
            "topk=2",
            JSON_BODY,
            {},
            "There is no option 'topk' here; did you mean top_k? There are version, alias, top_k",
        ),
        ("scael=as-is", JSON_BODY, {}, "did you mean scale?"),
        ("xyz=1", JSON_BODY, {}, "There is no option 'xyz' here. There are version, alias, top_k, scale."),
        ("x" * 3000 + "=1", JSON_BODY, {}, "There is no option 'xxx"),
        ("centre=yes", JSON_BODY, {}, "?centre= is for a picture, and this body is JSON."),
        ("header=no", JSON_BODY, {}, "?header= is for CSV, and this body is JSON."),
        ("center=yes", png(PIXELS), {}, "did you mean centre?"),
        ("header=yes", png(PIXELS), {}, "?header= is for CSV, and this body is a picture."),
        ("invert=no", ROWS_BODY, CSV, "?invert= is for a picture, and this body is CSV."),
        ("heder=no", ROWS_BODY, CSV, "did you mean header?"),
    ],
)
def test_what_is_no_option_of_a_body_is_refused_with_what_is(
    store: FolderStore, query: str, body: bytes, headers: dict[str, str], told: str
) -> None:
    response = ask(store, "POST", f"{PREDICT}?{query}", body, headers)
    assert response.status_code == 400
    assert told in response.json()["error"]
    assert len(response.json()["error"]) <= 256


@pytest.mark.parametrize(
    ("body", "headers"),
    [(JSON_BODY, {}), (png(PIXELS), {}), (JSON_BODY, {"content-type": "application/x-www-form-urlencoded"})],
)
def test_options_that_every_body_may_have_are_taken(store: FolderStore, body: bytes, headers: dict[str, str]) -> None:
    response = ask(store, "POST", f"{PREDICT}?top_k=1&scale=as-is&alias=champion", body, headers)
    assert response.status_code == 200, response.text


CURL = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("headers", [CURL, {"content-type": "application/json"}, {}])
def test_what_is_no_json_is_told_what_would_be_read(
    tmp_path: Path, store: FolderStore, headers: dict[str, str]
) -> None:
    tables = FolderStore(tmp_path / "tables")
    tables.add(write_kind(tmp_path / "table", "binary words"), "tiny", "1")
    rows = 'rows as JSON, {"inputs": [...]}, or as CSV with content-type: text/csv'
    for of, body, told in (
        (
            store,
            b"# Regatta\n",
            'The body is no JSON; this call reads JSON, {"inputs": [...]}, or a PNG or JPEG picture.',
        ),
        (tables, b"39,Oslo,1200.5", f"The body is no JSON; this call reads {rows}."),
        (tables, b"\n age,city\n", f"The body is no JSON; this call reads {rows}."),
        (tables, b"39", "or CSV with content-type: text/csv"),
        (store, b'{"inputs": [1', "JSON Parse error"),
    ):
        response = ask(of, "POST", PREDICT, body, headers)
        assert response.status_code == 400
        assert told in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (png(PIXELS), "The body is a PNG picture; this call reads one sample as JSON"),
        (jpeg(PIXELS), "The body is a JPEG picture"),
        (b"GIF89a", "The body is a GIF"),
        (b"39,Oslo", "The body is no JSON"),
    ],
)
def test_an_explanation_says_that_it_reads_json_alone(store: FolderStore, body: bytes, told: str) -> None:
    response = ask(store, "POST", PREDICT.replace("predict", "explain"), body)
    assert response.status_code == 400
    assert told in response.json()["error"]


@pytest.mark.parametrize("kind", ["multiclass numbers", "regression words"])
def test_a_table_takes_no_pictures(tmp_path: Path, kind: str) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", kind), "tiny", "1")
    response = ask(store, "POST", PREDICT, png(PIXELS))
    assert (response.status_code, "rows of a table" in response.text) == (400, True)


def test_a_model_of_rows_of_numbers_takes_pictures_only_if_its_contract_says_so(tmp_path: Path) -> None:
    for version, more in (("1", {}), ("2", {"picture": [2, 2]})):
        facts = {"input": {"name": "image", "dtype": "float32", "shape": [None, 4], "range": [0, 16], **more}}
        store = FolderStore(tmp_path / f"cache{version}")
        store.add(write_package(tmp_path / version, shape=(4,), contract=facts), "tiny", version)
        response = ask(store, "POST", PREDICT, png(PIXELS))
        assert response.status_code == (200 if more else 400), response.text
    assert close(response.json()["prediction"], expected(tmp_path / "2", [SAMPLE.reshape(-1)])[0])


def test_while_a_picture_is_decoded_everybody_else_is_answered(store: FolderStore, monkeypatch: Any) -> None:
    """The decoder is held until another request on the same event loop has its answer."""
    go = threading.Event()
    original = Desk.do

    async def held(self: Desk, work: Any, size: int, deadline: float) -> Any:
        return await original(self, lambda: (go.wait(20), work())[1], size, deadline)

    monkeypatch.setattr(Desk, "do", held)

    async def work() -> None:
        async with serving(store) as server:
            slow = asyncio.ensure_future(server.client.post(PREDICT, content=png(PIXELS)))
            while not any(thread.name.startswith("desk") for thread in threading.enumerate()):
                await asyncio.sleep(0)
            assert (await server.client.get("/livez")).status_code == 200
            assert (await server.client.post(PREDICT, json={"inputs": [[1, 2], [3, 4]]})).status_code == 200
            assert not slow.done()
            go.set()
            assert (await slow).status_code == 200

    run(work())


def test_too_many_pictures_at_once_get_429_and_when_to_come_back(store: FolderStore, monkeypatch: Any) -> None:
    monkeypatch.setattr("services.model_server.protocols.native.dialect.Desk", lambda: Desk(most_waiting=0))
    response = ask(store, "POST", PREDICT, png(PIXELS))
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")


# ---------------------------------------------------------------------------------------------------------------- forms


def test_a_form_with_one_picture_is_answered_as_the_picture_alone(store: FolderStore, tmp_path: Path) -> None:
    body, headers = form_of(("file", png(PIXELS), True), ("top_k", b"2", False))
    answer = ask(store, "POST", PREDICT, body, headers).json()
    assert close(answer["prediction"], expected(tmp_path / "v1", [SAMPLE])[0])
    assert len(answer["prediction"]["top"]) == 2
    assert answer["image"]["size"] == [2, 2]


def test_a_form_with_several_pictures_has_an_answer_for_each_in_their_order(store: FolderStore, tmp_path: Path) -> None:
    other = np.array([[255, 0], [0, 102]], np.uint8)
    body, headers = form_of(("a", png(PIXELS), True), ("b", png(other), True), ("c", png(PIXELS), True))
    answer = ask(store, "POST", f"{PREDICT}?top_k=1", body, headers).json()
    wanted = expected(tmp_path / "v1", [SAMPLE, other * np.float32(16 / 255), SAMPLE])
    assert all(close(found, scores) for found, scores in zip(answer["predictions"], wanted, strict=True))
    assert len(answer["images"]) == 3
    assert len(answer["predictions"][0]["top"]) == 1


def test_a_form_has_no_more_pictures_than_its_samples_have_memory(store: FolderStore, monkeypatch: Any) -> None:
    monkeypatch.setattr("services.model_server.protocols.native.bodies._MOST_SAMPLES_BYTES", 2 * 2 * 2 * 4)
    for count, status in ((2, 200), (3, 413)):
        body, headers = form_of(*[("f", png(PIXELS), True)] * count)
        assert ask(store, "POST", PREDICT, body, headers).status_code == status


def test_the_forms_that_http_clients_write_are_read(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> httpx.Response:
        async with serving(store) as server:
            return await server.client.post(
                PREDICT, files=[("picture", ("x.png", png(255 - PIXELS), "image/png"))], data={"invert": "yes"}
            )

    assert close(run(work()).json()["prediction"], expected(tmp_path / "v1", [SAMPLE])[0])


@pytest.mark.parametrize(
    ("parts", "status", "told"),
    [
        ([("top_k", b"2", False)], 400, "no file"),
        ([("f", png(PIXELS), True), ("colour", b"2", False)], 400, "no option"),
        ([("f", png(PIXELS), True), ("fit", b"x" * 65, False)], 400, "longer than any option"),
        ([("f", png(PIXELS), True), ("fit", b"x", False)], 400, "fit must be"),
        ([("f", png(PIXELS), True), ("g", b"GIF89a", True)], 415, "file 2 of 2 is a GIF"),
        ([("f", b"", True)], 415, "file 1 of 1 is something else"),
        ([("f", png(PIXELS), True)] * 257, 400, "more than 256 files"),
        ([("f", png_of(4000, 4000, rows=0), True)] * 2, 413, "may be in one request"),
    ],
)
def test_a_form_that_cannot_be_answered_is_told(
    store: FolderStore, parts: list[tuple[str, bytes, bool]], status: int, told: str
) -> None:
    body, headers = form_of(*parts)
    response = ask(store, "POST", PREDICT, body, headers)
    assert response.status_code == status, response.text
    assert told in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"", "multipart/form-data", "no boundary"),
        (b"", "multipart/form-data; boundary=", "no boundary"),
        (b"", f"multipart/form-data; boundary={'x' * 71}", "no boundary"),
        (b"nothing", "multipart/form-data; boundary=x", "does not have the boundary"),
        (b"--x", "multipart/form-data; boundary=x", "must end its line"),
        (b"--x\r\n", "multipart/form-data; boundary=x", "cut off"),
        (b"--x\r\na: b\r\n\r\ncontent", "multipart/form-data; boundary=x", "cut off"),
        (b"--x\r\na: b\r\n\r\ncontent\r\n--x--", "multipart/form-data; boundary=x", "without a name"),
        (b"--x\r\n" + b"a" * 9000 + b"\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x", "no head"),
        (b"--x--", "multipart/form-data; boundary=x", "no file"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 40 + b"--x--",
            "multipart/form-data; boundary=x",
            "too many fields",
        ),
    ],
)
def test_a_damaged_form_is_told(body: bytes, kind: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        parts_of(body, kind, 10)


def test_a_form_may_have_something_before_its_first_part_and_a_quoted_boundary() -> None:
    body = (
        b'for old mail programs\r\n--a b\r\ncontent-disposition: form-data; name="f"; filename="n"\r\n\r\n12\r\n--a b--'
    )
    assert parts_of(body, 'Multipart/Form-Data; charset=x; boundary="a b"', 10) == ({}, [b"12"])


# ------------------------------------------------------------------------------------------------------------------ CSV


@pytest.fixture
def numbers(tmp_path: Path) -> FolderStore:
    """A regression on the columns age, bmi and s1."""
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "regression numbers"), "tiny", "1")
    return store


@pytest.fixture
def words(tmp_path: Path) -> FolderStore:
    """A regression on the columns age, city, income and size."""
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "regression words"), "tiny", "1")
    return store


def value(store: FolderStore, text: str, query: str = "") -> Any:
    body = ask(store, "POST", PREDICT + query, text.encode(), CSV).json()
    if "error" in body:
        return body["error"]
    found = body.get("prediction") or body["predictions"]
    return found["value"] if isinstance(found, dict) else [one["value"] for one in found]


def test_one_row_without_names_is_one_sample(numbers: FolderStore, tmp_path: Path) -> None:
    wanted = expected(tmp_path / "v1", NUMBER_ROWS)[:, 0]
    assert value(numbers, "39,21.5,0.1") == pytest.approx(wanted[0], rel=1e-4)
    assert value(numbers, "61, ,-0.2\n") == pytest.approx(wanted[1], rel=1e-4)
    assert value(numbers, "61,NaN,-2e-1\r\n") == pytest.approx(wanted[1], rel=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "39,21.5,0.1\n61,,-0.2\n20,30.25,4\n",
        "age,bmi,s1\n39,21.5,0.1\n61,,-0.2\n20,30.25,4",
        "s1,age,bmi\r\n0.1,39,21.5\r\n\r\n-0.2,61,nan\r\n4,20,30.25\r\n",
        "\ufeffbmi,age,s1\n21.5,39,0.1\nnull,61,-0.2\n30.25,20,4",
    ],
)
def test_rows_come_with_names_in_any_order_or_without(numbers: FolderStore, tmp_path: Path, text: str) -> None:
    assert value(numbers, text) == pytest.approx(expected(tmp_path / "v1", NUMBER_ROWS)[:, 0].tolist(), rel=1e-4)


def test_names_and_one_row_are_a_list_of_one(numbers: FolderStore) -> None:
    assert len(value(numbers, "age,bmi,s1\n39,21.5,0.1")) == 1


def test_words_missing_cells_and_quotes_are_read(words: FolderStore, tmp_path: Path) -> None:
    wanted = expected(tmp_path / "v1", WORD_ROWS)[:, 0]
    assert value(words, "39,Oslo,1200.5,1") == pytest.approx(wanted[0], rel=1e-4)
    assert value(words, '20,,0,"x,y"') == pytest.approx(wanted[2], rel=1e-4)
    both = 'city,size,income,age\nRome,,,61\n"São Paulo",2,7,\n'
    assert value(words, both) == pytest.approx([wanted[1], wanted[3]], rel=1e-4)


def test_many_rows_are_read_some_thousand_at_a_time(numbers: FolderStore, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).uniform(0, 9, (9000, 3)).round(3)
    text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    assert value(numbers, text, "?header=no") == pytest.approx(expected(tmp_path / "v1", rows)[:, 0].tolist(), rel=1e-3)
    lines = text.split("\n")
    lines[5000] = "1,2"
    assert value(numbers, "\n".join(lines)).startswith("Rows 4097 to 8192: Row 905 of 4096 has 2 cells")


@pytest.mark.parametrize(
    ("text", "query", "told"),
    [
        ("", "", "The CSV is empty"),
        ("\n\n", "", "The CSV is empty"),
        ("age,bmi,s1", "", "no rows"),
        ("age,bmi,s2\n1,2,3", "", "missing: s1; unknown: s2"),
        ("age,bmi\n1,2", "", "missing: s1"),
        ("a,b,c\n1,2,3", "", "neither the names of the columns nor a row of them: column 'age' takes numbers"),
        ("1,2", "", "it has 2 cells"),
        ("1,2,x", "", "column 's1' takes numbers"),
        ("1;2;3", "", "separated by commas"),
        ("1\t2\t3", "", "separated by commas"),
        ("0,1,2\n4,5,6", "", "numbers the columns, or is a row of such numbers; say so with ?header="),
        ("1,2,3\n4,5", "", "Row 2 of 2 has 2 cells"),
        ("1,2,3\n4,5,six", "", "Column 's1' takes numbers"),
        ("1,2,3", "?header=yes", "missing: age, bmi, s1"),
        ("age,bmi,s1\n1,2,3", "?header=no", "Column 'age' takes numbers"),
        ("1,2,3", "?header=maybe", "header must be auto, yes or no"),
        ('1,2,"3', "", "cannot be read"),
        ("1," * 60_000, "", "60001 cells"),
        ("x" * 200_000, "", "cannot be read"),
    ],
)
def test_what_is_ambiguous_or_wrong_in_csv_gets_a_sentence(
    numbers: FolderStore, text: str, query: str, told: str
) -> None:
    message = value(numbers, text, query)
    assert told in message
    assert len(message) <= 256


def test_numbers_that_look_like_places_are_a_row_where_that_is_said_or_nothing_follows(numbers: FolderStore) -> None:
    assert isinstance(value(numbers, "0,1,2"), float)
    assert len(value(numbers, "0,1,2\n4,5,6", "?header=no")) == 2


def test_csv_that_is_no_text_is_refused(numbers: FolderStore) -> None:
    response = ask(numbers, "POST", PREDICT, b"1,2,\xff", CSV)
    assert (response.status_code, response.json()["error"]) == (400, "The CSV is not UTF-8.")


def test_names_that_are_words_of_the_table_as_well_are_ambiguous(tmp_path: Path) -> None:
    columns = [{"name": "city", "type": "category", "words": ["city", "Rome"]}]
    from tests.services.model_server.parts import table_graph

    facts = {
        "task": "regression",
        "labels": [],
        "columns": columns,
        "input": {"name": "row", "dtype": "string", "shape": [None, 1], "range": None},
        "output": {"name": "prediction", "dtype": "float32", "shape": [None, 1]},
    }
    graph = table_graph(columns, 1, "Identity", "prediction")
    store = FolderStore(tmp_path / "cache")
    rows = np.array([["city"], ["Rome"]])
    store.add(write_package(tmp_path / "v1", graph=graph, contract=facts, golden={"inputs": rows}), "tiny", "1")
    assert "may be the names of the columns or a row" in value(store, "city\nRome")
    assert len(value(store, "city\nRome", "?header=yes")) == 1
    assert len(value(store, "city\nRome", "?header=no")) == 2
    assert "neither the names of the columns nor words that the model knows" in value(store, "Oslo\nRome")
    assert value(store, "Rome") == pytest.approx(expected(tmp_path / "v1", [["Rome"]])[0, 0], rel=1e-4)


def test_one_model_is_told_by_its_name_and_by_version_or_alias(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1"), "tiny", "1", alias="previous")
    store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")

    async def work() -> None:
        async with serving(store, models="tiny,later") as server:

            async def told(path: str) -> tuple[int, Any]:
                answer = await server.client.get(path)
                return answer.status_code, answer.json()

            entries = (await told("/models"))[1]["models"]
            champion, later, previous = entries
            for entry in entries:
                del entry["staleness_s"]
            for path, entry in (
                ("/models/tiny", champion),
                ("/models/tiny?version=2", champion),
                ("/models/tiny?version=1", previous),
                ("/models/tiny?alias=previous", previous),
                ("/models/later", later),
            ):
                status, found = await told(path)
                del found["staleness_s"]
                assert (status, found) == (200, entry)
            for path, status, words in (
                ("/models/nosuch", 404, "There is no model 'nosuch' here. Models: tiny, later."),
                ("/models/tiny?version=7", 404, "Version 7 of model tiny is not loaded; loaded: 2, 1."),
                ("/models/tiny?alias=staging", 400, "label 'staging' of model tiny; labels here: champion, previous."),
                ("/models/tiny?version=1&alias=champion", 404, "Version 1 of model tiny is not loaded as champion."),
            ):
                answered, found = await told(path)
                assert answered == status
                assert words in found["error"]

    run(work())
