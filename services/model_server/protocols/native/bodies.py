"""What can be asked, by the kind of body: JSON, a picture, a form with pictures, rows as CSV.

application/json       {"inputs": one sample or a list of samples, "top_k": 3}; a sample is an array, or a row of a
                       table: a list of cells, or an object by column name
image/png, image/jpeg  one sample; told by its first bytes, whatever the Content-Type
multipart/form-data    one picture or several as files, and the options below as fields
text/csv               rows of a table, with or without a line of names

?top_k=, and for pictures ?invert=, ?fit= and ?centre=, for CSV ?header=, are options of every body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from services.model_server.errors import BadRequest, BodyTooLarge, UnsupportedMedia
from services.model_server.images import Done, Form, draw, kind_of, read_head
from services.model_server.images.headers import other_kind
from services.model_server.package import Contract
from services.model_server.protocols.cells import listed
from services.model_server.protocols.desk import INLINE_BYTES, Desk
from services.model_server.protocols.native.multipart import parts_of
from services.model_server.protocols.native.options import Options, check_options, read_options
from services.model_server.protocols.native.rows import read_rows
from services.model_server.protocols.tables import read_table
from services.model_server.protocols.tensors import Array, as_batch, load_samples, refuse_booleans, to_array

# What clients call a body of JSON; curl's -d says a form, and means whatever follows it.
_JSON = frozenset({"", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded"})
_CSV = "CSV with content-type: text/csv"
_READS, _ELSE = "This call reads PNG and JPEG pictures", "something else"
_MOST_FILES = 256
# How much memory the samples of one request may take: small files make large samples.
_MOST_SAMPLES_BYTES = 1 << 26


class Asked(NamedTuple):
    """What a request asks.

    Attributes:
        rows: (n, *sample shape) in the contract's dtype.
        single: Whether it was one sample alone, to be answered in kind.
        top_k: How many classes to name.
        pictures: What was done to each of its pictures.
    """

    rows: Array
    single: bool
    top_k: int
    pictures: tuple[Done, ...] = ()


class Reader:
    """Reads bodies. What takes long is done at a desk of its own."""

    def __init__(self, desk: Desk, most_pixels: int) -> None:
        self._desk = desk
        self._most_pixels = most_pixels

    async def read(
        self,
        body: bytes,
        content_type: str | None,
        query: Mapping[str, str],
        contract: Contract,
        form: Form | None,
        deadline: float,
    ) -> Asked:
        """Reads one request that is not JSON.

        Args:
            body: As it came.
            content_type: The header's value.
            query: The options in the address.
            contract: Of the model that is asked.
            form: Of the pictures that its samples are; None if they are none.
            deadline: When the answer is of no use any more, as `time.perf_counter()`.

        Raises:
            BadRequest: it cannot be read, or the model does not take it.
            UnsupportedMedia: it is of a kind that nothing here reads.
            BodyTooLarge: its pictures have too many pixels.
            Overloaded, DeadlineExceeded: as `Desk.do`.
        """
        kind = _kind(content_type)
        if kind_of(body) is not None:
            check_options(query, "a picture")
            return await self._draw([body], read_options(query), contract, form, deadline)
        if kind == "multipart/form-data":
            check_options(query, "a picture")
            fields, files = parts_of(body, content_type or "", _MOST_FILES)
            return await self._draw(files, read_options({**query, **fields}, fields), contract, form, deadline)
        if kind == "text/csv":
            return await self._read_csv(body, query, contract, deadline)
        if kind.startswith("image/"):
            raise UnsupportedMedia(f"{_READS}; the body is {other_kind(body) or _ELSE}.")
        raise UnsupportedMedia(
            "This call reads application/json, image/png, image/jpeg, multipart/form-data and, for tables, text/csv."
        )

    async def _draw(
        self, files: Sequence[bytes], options: Options, contract: Contract, form: Form | None, deadline: float
    ) -> Asked:
        if form is None:
            raise BadRequest(_no_pictures(contract))

        most = max(1, _MOST_SAMPLES_BYTES // form.bytes)
        if len(files) > most:
            raise BodyTooLarge(f"The form has {len(files)} pictures; of this model's size {most} may come at once.")

        def work() -> tuple[Array, tuple[Done, ...]]:
            left, heads = self._most_pixels, []
            for number, file in enumerate(files, 1):
                kind = kind_of(file)
                if kind is None:
                    raise UnsupportedMedia(f"{_READS}; file {number} of {len(files)} is {other_kind(file) or _ELSE}.")
                head = read_head(file, kind, left)
                left -= head.width * head.height
                heads.append(head)
            drawn = [draw(head, form, options.wishes) for head in heads]
            return np.stack([sample for sample, _ in drawn]), tuple(done for _, done in drawn)

        rows, pictures = await self._desk.do(work, sum(map(len, files)), deadline)
        return Asked(rows, len(files) == 1, options.top_k, pictures)

    async def _read_csv(self, body: bytes, query: Mapping[str, str], contract: Contract, deadline: float) -> Asked:
        check_options(query, "CSV")
        options = read_options(query)
        if not contract.columns:
            raise BadRequest("CSV is for tables; this model takes arrays as JSON" + _or_pictures(contract) + ".")

        def work() -> tuple[Array, bool]:
            return read_rows(body, contract, options.header)

        inline = len(body) <= INLINE_BYTES
        rows, single = work() if inline else await self._desk.do(work, len(body), deadline)
        return Asked(rows, single, options.top_k)


def read_json(body: bytes, content_type: str | None, query: Mapping[str, str], contract: Contract) -> Asked | None:
    """Reads one request, if it is JSON; None if it is something else, for a `Reader`.

    Args:
        body: As it came.
        content_type: The header's value.
        query: The options in the address.
        contract: Of the model that is asked.

    Raises:
        BadRequest, UnsupportedMedia: as `Reader.read`.
    """
    kind = _kind(content_type)
    if (kind not in _JSON and not kind.endswith("+json")) or kind_of(body) is not None:
        return None
    if body[:1] != b"{" and (other := other_kind(body)) is not None:  # curl calls any file a form
        raise UnsupportedMedia(f"{_READS}; the body is {other}.")
    try:
        request = load_samples(body, contract, (("inputs",),))
    except BadRequest:
        refuse_what_is_no_json(body, _reads(contract))
        raise
    if not isinstance(request, dict) or "inputs" not in request:
        or_csv = f", or {_CSV}" if contract.columns and not isinstance(request, dict | list) else ""
        raise BadRequest(
            f'The body must be an object like {{"inputs": [...]}}: one sample, or a list of samples{or_csv}.'
        )
    unknown = request.keys() - {"inputs", "top_k"}
    if unknown:
        raise BadRequest(f"The body has unknown keys: {listed(sorted(unknown), 96)}; it takes 'inputs' and 'top_k'.")
    top_k = request.get("top_k")
    if top_k is None and "top_k" not in request:
        top_k = read_options(query).top_k
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
        raise BadRequest("'top_k' must be a whole number, 1 or more.")
    if contract.columns:
        rows, single = read_table(request["inputs"], contract, body)
    else:
        refuse_booleans(body, request["inputs"], contract.input)
        rows, single = as_batch(to_array(request["inputs"], contract.input), contract)
    return Asked(rows, single, top_k)


def refuse_what_is_no_json(body: bytes, reads: str) -> None:
    """Says what a call reads, of a body that does not even begin as JSON: clients call anything a form or JSON.

    Args:
        body: As it came, and not read as JSON.
        reads: What would be right, as a part of a sentence.

    Raises:
        BadRequest: it begins as something else, and not with nothing.
    """
    start = body[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start and start not in b'{["':
        kind = kind_of(body)
        told = f"a {kind.upper()} picture" if kind else other_kind(body) or "no JSON"
        raise BadRequest(f"The body is {told}; this call reads {reads}.")


def _reads(contract: Contract) -> str:
    if contract.columns:
        return f'rows as JSON, {{"inputs": [...]}}, or as {_CSV}'
    return 'JSON, {"inputs": [...]}' + _or_pictures(contract).replace("pictures", "a PNG or JPEG picture")


def _kind(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def _no_pictures(contract: Contract) -> str:
    if contract.columns:
        return "This model takes rows of a table, as application/json or text/csv, and no pictures."
    return "The contract of this model does not say that its samples are pictures; send arrays as application/json."


def _or_pictures(contract: Contract) -> str:
    return ", or pictures" if len(contract.input.sample_shape) > 1 else ""
