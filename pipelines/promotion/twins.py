"""Whether two packages hold one model, whoever trained it: then there is nothing to register."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pipelines.checkpoints import sha256_of
from pipelines.packaging.forms import GRAPH
from pipelines.packaging.package import read_contract, served_file

_APART = ("name", "source", "metrics", "dataset")
"""Parts of a contract in which one model may differ from itself: who made it, of what, and how it was judged."""


def are_twins(package: Path, other: Path) -> bool:
    """Whether the same is served of both packages, under the same contract with those who ask."""
    contracts = [
        {key: value for key, value in read_contract(folder).items() if key not in _APART} for folder in (package, other)
    ]
    if contracts[0] != contracts[1]:
        return False
    name = served_file(package)
    mine, theirs = package / name, other / name
    if sha256_of(mine) == sha256_of(theirs):
        return True
    digests = [graph_digest(path) if name == GRAPH else None for path in (mine, theirs)]
    return digests[0] is not None and digests[0] == digests[1]


def graph_digest(path: Path) -> str | None:
    """Digest of an ONNX graph with its weights, but without what it calls its inner parts; None of what is none.

    An export numbers those through all that its process has exported before, so one model has many files.
    """
    import onnx  # not needed to promote anything but a model that answers like the champion

    try:
        model = onnx.load(str(path))
    except Exception:  # protobuf's own, of a file that is no graph
        return None
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    _rename(graph, {"": ""} | {name: name for name in kept})
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = "n"
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Calls everything in a graph by when it is met first; `names` grows by what it meets."""

    def called(name: str) -> str:
        return names.setdefault(name, f"v{len(names)}")

    for node in graph.node:
        node.name = node.doc_string = ""
        node.input[:] = [called(name) for name in node.input]
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _rename(inner, names)
        node.output[:] = [called(name) for name in node.output]
    for initializer in graph.initializer:
        initializer.name = called(initializer.name)
        initializer.doc_string = ""
    weights = sorted(graph.initializer, key=lambda each: each.name)
    del graph.initializer[:]
    graph.initializer.extend(weights)
    for value in graph.output:
        value.name = called(value.name)
    for value in graph.input:
        value.name = called(value.name)
    del graph.value_info[:]
    graph.name = graph.doc_string = ""
