"""An answer in the words of the task: labels and probabilities, or a value; and what of the request was strange."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from services.model_server.engine import Answer
from services.model_server.extent import Extent
from services.model_server.images import Done
from services.model_server.package import Contract
from services.model_server.protocols.cells import listed, unknown_words
from services.model_server.protocols.ranking import ranked
from services.model_server.protocols.tensors import Array
from services.model_server.served import ServedModel

_MOST_WARNINGS = 16


def identity(model: ServedModel) -> dict[str, Any]:
    """Says which model answers."""
    return {
        "name": model.name,
        "version": model.version,
        "alias": model.ref.alias,
        "digest": f"sha256:{model.digest}",
        "run_id": model.run_id,
    }


def describe(outputs: Array, contract: Contract, top_k: int) -> list[dict[str, Any]]:
    """Says outputs (n, outputs) in the words of the task, row by row.

    Classes: the best label, its probability, the top k, and all probabilities in the order of the labels. Regression:
    the value.
    """
    labels = contract.labels
    if contract.task == "regression":
        return [{"value": value, "target": contract.target} for value in outputs[:, 0]]
    outputs, order = ranked(outputs, contract, top_k)
    described = []
    for row, best in zip(outputs, order.tolist(), strict=True):
        top = [{"label": labels[index], "probability": row[index]} for index in best]
        described.append({**top[0], "top": top, "probabilities": np.ascontiguousarray(row)})
    return described


def warnings(answer: Answer, rows: Array, model: ServedModel) -> list[str]:
    """Says what in a request training never saw; it was answered all the same."""
    contract = model.contract
    if contract.input.range is not None:
        low, high = contract.input.range
        strange = f"{answer.strange_rows} of {len(rows)} samples have values outside {low} to {high}"
        return [f"{strange}, the range of the training data; were they scaled? Send raw values."]
    told = []
    if rows.dtype == object:
        for column, words in unknown_words(rows, contract):
            told.append(
                f"Column '{column.name}' has words that the model does not know: {listed(words)}. "
                f"It knows: {listed(column.words)}."
            )
    if model.extent is not None:
        told += _far_numbers(rows, contract, model.extent)
    if not told:
        told.append(f"{answer.strange_rows} of {len(rows)} samples have values that are not finite.")
    return told[:_MOST_WARNINGS]


def astray(pictures: Sequence[Done]) -> list[str]:
    """Says in which pictures the drawing is not where the model has learned to see it."""
    found = [number for number, picture in enumerate(pictures, 1) if picture.astray]
    if not found:
        return []
    where = "" if len(pictures) == 1 else f" in picture {found[0]} of {len(pictures)}"
    where += f", and in {len(found) - 1} more," if len(found) > 1 else ""
    why = f"What is drawn{where} is smaller than in the golden samples, or further off the middle"
    return [f"{why}: such an answer is often wrong. centre=yes brings it to their size and place."]


def _far_numbers(rows: Array, contract: Contract, extent: Extent) -> Iterator[str]:
    """Says of each column that has numbers far from those of the golden samples, which is the first of them."""
    for place, column in enumerate(contract.columns):
        if column.type != "number" or extent.least[place] != extent.least[place]:
            continue
        numbers = rows[:, place].astype(np.float64)
        far = (numbers < extent.low[place]) | (numbers > extent.high[place])
        found = np.flatnonzero(far & np.isfinite(numbers))
        if len(found):
            more = f", and {len(found) - 1} more like it" if len(found) > 1 else ""
            yield (
                f"Column '{listed([column.name], 64)}' has {numbers[found[0]]:g} in row {found[0] + 1} of {len(rows)}"
                f"{more}, far from the golden samples, where it is from {extent.least[place]:g} to "
                f"{extent.most[place]:g}; check its unit."
            )
