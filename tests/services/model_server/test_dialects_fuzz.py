"""Whatever comes in any dialect is answered or refused: the server never fails, nor repeats it at length."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from services.model_server.errors import BadRequest, RequestError
from services.model_server.images import Wishes, draw, form_of, kind_of, read_head
from tests.services.model_server.drawn import PNG, chunk, contract_of, exif, golden_of, jpeg, png, png_of
from tests.services.model_server.fuzzing import Fuzzed
from tests.services.model_server.parts import NUMBERS, WORDS

MODELS = {
    "grey": "multiclass grey",
    "colour": "binary colour",
    "numbers": "regression numbers",
    "words": "binary words",
}
NAMES = ["image", "row", *(column["name"] for column in (*NUMBERS, *WORDS))]
# What a request may be refused with; 5xx would be a failure of the server.
REFUSED = {400, 404, 405, 413, 415, 429}
BOUNDARY = "mark"
KINDS = [
    "application/json",
    "application/json; charset=utf-8",
    "text/csv",
    "image/png",
    "image/jpeg",
    f"multipart/form-data; boundary={BOUNDARY}",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "",
]
fuzz = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    made = Fuzzed(tmp_path_factory.mktemp("fuzzed"), MODELS)
    yield made
    made.close()


def check(response: httpx.Response) -> None:
    """Answered, or refused with a sentence of at most 256 bytes in the dialect's own form."""
    if response.status_code == 200:
        return
    assert response.status_code in REFUSED, response.text
    if response.headers["content-type"] == "application/json":
        body = response.json()
        message = body.get("error") or body["message"]
    else:
        message = response.text
    assert 0 < len(message.encode()) <= 256, message


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 40),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=300),
    st.sampled_from(NAMES),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=9)), inner, max_size=4),
    ),
)
images = st.lists(st.lists(st.lists(st.integers(0, 16), min_size=2, max_size=2), min_size=3, max_size=3), max_size=3)
rows = st.lists(
    st.lists(st.one_of(st.floats(0, 90), st.sampled_from(["Oslo", "1"]), st.none()), max_size=4), max_size=3
)
objects = st.lists(st.dictionaries(st.sampled_from(NAMES), st.one_of(scalars, anything), max_size=5), max_size=3)
values = st.one_of(images, rows, objects, anything)
documents = st.dictionaries(
    st.sampled_from(
        [
            "inputs",
            "instances",
            "examples",
            "context",
            "signature_name",
            "dataframe_split",
            "dataframe_records",
            "top_k",
        ]
    ),
    st.one_of(values, st.fixed_dictionaries({"data": values}, optional={"columns": values, "index": anything})),
    max_size=3,
)
paths = st.one_of(
    st.sampled_from(["/predict/{}", "/v1/models/{}:predict", "/v1/models/{}:classify", "/v1/models/{}:regress"]),
    st.just("/invocations?model={}"),
).flatmap(lambda path: st.sampled_from(sorted(MODELS)).map(path.format))


@fuzz
@given(path=paths, document=st.one_of(documents, anything), kind=st.sampled_from(KINDS))
def test_whatever_json_comes_is_answered_or_refused(fuzzed: Fuzzed, path: str, document: Any, kind: str) -> None:
    check(fuzzed.send(path, json.dumps(document).encode(), {"content-type": kind} if kind else {}))


@fuzz
@given(path=paths, content=st.binary(max_size=400), kind=st.sampled_from(KINDS))
def test_whatever_bytes_come_are_answered_or_refused(fuzzed: Fuzzed, path: str, content: bytes, kind: str) -> None:
    check(fuzzed.send(path, content, {"content-type": kind} if kind else {}))


tables = st.lists(
    st.lists(st.one_of(st.sampled_from([*NAMES, "Oslo", "1", "", "nan", "x,y"]), st.text(max_size=6)), max_size=5).map(
        lambda cells: ",".join(cells)
    ),
    max_size=4,
).map("\n".join)


@fuzz
@given(
    path=st.sampled_from(
        ["/predict/numbers", "/predict/words", "/invocations?model=numbers", "/invocations?model=words"]
    ),
    text=tables,
    header=st.sampled_from(["", "header=yes", "header=no"]),
)
def test_whatever_csv_comes_is_answered_or_refused(fuzzed: Fuzzed, path: str, text: str, header: str) -> None:
    path += ("&" if "?" in path else "?") + header
    check(fuzzed.send(path, text.encode("utf-8", "replace"), {"content-type": "text/csv"}))


PIXELS = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
FILES = [
    png(PIXELS),
    png(PIXELS, "P"),
    png(PIXELS, "LA"),
    png(PIXELS, "RGBA"),
    png(PIXELS, "1"),
    png(PIXELS, exif=exif(6)),
    jpeg(PIXELS),
    jpeg(PIXELS, "L"),
    jpeg(PIXELS, "CMYK"),
    jpeg(PIXELS, progressive=True, exif=b"Exif\0\0" + exif(3, ">")),
    png_of(30, 40, colours=6, depth=16),
]
FORMS = [
    form_of(contract_of(shape), golden_of(np.zeros((2, *shape), np.float32)))
    for shape in ((8, 8), (5, 9, 3), (2, 2, 1))
]
wishes = st.builds(
    Wishes,
    st.sampled_from(["auto", "yes", "no"]),
    st.sampled_from(["contain", "stretch"]),
    st.sampled_from(["yes", "no"]),
)


def attempt(body: bytes, place: int, wish: Wishes) -> None:
    """A sample of the right form within its range, or a refusal."""
    form = FORMS[place]
    assert form is not None
    kind = kind_of(body)
    if kind is None:
        return
    try:
        values, done = draw(read_head(body, kind, 10**6), form, wish)
    except RequestError:
        return
    assert (values.shape, values.dtype) == (form.shape, form.dtype)
    assert np.isfinite(values).all()
    assert values.min() >= form.low
    assert values.max() <= form.high
    assert done.resized == (form.width, form.height)


@fuzz
@given(st.sampled_from(FILES), st.integers(0, 2), wishes)
def test_every_good_picture_is_drawn_in_every_way(body: bytes, place: int, wish: Wishes) -> None:
    kind = kind_of(body)
    assert kind is not None
    form = FORMS[place]
    assert form is not None
    draw(read_head(body, kind, 10**6), form, wish)
    attempt(body, place, wish)


@fuzz
@given(st.sampled_from(FILES), st.data(), st.integers(0, 2), wishes)
def test_a_picture_cut_off_anywhere_is_refused_or_drawn(
    body: bytes, data: st.DataObject, place: int, wish: Wishes
) -> None:
    attempt(body[: data.draw(st.integers(0, len(body)))], place, wish)


@pytest.mark.parametrize("body", [file for file in FILES if file.startswith(PNG)])
def test_a_png_cut_off_anywhere_is_refused(body: bytes) -> None:
    for length in range(len(PNG), len(body), 7):
        with pytest.raises(BadRequest):
            read_head(body[:length], "png", 10**6)


@fuzz
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6),
    st.integers(0, 2),
    wishes,
)
def test_a_picture_with_bytes_changed_is_refused_or_drawn(
    body: bytes, changes: list[tuple[int, bytes]], place: int, wish: Wishes
) -> None:
    damaged = bytearray(body)
    for at, what in changes:
        at %= len(damaged)
        damaged[at : at + len(what)] = what
    attempt(bytes(damaged), place, wish)


@fuzz
@given(
    st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
    st.tuples(*[st.integers(0, 255)] * 5),
    st.lists(
        st.tuples(st.sampled_from([b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"zTXt", b"acTL"]), st.binary(max_size=60))
    ),
    wishes,
)
def test_a_png_of_right_parts_and_wrong_content_is_refused_or_drawn(
    size: tuple[int, ...], rest: tuple[int, ...], parts: list[tuple[bytes, bytes]], wish: Wishes
) -> None:
    body = PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, *rest))
    attempt(body + b"".join(chunk(*part) for part in parts) + chunk(b"IEND", b""), 0, wish)


@fuzz
@given(st.sampled_from([b"\xff\xd8\xff", PNG, PNG + chunk(b"IHDR", bytes(13))]), st.binary(max_size=300), wishes)
def test_noise_behind_the_first_bytes_of_a_picture_is_refused_or_drawn(
    start: bytes, noise: bytes, wish: Wishes
) -> None:
    attempt(start + noise, 1, wish)


@fuzz
@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.binary(max_size=50), st.sampled_from([b'Content-Disposition: form-data; name="f"; filename="x"'])
            ),
            st.one_of(st.binary(max_size=60), st.sampled_from(FILES[:2])),
        ),
        max_size=4,
    ),
    st.binary(max_size=10),
)
def test_whatever_form_comes_is_answered_or_refused(
    fuzzed: Fuzzed, parts: list[tuple[bytes, bytes]], end: bytes
) -> None:
    mark = f"--{BOUNDARY}".encode()
    body = b"".join(mark + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    check(fuzzed.send("/predict/grey", body + mark + b"--", kind))
    check(fuzzed.send("/predict/grey", body + end, kind))


@pytest.mark.parametrize(
    "path", ["/v1/models/grey/versions/{}", "/predict/grey?version={}", "/v1/models/grey/versions/{}:predict"]
)
@pytest.mark.parametrize("version", ["9" * 5000, "²", "0" * 5000 + "1", "-1", "1e3", "%ff", "1" * 19])
def test_whatever_is_called_a_version_is_found_or_refused(fuzzed: Fuzzed, path: str, version: str) -> None:
    check(fuzzed.send(path.format(version), b'{"inputs": [[[1,2],[3,4],[5,6]]]}', {}))
    check(fuzzed.send(path.format(version), b"", {}, "GET"))


@pytest.mark.parametrize("format_", ["GIF", "BMP", "WEBP", "TIFF", "ICO", "PPM"])
def test_no_other_format_reaches_a_decoder(fuzzed: Fuzzed, format_: str) -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, format_)
    for kind in ("image/png", "image/x"):
        assert fuzzed.send("/predict/grey", file.getvalue(), {"content-type": kind}).status_code == 415
