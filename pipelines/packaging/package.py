"""The package that crosses from training to serving, as anybody reads it.

It is a valid MLflow model (Keras flavour) that also holds the graph as ONNX with its preprocessing inside (but for
models that ONNX cannot hold), the contract of its input and output, golden samples with the outputs they must give, and
a digest of every file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.checkpoints import sha256_of
from pipelines.packaging.forms import GRAPH, KERAS_FILE, Form

FORMAT = 1
MANIFEST, CONTRACT, PROFILE = "manifest.json", "contract.json", "profile.json"


def read_contract(folder: Path) -> dict[str, Any]:
    """The contract in a package."""
    contract: dict[str, Any] = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))
    return contract


def form_of(folder: Path) -> Form:
    """In which form a package is served, and why; older ones are all ONNX and do not say so."""
    contract = read_contract(folder)
    return Form(contract.get("engine", "onnx"), str(contract.get("engine_reason", "")))


def served_file(folder: Path) -> str:
    """The file of a package that is served: the graph, or the Keras model where ONNX could not hold it."""
    return GRAPH if form_of(folder).engine == "onnx" else KERAS_FILE


def _engine_of(folder: Path) -> str:
    try:
        return form_of(folder).engine
    except (OSError, ValueError, AttributeError):
        return "onnx"


def damage(folder: Path) -> str | None:
    """What is wrong with a package's files by its manifest, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        digests = {str(name): str(expected["sha256"]) for name, expected in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read ({error})"
    served = GRAPH if GRAPH in digests or _engine_of(folder) == "onnx" else KERAS_FILE
    unnamed = [name for name in (CONTRACT, served) if name not in digests]
    if unnamed:
        return f"its manifest names no {' and no '.join(unnamed)}"
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_of(path) != digest:
            return f"{name} is not the file that was registered (its digest differs)"
    return None
