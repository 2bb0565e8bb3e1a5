"""Answers as TF Serving writes them: numbers as short as their type allows, and tokens for what is not finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson

from services.model_server.protocols.tensors import Array, dump_array, has_nulls


def encode(outputs: Array) -> bytes:
    """Encodes an array. This dialect has tokens for what JSON has no number for: NaN, Infinity, -Infinity."""
    encoded = dump_array(outputs)
    if not has_nulls(encoded):
        return encoded
    strange = outputs[~np.isfinite(outputs)].tolist()  # in the order in which they are written
    first, *pieces = encoded.split(b"null")
    return first + b"".join(_token(value) + piece for value, piece in zip(strange, pieces, strict=True))


def encode_classes(scores: Array, labels: Sequence[str]) -> bytes:
    """Encodes scores (n, classes), each of them beside its label."""
    numbers = encode(scores.reshape(-1))[1:-1].split(b",")
    named = [b"[%b," % orjson.dumps(label) for label in labels]
    width = len(named)
    rows = (
        b",".join(name + number + b"]" for name, number in zip(named, numbers[start : start + width], strict=True))
        for start in range(0, len(numbers), width)
    )
    return b"[[%b]]" % b"],[".join(rows)


def _token(value: float) -> bytes:
    return b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity"
