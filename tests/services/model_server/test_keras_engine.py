"""The Keras engine and its child's life, with a child that has no Keras and misbehaves on demand."""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from services.model_server import engines
from services.model_server.engines import open_predictor
from services.model_server.errors import EngineLost, PackageRejected, PredictionFailed
from services.model_server.keras_engine.engine import KerasEngine, Limits
from services.model_server.keras_engine.process import Child
from services.model_server.package import Package, open_package
from services.model_server.settings import Ref, Settings
from tests.services.model_server.parts import FolderStore, run, seal, serving, write_package
from tests.services.model_server.processes import ROOT
from tests.services.model_server.scripted_child import ACTS, OUTPUTS

WAIT_S = 30.0
INPUTS = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
OUTPUTS_OF_INPUTS = INPUTS.reshape(4, 4)[:, :OUTPUTS]
ACT = {name: np.full((1, 2, 2), number, np.float32) for number, name in ACTS.items()}


def write_keras_package(folder: Path, **contract: Any) -> Path:
    """A package without a graph, whose model answers the first numbers of each row."""
    write_package(
        folder,
        contract={"engine": "keras", "engine_reason": "ONNX has nothing for RFFT", **contract},
        golden={"inputs": INPUTS, "outputs": OUTPUTS_OF_INPUTS},
    )
    (folder / "model.onnx").unlink()
    seal(folder)
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return open_package(write_keras_package(tmp_path / "package"))


class Told:
    """What an engine tells, in order."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def __call__(self, event: str, **facts: Any) -> None:
        self._queue.put((event, facts))

    def next(self) -> tuple[str, dict[str, Any]]:
        return self._queue.get(timeout=WAIT_S)

    def until(self, event: str) -> dict[str, Any]:
        while True:
            found, facts = self.next()
            if found == event:
                return facts


Open = Callable[..., KerasEngine]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def open_engine(package: Package, tmp_path: Path, told: Told) -> Iterator[Open]:
    """Opens engines over scripted children, which start as the given words say; ends them all."""
    opened: list[KerasEngine] = []

    def opens(*starts: str, clock: Callable[[], float] | None = None, **limits: float) -> KerasEngine:
        (tmp_path / "starts").write_text(" ".join(starts))
        command = [sys.executable, "-m", "tests.services.model_server.scripted_child", str(tmp_path / "starts")]
        ages = itertools.count(0.0, 1000.0)  # every child has lived for long, so the next one starts at once
        opened.append(
            KerasEngine(
                package,
                limits=Limits(**{"start_s": WAIT_S, "request_s": WAIT_S, **limits}),  # type: ignore[arg-type]
                tell=told,
                command=command,
                clock=clock or (lambda: next(ages)),
            )
        )
        return opened[-1]

    yield opens
    for engine in opened:
        engine.close()


def gone(pid: int) -> bool:
    """Waits until a process is no more, or is dead and only waits to be counted."""
    try:
        psutil.Process(pid).wait(WAIT_S)
    except psutil.NoSuchProcess:
        return True
    return not psutil.pid_exists(pid)


def test_the_child_computes_what_it_is_asked(open_engine: Open, package: Package) -> None:
    engine = open_engine()

    engine.replay(package)
    cost = engine.warm(package, 4)

    np.testing.assert_array_equal(engine.run(INPUTS), OUTPUTS_OF_INPUTS)
    assert cost.of(1) > 0
    assert (engine.engine, engine.inline, engine.fault, engine.restarts) == ("keras", False, None, 0)


def test_a_child_that_is_killed_is_replaced_by_another(open_engine: Open, told: Told) -> None:
    engine = open_engine()
    first = engine.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)

    event, facts = told.next()
    assert (event, facts["reason"], facts["next_start_s"]) == ("keras_engine_died", "it was ended by SIGKILL", 0.0)
    assert (facts["pid"], facts["ended"]) == (first, "it was ended by SIGKILL")
    assert told.until("keras_engine_restarted")["pid"] not in (None, first)
    np.testing.assert_array_equal(engine.run(INPUTS), OUTPUTS_OF_INPUTS)
    assert (engine.restarts, engine.fault) == (1, None)


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("dies", "it died while it computed"),
        ("breaks off", "it died while it computed"),
        ("babbles", "it sent what is no answer \\(it begins with b'Trac'\\)"),
        ("answers another", "it sent what is no answer \\(it answers another question\\)"),
        ("answers too few", "it sent what is no answer \\(it has not the outputs of these rows\\)"),
        ("answers texts", "it sent what is no answer \\(it has not the outputs of these rows\\)"),
        ("asks back", "it sent what is no answer \\(it has not the outputs of these rows\\)"),
    ],
)
def test_a_child_that_misbehaves_over_a_request_is_lost_to_it_and_replaced_for_the_next(
    open_engine: Open, told: Told, act: str, why: str
) -> None:
    engine = open_engine()
    first = engine.pid
    assert first is not None

    with pytest.raises(EngineLost, match=f"^The Keras engine of this model was lost: {why}. It is being started again"):
        engine.run(ACT[act])

    assert gone(first)
    told.until("keras_engine_restarted")
    np.testing.assert_array_equal(engine.run(INPUTS), OUTPUTS_OF_INPUTS)


def test_a_child_that_hangs_is_ended_after_the_time_that_a_request_may_take(open_engine: Open, told: Told) -> None:
    engine = open_engine(request_s=0.2)

    with pytest.raises(EngineLost, match=r"it gave no answer within 0\.2 s"):
        engine.run(ACT["hangs"])

    assert told.until("keras_engine_died")["reason"] == "it gave no answer within 0.2 s"
    told.until("keras_engine_restarted")


def test_a_child_that_is_stopped_takes_no_rows_for_ever_either(open_engine: Open, told: Told) -> None:
    engine = open_engine(request_s=0.2)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)

    with pytest.raises(EngineLost, match="no answer within"):
        engine.run(np.zeros((500_000, 2, 2), np.float32))  # more than the way between them holds

    told.until("keras_engine_restarted")


def test_while_there_is_no_child_every_request_is_told_so_at_once(open_engine: Open, told: Told) -> None:
    engine = open_engine("well", "hangs", start_s=WAIT_S)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    told.until("keras_engine_died")

    with pytest.raises(EngineLost, match="is down: it was ended by SIGKILL; it is being started again"):
        engine.run(INPUTS)
    assert engine.fault == "it was ended by SIGKILL; it is being started again"


def test_rows_that_the_model_fails_on_are_no_fault_of_the_child(open_engine: Open) -> None:
    engine = open_engine()
    first = engine.pid

    with pytest.raises(PredictionFailed, match="The model failed: no memory for these rows"):
        engine.run(ACT["fails"])

    assert engine.pid == first
    np.testing.assert_array_equal(engine.run(INPUTS), OUTPUTS_OF_INPUTS)


@pytest.mark.parametrize(
    ("start", "why"),
    [
        ("refuses", "Keras cannot load it: the test says so"),
        ("dies", "it was not ready yet when it ended with exit code 7, saying: Killed by the test"),
        ("hangs", "it was not ready within 1 s"),
        ("babbles", "it sent what is no answer (it begins with b'HTTP')"),
    ],
)
def test_a_first_child_that_does_not_start_rejects_the_package(open_engine: Open, start: str, why: str) -> None:
    with pytest.raises(PackageRejected) as caught:
        open_engine(start, start_s=1.0 if start == "hangs" else WAIT_S)

    assert str(caught.value) == f"the Keras engine cannot serve it: {why}"
    assert not any(thread.name.startswith("keras-engine-") for thread in threading.enumerate())


def test_a_later_child_that_gives_other_answers_does_not_serve(open_engine: Open, told: Told) -> None:
    engine = open_engine("well", "forgets", "well")
    assert engine.pid is not None

    os.kill(engine.pid, signal.SIGKILL)

    reason = told.until("keras_engine_not_started")["reason"]
    assert reason == "golden sample 0 gives another answer than when it was packed (off by 1)"
    told.until("keras_engine_restarted")
    np.testing.assert_array_equal(engine.run(INPUTS), OUTPUTS_OF_INPUTS)


def test_children_that_go_on_dying_are_started_ever_more_slowly(open_engine: Open, told: Told) -> None:
    engine = open_engine("well", "dies", "dies", "dies", "dies", clock=lambda: 0.0)
    assert engine.pid is not None

    os.kill(engine.pid, signal.SIGKILL)

    waits = [told.next()[1]["next_start_s"] for _ in range(3)]
    assert waits == [0.0, 1.0, 2.0]


def test_closing_ends_the_child_and_starts_no_other(open_engine: Open, told: Told) -> None:
    engine = open_engine()
    pid = engine.pid
    assert pid is not None

    engine.close()
    engine.close()

    assert gone(pid)
    engine._keeper.join(WAIT_S)
    assert not engine._keeper.is_alive()
    assert engine.fault is not None
    with pytest.raises(EngineLost, match="not served any more"):
        engine.run(INPUTS)


def test_closing_interrupts_a_start(open_engine: Open, told: Told) -> None:
    engine = open_engine("well", "hangs")
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    told.until("keras_engine_died")

    engine.close()

    engine._keeper.join(WAIT_S)
    assert not engine._keeper.is_alive()


SERVER = """
import os, sys
from services.model_server.keras_engine.frames import Kind
from services.model_server.keras_engine.process import Child
child = Child([sys.executable, "-m", "tests.services.model_server.scripted_child", sys.argv[1]])
child.ask(Kind.LOAD, {}, None, 30.0)
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_server_that_is_killed_takes_its_child_with_it(tmp_path: Path, stopped: bool) -> None:
    if stopped and not sys.platform.startswith("linux"):
        pytest.skip("only Linux ends a process that is stopped")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "starts")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        if stopped:
            os.kill(pid, signal.SIGSTOP)

        server.kill()
        server.wait(WAIT_S)

        assert gone(pid)


def test_the_child_is_told_no_secret_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL_SERVER_API_KEY", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    script = "import os, sys; print(sorted(os.environ), file=sys.stderr); sys.exit(5)"

    child = Child([sys.executable, "-c", script])

    ended = child.wait()
    child.close()
    assert "exit code 5" in ended
    assert "PATH" in ended
    assert not any(word in ended for word in ("MODEL_SERVER", "MLFLOW", "AWS", "SECRET"))


def test_a_process_that_cannot_be_started_rejects_the_package(package: Package, tmp_path: Path) -> None:
    with pytest.raises(PackageRejected, match=r"its process cannot be started \(No such file or directory\)"):
        KerasEngine(package, command=[str(tmp_path / "nothing")])


def test_a_server_without_tensorflow_says_what_to_do(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)

    with pytest.raises(PackageRejected) as caught:
        open_predictor(package, 1, Settings())

    assert str(caught.value) == (
        "ONNX cannot hold it (ONNX has nothing for RFFT), so it needs the Keras engine, and this server has no "
        "TensorFlow; run the image that `docker build --target keras` makes, or install "
        "requirements/model-server-keras.txt"
    )


def test_many_swaps_leave_no_process_and_fail_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "tests.services.model_server.scripted_child", str(tmp_path / "starts")]
    monkeypatch.setattr(engines, "KerasEngine", partial(KerasEngine, command=command))
    store = FolderStore(tmp_path / "cache")
    for version in range(1, 7):
        store.add(
            write_keras_package(tmp_path / f"v{version}", metrics={"test_accuracy": version / 10}), "tiny", str(version)
        )
    seen: list[tuple[int, str]] = []
    pids: list[int] = []

    async def work() -> None:
        async with serving(store, keep_previous=False, scale_check=False) as server:
            stop = asyncio.Event()

            async def ask_on() -> None:
                while not stop.is_set():
                    answer = await server.client.post("/v1/models/tiny:predict", json={"instances": INPUTS.tolist()})
                    seen.append((answer.status_code, answer.headers["x-model-version"]))

            load = [asyncio.create_task(ask_on()) for _ in range(4)]
            for version in (1, 2, 3, 4, 5, 6, 1):
                store.aliases[Ref("tiny", "champion")] = str(version)
                await server.poll()
                predictor = server.engine.find("tiny").predictor
                assert isinstance(predictor, KerasEngine)
                assert predictor.pid is not None
                pids.append(predictor.pid)
            stop.set()
            await asyncio.gather(*load)

    run(work())

    assert {status for status, _ in seen} == {200}
    assert {version for _, version in seen} >= {"6", "1"}
    assert len(set(pids)) == 7
    assert all(gone(pid) for pid in pids)


def test_the_server_itself_never_imports_tensorflow() -> None:
    script = (
        "import sys\n"
        "import services.model_server.app, services.model_server.engines, services.model_server.keras_engine.child\n"
        "sys.exit(', '.join({'tensorflow', 'keras'} & sys.modules.keys()))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stderr.strip() == ""


def test_a_package_must_hold_what_its_engine_computes(tmp_path: Path) -> None:
    folder = write_keras_package(tmp_path / "package")
    (folder / "data" / "model.keras").rename(folder / "model.onnx")
    seal(folder)

    with pytest.raises(PackageRejected, match=r"its manifest.json does not name data/model.keras"):
        open_package(folder)
