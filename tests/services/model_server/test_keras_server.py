"""Models that ONNX cannot hold, served by real children with TensorFlow: their answers, and how their death looks."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from pipelines.datasets.base import Samples
from pipelines.inputs import Column, InputFacts
from pipelines.packaging.building import build_package, outputs_of
from pipelines.packaging.scoring import Scores
from pipelines.tasks import Head, Task
from services.model_server.keras_engine.engine import KerasEngine
from services.model_server.served import ServedModel
from tests.pipelines import hard_models
from tests.services.model_server.parts import FolderStore, Server, serving, write_package

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]

WAIT_S = 120.0
PICTURES = InputFacts((8, 8), 0.0, 16.0, tuple("0123456789"))
TABLE = InputFacts(
    (3,), None, None, ("no", "yes"), "table", (Column("age"), Column("city/town", ("Oslo", "Rome")), Column("income"))
)
ROWS = np.array([[39, 1, 1200.5], [61, 2, np.nan], [20, 0, 0], [np.nan, 1, 7]], np.float32)
WORDS = [[39, "Oslo", 1200.5], [61, "Rome", None], [20, "Atlantis", 0], [None, "Oslo", 7]]
PIXELS = np.random.default_rng(5).integers(0, 17, (300, 8, 8)).astype(np.float32)
PREDICT = "/v1/models/pictures:predict"


@dataclass
class World:
    """A server, its store, and the Keras models that it serves, as they were before they were packed."""

    runner: asyncio.Runner
    store: FolderStore
    server: Server
    models: dict[str, Any]
    folder: Path

    def do(self, work: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(work, WAIT_S)

        return self.runner.run(bounded())

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        response: httpx.Response = self.do(self.server.client.request(method, path, json=body))
        return response

    def served(self, name: str = "pictures") -> ServedModel:
        model: ServedModel = self.server.engine.find(name)
        return model

    def engine(self, name: str = "pictures") -> KerasEngine:
        engine = self.served(name).predictor
        assert isinstance(engine, KerasEngine)
        return engine

    def metric(self, name: str) -> float:
        lines = self.ask("GET", "/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(name)).split()[-1])

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.01)  # a turn of the loop, within the deadline of `do`


def package(keras: Any, folder: Path, function: Any, facts: InputFacts, golden: Samples, seed: int = 3) -> Any:
    keras.utils.set_random_seed(seed)
    task = Task.BINARY if len(facts.labels) == 2 else Task.MULTICLASS
    units = 1 if task is Task.BINARY else len(facts.labels)
    model = function(facts, Head(task, units, "sigmoid" if units == 1 else "softmax"))
    build_package(
        model,
        folder,
        name="hard",
        task=task,
        facts=facts,
        golden=golden,
        scores=Scores({"test_accuracy": 0.5}),
        source={"run_id": "a-run"},
        dataset={"name": "made-up"},
    )
    return model


@pytest.fixture(scope="module")
def world(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("keras-server")
    store = FolderStore(folder / "cache")
    pictures = Samples(PIXELS[:8].astype(np.uint8), np.arange(8))
    models = {
        "pictures": package(keras, folder / "pictures", hard_models.spectrum, PICTURES, pictures),
        "table": package(keras, folder / "table", hard_models.logarithms, TABLE, Samples(ROWS, np.array([0, 1, 0, 1]))),
    }
    for name in models:
        store.add(folder / name, name, "1")
    with asyncio.Runner() as runner:
        context = serving(store, poll=False, keras_request_s=2.0, threads=1, max_batch=64)
        server = runner.run(context.__aenter__())
        world = World(runner, store, server, models, folder)
        world.do(server.poll())
        yield world
        children = [world.engine(name).pid for name in models if server.engine.slots_of(name)[0].served]
        runner.run(context.__aexit__(None, None, None))
        for pid in children:
            assert pid is None or ended(pid)


def ended(pid: int) -> bool:
    """Waits for the end of a process; one that is dead and was not counted yet has ended."""
    try:
        process = psutil.Process(pid)
        process.wait(WAIT_S)
    except psutil.NoSuchProcess:
        return True
    return not psutil.pid_exists(pid)


@pytest.mark.parametrize("rows", [1, 2, 5, 33, 64, 65, 300])
def test_the_answers_are_those_of_keras(world: World, rows: int) -> None:
    answer = world.ask("POST", PREDICT, {"instances": PIXELS[:rows].tolist()})

    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "1"
    expected = outputs_of(world.models["pictures"], PIXELS[:rows])
    np.testing.assert_allclose(answer.json()["predictions"], expected, rtol=0, atol=1e-6)
    assert world.engine().traces == 1


def test_a_table_with_words_is_read_as_it_is_by_onnx(world: World) -> None:
    answer = world.ask("POST", "/v1/models/table:predict", {"instances": WORDS})

    expected = outputs_of(world.models["table"], ROWS)
    np.testing.assert_allclose(answer.json()["predictions"], expected, rtol=0, atol=1e-6)


def test_the_server_says_which_engine_computes(world: World) -> None:
    assert world.metric('model_server_keras_engine_up{model="pictures",version="1"}') == 1
    (event,) = (one for one in world.server.events("model_available") if one["model"] == "pictures@champion")
    assert event["version"] == "1"
    (listed,) = (model for model in world.ask("GET", "/models").json()["models"] if model["name"] == "pictures")
    assert listed["engine"] == {
        "name": "keras",
        "reason": "ONNX has nothing for Imag, RFFT, Real",
        "fault": None,
        "restarts": 0,
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has it")
def test_memory_that_runs_out_ends_the_child_and_not_the_server(world: World) -> None:
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (world.engine().pid, "self")]

    assert scores[0] == 500 > scores[1]


BODIES = {
    "TF Serving": (PREDICT, {"instances": PIXELS[:1].tolist()}),
    "MLflow": ("/invocations?model=pictures", {"inputs": PIXELS[:1].tolist()}),
    "Open Inference": (
        "/v2/models/pictures/infer",
        {"inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": PIXELS[:1].tolist()}]},
    ),
    "our own": ("/predict/pictures", {"inputs": PIXELS[:1].tolist()}),
}


def test_a_child_that_is_killed_under_load_costs_no_more_than_a_few_requests_a_clean_503(world: World) -> None:
    engine = world.engine()
    first, restarts = engine.pid, engine.restarts
    assert first is not None
    seen: list[httpx.Response] = []
    stop = asyncio.Event()

    async def ask_on(path: str, body: Any) -> None:
        while not stop.is_set():
            seen.append(await world.server.client.post(path, json=body))
            await asyncio.sleep(0)

    async def storm() -> None:
        load = [asyncio.create_task(ask_on(path, body)) for path, body in BODIES.values() for _ in range(2)]
        await world.until(lambda: sum(answer.status_code == 200 for answer in seen) > 50)
        os.kill(first, signal.SIGKILL)
        await world.until(lambda: any(answer.status_code == 503 for answer in seen))
        assert (await world.server.client.get("/livez")).status_code == 200
        await world.until(lambda: engine.restarts > restarts)
        so_far = len(seen)
        await world.until(lambda: sum(answer.status_code == 200 for answer in seen[so_far:]) > 50)
        stop.set()
        await asyncio.gather(*load)

    world.do(storm())

    assert [answer.text for answer in seen if answer.status_code not in (200, 503)] == []
    refused = [answer for answer in seen if answer.status_code == 503]
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert all("The Keras engine of this model" in answer.text for answer in refused)
    assert engine.pid not in (None, first)
    assert world.metric('model_server_keras_engine_restarts_total{model="pictures",version="1"}') == restarts + 1
    (died,) = world.server.events("keras_engine_died")
    assert (died["model"], died["version"], died["ended"]) == ("pictures", "1", "it was ended by SIGKILL")
    assert world.server.events("keras_engine_restarted")
    expected = outputs_of(world.models["pictures"], PIXELS[:1])
    np.testing.assert_allclose(
        world.ask("POST", *BODIES["TF Serving"]).json()["predictions"], expected, rtol=0, atol=1e-6
    )


def test_a_child_that_hangs_is_replaced_after_the_time_for_a_request(world: World) -> None:
    engine = world.engine()
    pid, restarts = engine.pid, engine.restarts
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    answer = world.ask("POST", *BODIES["TF Serving"])

    assert answer.status_code == 503
    assert answer.json()["error"] == (
        "The Keras engine of this model was lost: it gave no answer within 2 s. It is being started again."
    )
    assert world.ask("POST", "/v1/models/table:predict", {"instances": WORDS}).status_code == 200
    assert ended(pid)
    world.do(world.until(lambda: engine.restarts > restarts))
    assert world.ask("POST", *BODIES["TF Serving"]).status_code == 200


def test_readiness_goes_with_the_last_engine_and_comes_back(world: World) -> None:
    engines = [world.engine(name) for name in world.models]
    before = [engine.restarts for engine in engines]
    assert world.ask("GET", "/readyz").status_code == 200
    for engine in engines:
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
    world.do(world.until(lambda: all(engine.fault is not None for engine in engines)))

    answer = world.ask("GET", "/readyz")

    assert answer.status_code == 503
    assert "pictures version 1: it was ended by SIGKILL; it is being started again." in answer.text
    assert world.ask("GET", "/livez").status_code == 200
    world.do(world.until(lambda: all(e.restarts > count for e, count in zip(engines, before, strict=True))))
    assert world.ask("GET", "/readyz").status_code == 200


def test_a_file_that_is_not_keras_s_own_is_rejected_and_the_old_version_goes_on(world: World, keras: Any) -> None:
    model = keras.Sequential([keras.Input((8, 8), name="image"), keras.layers.Lambda(lambda x: x[:, 0, :])])
    folder = write_package(
        world.folder / "lambda",
        shape=(8, 8),
        contract={"engine": "keras", "labels": list("01234567"), "output": {**OUTPUT, "shape": [None, 8]}},
        golden={"inputs": PIXELS[:4], "outputs": PIXELS[:4, 0, :], "labels": np.zeros(4, np.int64)},
    )
    model.save(folder / "data" / "model.keras")
    reseal(folder)
    world.store.add(folder, "pictures", "2")

    world.do(world.server.poll())

    rejected = world.server.events("model_rejected")[-1]
    assert rejected["reason"] == (
        "the Keras engine cannot serve it: model.keras has what is not Keras's own: the layer Lambda, a lambda; "
        "a model server runs no code of a model"
    )
    assert world.ask("POST", *BODIES["TF Serving"]).headers["x-model-version"] == "1"


OUTPUT: dict[str, Any] = {"name": "probabilities", "dtype": "float32"}


def reseal(folder: Path) -> None:
    from tests.services.model_server.parts import seal

    (folder / "model.onnx").unlink()
    seal(folder)


def test_a_swap_drains_the_old_child_and_ends_it(world: World) -> None:
    old = world.engine()
    pid = old.pid
    assert pid is not None
    newer = write_package(
        world.folder / "onnx", shape=(8, 8), labels=tuple("0123456789"), contract={"name": "pictures"}
    )
    world.store.add(newer, "pictures", "3")
    statuses: list[int] = []

    async def swap() -> None:
        path, body = BODIES["TF Serving"]
        load = [asyncio.create_task(world.server.client.post(path, json=body)) for _ in range(20)]
        await world.server.poll()
        statuses.extend([(await one).status_code for one in load])

    world.do(swap())

    assert set(statuses) == {200}
    assert world.ask("POST", *BODIES["TF Serving"]).headers["x-model-version"] == "3"
    assert ended(pid)
    world.store.add(world.folder / "pictures", "pictures", "1")  # and back
    world.do(world.server.poll())
    assert world.engine() is not old
    answer = world.ask("POST", *BODIES["TF Serving"])
    assert (answer.status_code, answer.headers["x-model-version"]) == (200, "1")
