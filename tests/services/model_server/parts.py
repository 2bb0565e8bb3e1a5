"""Tiny models in real packages, a store without a registry, and a server around them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.model_server.app import create_app
from services.model_server.errors import RegistryUnavailable
from services.model_server.events import EventLog
from services.model_server.following.model_cache import ModelCache, Stored, Target
from services.model_server.settings import Ref, Settings

LABELS = ("zero", "one", "two")


def affine_graph(
    shape: tuple[int | None, ...], classes: int, seed: int, activation: str, output: str = "probabilities"
) -> onnx.ModelProto:
    """Flatten, one Gemm with random weights, an activation: (N, *shape) to (N, classes)."""
    random = np.random.default_rng(seed)
    size = int(np.prod([n or 1 for n in shape]))
    weights = random.normal(0, 0.5, (size, classes)).astype(np.float32)
    bias = random.normal(0, 0.5, classes).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        helper.make_node(activation, ["scores"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "affine",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def table_graph(
    columns: Sequence[Mapping[str, Any]], outputs: int, activation: str, output: str = "probabilities", seed: int = 0
) -> onnx.ModelProto:
    """A table as training packs it: words to codes and texts to numbers inside, one Gemm, an activation.

    Float rows if every column is of numbers, else texts. A missing number counts as 7, an unknown word has code -1, a
    missing word 0, and the words 1, 2, …
    """
    random = np.random.default_rng(seed)
    texts = any(column["type"] == "category" for column in columns)
    constants = {
        "weights": random.normal(0, 0.1, (len(columns), outputs)).astype(np.float32),
        "bias": random.normal(0, 0.5, outputs).astype(np.float32),
        "instead": np.array(7, dtype=np.float32),
    }
    nodes = []
    for place, column in enumerate(columns):
        constants[f"at{place}"] = np.array([place], dtype=np.int64)
        nodes.append(helper.make_node("Gather", ["row", f"at{place}"], [f"cell{place}"], axis=1))
        if column["type"] == "category":
            nodes.append(
                helper.make_node(
                    "LabelEncoder",
                    [f"cell{place}"],
                    [f"number{place}"],
                    domain="ai.onnx.ml",
                    keys_strings=["", *column["words"]],
                    values_floats=[float(code) for code in range(len(column["words"]) + 1)],
                    default_float=-1.0,
                )
            )
            continue
        read = f"cell{place}"
        if texts:
            read = f"read{place}"
            nodes.append(helper.make_node("Cast", [f"cell{place}"], [read], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("IsNaN", [read], [f"missing{place}"]))
        nodes.append(helper.make_node("Where", [f"missing{place}", "instead", read], [f"number{place}"]))
    nodes += [
        helper.make_node("Concat", [f"number{place}" for place in range(len(columns))], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["scores"]),
        helper.make_node(activation, ["scores"], [output]),
    ]
    kind = TensorProto.STRING if texts else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "table",
        [helper.make_tensor_value_info("row", kind, ["N", len(columns)])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", outputs])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return model


def slow_graph(width: int = 512, depth: int = 40) -> onnx.ModelProto:
    """A chain of large products: (N, 2, 2) to (N, 3), tens of milliseconds for a few hundred rows."""
    random = np.random.default_rng(0)
    first = random.normal(0, 0.1, (4, width)).astype(np.float32)
    middle = (random.normal(0, 1, (width, width)) / np.sqrt(width)).astype(np.float32)
    last = random.normal(0, 0.1, (width, 3)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "first"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{i}", "middle"], [f"h{i + 1}"]) for i in range(depth)]
    nodes += [helper.make_node("MatMul", [f"h{depth}", "last"], ["scores"])]
    nodes += [helper.make_node("Softmax", ["scores"], ["probabilities"])]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, 2])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(a, n) for a, n in ((first, "first"), (middle, "middle"), (last, "last"))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_package(
    folder: Path,
    *,
    name: str = "tiny",
    seed: int = 0,
    shape: tuple[int, ...] = (2, 2),
    labels: tuple[str, ...] = LABELS,
    activation: str = "Softmax",
    graph: onnx.ModelProto | None = None,
    contract: Mapping[str, Any] | None = None,
    golden: Mapping[str, Any] | None = None,
    golden_shift: float = 0.0,
    samples: int = 4,
) -> Path:
    """Writes a package as the trainer does. `golden_shift` falsifies the stored outputs, `golden` replaces arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    model = graph or affine_graph(shape, len(labels), seed, activation)
    onnx.save(model, folder / "model.onnx")
    facts: dict[str, Any] = {
        "format": 1,
        "name": name,
        "task": "multiclass",
        "input": {"name": "image", "dtype": "float32", "shape": [None, *shape], "range": [0.0, 16.0]},
        "output": {"name": "probabilities", "dtype": "float32", "shape": [None, len(labels)]},
        "labels": list(labels),
        "metrics": {"test_accuracy": 0.9},
        "source": {"study": name, "trial": seed, "attempt": 1, "epoch": 3, "run_id": f"run{seed}"},
        "dataset": {"name": "made-up", "sha256": "0" * 64},
    } | dict(contract or {})
    arrays = dict(golden or {})
    inputs = arrays.get("inputs", np.random.default_rng(1).uniform(0, 16, (samples, *shape)).astype(np.float32))
    outputs = expected(folder, inputs)
    classes = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] >= 0.5).astype(np.int64)
    truth = {"targets": outputs[:, 0] + 1} if facts["task"] == "regression" else {"labels": classes}
    np.savez(
        folder / "golden.npz",
        **{"inputs": inputs, "outputs": outputs + np.float32(golden_shift), **truth, **arrays},
    )
    (folder / "contract.json").write_text(json.dumps(facts))
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "model.keras").write_bytes(b"not read by the server")
    seal(folder)
    return folder


NUMBERS: tuple[dict[str, Any], ...] = (
    {"name": "age", "type": "number"},
    {"name": "bmi", "type": "number"},
    {"name": "s1", "type": "number"},
)
WORDS: tuple[dict[str, Any], ...] = (
    {"name": "age", "type": "number"},
    {"name": "city", "type": "category", "words": ["Oslo", "Rome", "São Paulo"]},
    {"name": "income", "type": "number"},
    {"name": "size", "type": "category", "words": ["1", "2", "x,y"]},
)
NUMBER_ROWS = np.array([[39, 21.5, 0.1], [61, np.nan, -0.2], [20, 30.25, 4]], dtype=np.float32)
WORD_ROWS = np.array(
    [
        ["39", "Oslo", "1200.5", "1"],
        ["61", "Rome", "nan", ""],
        ["20", "", "0", "x,y"],
        ["nan", "São Paulo", "7", "2"],
    ]
)
TASKS = {
    "multiclass": ("probabilities", "Softmax", ("low", "middle", "high")),
    "binary": ("probability", "Sigmoid", ("no", "yes")),
    "regression": ("prediction", "Identity", ()),
}


def write_kind(folder: Path, kind: str, **changes: Any) -> Path:
    """Writes a package of a task and a form of input: `binary grey`, `regression words`, …

    Forms: `grey` (3, 2) and `colour` (3, 2, 3) images, `numbers` and `words`, the tables above.
    """
    task, form = kind.split()
    output, activation, labels = TASKS[task]
    outputs = max(1, len(labels)) if task == "multiclass" else 1
    facts: dict[str, Any] = {
        "task": task,
        "labels": labels,
        "target": "progress",
        "output": {"name": output, "dtype": "float32", "shape": [None, outputs]},
    }
    if form in ("grey", "colour"):
        shape = (3, 2) if form == "grey" else (3, 2, 3)
        graph = affine_graph(shape, outputs, 3, activation, output)
        facts["input"] = {"name": "image", "dtype": "float32", "shape": [None, *shape], "range": [0.0, 16.0]}
        return write_package(folder, **{"graph": graph, "shape": shape, "contract": facts, **changes})
    columns, rows, dtype = (NUMBERS, NUMBER_ROWS, "float32") if form == "numbers" else (WORDS, WORD_ROWS, "string")
    facts["columns"] = columns
    facts["input"] = {"name": "row", "dtype": dtype, "shape": [None, len(columns)], "range": None}
    graph = table_graph(columns, outputs, activation, output)
    return write_package(folder, **{"graph": graph, "golden": {"inputs": rows}, "contract": facts, **changes})


def seal(folder: Path) -> None:
    """Writes the manifest of what is in the folder now."""
    files = {
        str(path.relative_to(folder)): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))


def golden_arrays(package: Path) -> dict[str, NDArray[Any]]:
    """The golden samples of a package, by the names of the arrays; the file is closed."""
    with np.load(package / "golden.npz") as arrays:
        return dict(arrays)


def flip_byte(path: Path, position: int = -40) -> None:
    """Damages a file as a bad disk does: one byte, same length."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


class FolderStore:
    """A model store over plain folders: a registry that a test can edit, and switch off.

    Keeps the real cache on disk, so a new store over the same cache starts as a new process would.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = ModelCache(cache)
        self.versions: dict[tuple[str, str], Path] = {}
        self.aliases: dict[Ref, str] = {}
        self.away = False
        self.fetched: list[str] = []
        self.tags: dict[tuple[str, str], str] = {}
        self.champion_since: dict[tuple[str, str], str] = {}

    def add(self, folder: Path, name: str, version: str, alias: str | None = "champion") -> None:
        self.versions[name, version] = folder
        if alias:
            self.aliases[Ref(name, alias)] = version

    def target(self, name: str, version: str) -> Target | None:
        folder = self.versions.get((name, version))
        since = self.champion_since.get((name, version), "")
        return None if folder is None else Target(name, version, f"run-{version}", str(folder), 1, champion_since=since)

    def wanted(self, refs: Iterable[Ref]) -> dict[Ref, Target | None]:
        if self.away:
            raise RegistryUnavailable("the test switched it off")
        found: dict[Ref, Target | None] = {}
        for ref in refs:
            if ref.name == "*":
                found |= {r: self.target(r.name, v) for r, v in list(self.aliases.items()) if r.alias == ref.alias}
            else:
                found[ref] = self.target(ref.name, ref.version or self.aliases.get(ref, ""))
        return found

    def fetch(self, target: Target) -> Stored:
        self.fetched.append(target.version)
        found = self.cache.find(target)
        if found is not None:
            return found
        download = self.cache.incoming()
        shutil.copytree(self.versions[target.name, target.version], download, dirs_exist_ok=True)
        return self.cache.adopt(target, download)

    def confirm(self, ref: Ref, target: Target, when: float) -> None:
        self.cache.confirm(ref, target, when)

    def forget(self, ref: Ref) -> None:
        self.cache.forget(ref)

    def last_known(self, refs: Iterable[Ref]) -> dict[Ref, tuple[Stored, float]]:
        pairs = ((one, self.cache.last_known(one)) for ref in refs for one in self.cache.known_refs(ref))
        return {ref: known for ref, known in pairs if known is not None}

    def prune(self, in_use: set[str]) -> None:
        self.cache.prune(in_use)

    def refused(self, target: Target, reason: str) -> None:
        self.tags[target.name, target.version] = f"REJECTED: {reason}"

    def accepted(self, target: Target) -> None:
        self.tags.pop((target.name, target.version), None)


class Server:
    """A running application with its client. Polls when the test says so."""

    def __init__(self, app: Any, client: httpx.AsyncClient, log: io.BytesIO) -> None:
        self.app, self.client, self._log = app, client, log
        self.engine, self.rollout = app.state.engine, app.state.rollout

    async def poll(self) -> None:
        """Asks the registry once and waits until everything that follows has happened."""
        await self.rollout.step()
        await self.rollout.settle()

    def events(self, kind: str) -> list[dict[str, Any]]:
        self.app.state.log.flush()
        return [e for e in map(json.loads, self._log.getvalue().splitlines()) if e["event"] == kind]


Serving = Callable[..., AbstractAsyncContextManager[Server]]


@asynccontextmanager
async def serving(store: Any, poll: bool = True, **settings: Any) -> AsyncIterator[Server]:
    """Runs the application on this event loop, without sockets."""
    log = io.BytesIO()
    app = create_app(Settings(poll_s=3600, **settings), store, EventLog(log))
    app.state.rollout.run = _no_polling
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        server = Server(app, client, log)
        if poll:
            await server.poll()
        yield server


async def _no_polling() -> None:
    await asyncio.Event().wait()


def run(work: Awaitable[Any]) -> Any:
    """Runs a coroutine to its end, within a deadline."""

    async def bounded() -> Any:
        return await asyncio.wait_for(work, 120)  # what takes a second takes ten on a crowded machine

    return asyncio.run(bounded())


def expected(folder: Path, rows: Any) -> NDArray[np.float32]:
    """What the graph of a package answers when ONNX Runtime is asked directly; rows of texts for a table of words."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (tensor,) = session.get_inputs()
    dtype = object if tensor.type == "tensor(string)" else np.float32
    output: NDArray[np.float32] = session.run(None, {tensor.name: np.asarray(rows, dtype=dtype)})[0]
    return output


def ask(
    store: FolderStore, method: str, path: str, body: Any = None, headers: Any = None, **settings: Any
) -> httpx.Response:
    """Sends one request to a server over `store`. A str or bytes body goes as it is, anything else as JSON."""

    async def work() -> httpx.Response:
        async with serving(store, **settings) as server:
            content = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
            return await server.client.request(method, path, content=content, headers=headers)

    response: httpx.Response = run(work())
    return response
