"""Which classes a model's outputs name first: what people, pages and clients of any dialect call the top k."""

from __future__ import annotations

import numpy as np

from services.model_server.package import Contract
from services.model_server.protocols.tensors import Array


def ranked(outputs: Array, contract: Contract, top_k: int) -> tuple[Array, Array]:
    """Orders the classes of outputs (n, outputs), row by row.

    A binary model's one output is the probability of its second label, which is the answer from 0.5 on.

    Args:
        outputs: What a model with labels gave.
        contract: Its contract.
        top_k: The most classes to name.

    Returns:
        The probability of every class (n, labels), and the indices of the best (n, top k), the best first.
    """
    if contract.task == "binary":
        second = outputs[:, :1] >= 0.5
        order = np.concatenate([second, ~second], axis=1).astype(np.intp)[:, :top_k]
        return np.concatenate([1.0 - outputs, outputs], axis=1), order
    # NaN sorts last as a number, but as the least probable here.
    order = np.argsort(-np.nan_to_num(outputs, nan=-np.inf), axis=1, kind="stable")[:, :top_k]
    return outputs, order
