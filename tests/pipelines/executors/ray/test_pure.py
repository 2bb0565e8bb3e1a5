"""What of the executor `ray` needs no Ray."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.errors import ExecutorError
from pipelines.executors.ray import bootstrap
from pipelines.executors.ray.agency import own_address
from pipelines.executors.ray.baggage import own_parts, pack, pins
from pipelines.executors.ray.cargo import Cargo, load, unload
from pipelines.executors.ray.nodes import find, knocks, places_of, said
from pipelines.executors.ray.reasons import in_a_sentence, kind_of
from pipelines.executors.ray.settings import RayCluster
from pipelines.own.digest import named_in


class ActorDiedError(Exception):
    """As Ray's is called."""


class OutOfMemoryError(Exception):
    """As Ray's is called."""


class RayTaskError(Exception):
    """As Ray's is called."""


NODE = "The actor is dead because its node has died. Node Id: 5c2a. The actor's node was terminated unexpectedly."
GUESS = (
    "Worker unexpectedly exits with a connection error code 2. End of file. There are some potential root causes. "
    "(1) The process is killed by SIGKILL by OOM killer due to high memory usage."
)
MEMORY = "Task was killed due to the node running low on memory. Memory on the node was 15.1GB / 16GB (0.95)."


@pytest.mark.parametrize(
    ("problem", "kind", "reason"),
    [
        (ActorDiedError(NODE), "node", "its node left"),
        (ActorDiedError(GUESS), "died", "its process was ended from outside, or broke off"),
        (ActorDiedError("Worker exits with an exit code 139. Exit type: SYSTEM_ERROR"), "died", "exited with code 139"),
        (ActorDiedError("The actor is dead because it was killed by `ray.kill`."), "died", "somebody ended it"),
        (
            ActorDiedError("The actor failed to set up the runtime environment.\nTraceback\nRuntimeError: no pip\n"),
            "raised",
            "its environment could not be made on its node: RuntimeError: no pip",
        ),
        (OutOfMemoryError(MEMORY), "memory", "its node ran out of memory"),
        (RayTaskError("Traceback\n  File x\nRuntimeError: no such device\n"), "raised", "RuntimeError: no such device"),
    ],
)
def test_what_became_of_an_actor_is_told_in_kind_and_in_few_words(problem: Exception, kind: str, reason: str) -> None:
    found, text = kind_of(problem)

    assert found == kind
    assert reason in text


def test_an_exception_becomes_the_end_of_a_sentence() -> None:
    assert in_a_sentence(ConnectionError("Could not read\n  the cluster's address.")) == (
        "Could not read the cluster's address"
    )
    assert in_a_sentence(ConnectionError()) == "ConnectionError"
    assert len(in_a_sentence(ConnectionError("x" * 999))) == 300


@pytest.mark.parametrize(
    ("resources", "needs", "places"),
    [
        ({"CPU": 4.0}, {"CPU": 1.0}, 4),
        ({"CPU": 4.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.5}, 2),
        ({"CPU": 4.0}, {"CPU": 1.0, "GPU": 1.0}, 0),
        ({"CPU": 4.0, "lab": 1.0}, {"CPU": 1.0, "lab": 1.0}, 1),
        ({"CPU": 0.3}, {"CPU": 0.1}, 3),  # in binary, 0.3 is a little less than three times 0.1
        ({}, {"CPU": 1.0}, 0),
    ],
)
def test_a_node_has_room_for_as_many_workers_as_its_scarcest_resource_allows(
    resources: dict[str, float], needs: dict[str, float], places: int
) -> None:
    assert places_of(resources, needs) == places


def test_nobody_opens_where_nobody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.executors.ray.nodes._FOUND_IN_S", 0.0)

    assert not knocks("127.0.0.1", 9)
    with pytest.raises(ConnectionError, match="nobody answers there"):
        find("127.0.0.1:9")
    for somewhere in (None, "auto", "local"):
        find(somewhere)


def test_what_a_node_has_is_told_by_names_that_people_know() -> None:
    resources = {"CPU": 4.0, "memory": 1e9, "object_store_memory": 1e9, "node:10.0.0.1": 1.0, "lab": 2.0}

    assert said(resources) == "4 CPU, 0 GPU, 2 lab"


def test_a_worker_needs_what_the_recipe_says_by_rays_names() -> None:
    cluster = RayCluster(num_cpus=2, num_gpus=0.5, resources={"lab": 1}, memory_mb=1024)

    assert cluster.needs() == {"CPU": 2, "GPU": 0.5, "lab": 1, "memory": 1 << 30}
    assert RayCluster().needs() == {"CPU": 1}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"address": "ray://head:10001"}, "must be the address of the cluster itself"),
        ({"runtime_env": {"pip": ["numpy"]}}, "must not set pip"),
        ({"runtime_env": {"working_dir": "."}}, "must not set working_dir"),
        ({"num_cpus": 0}, "greater than 0"),
        ({"resources": {"lab": -1}}, "greater than 0"),
        ({"packages": "some"}, "'auto', 'install' or 'there'"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RayCluster(**settings)


def test_modules_are_found_wherever_a_recipe_names_them() -> None:
    recipe = {
        "model": {"name": "function", "function": "my_models:make", "note": "see: below"},
        "callbacks": {"own": {"class": "lab.parts.callbacks:Paces"}},
        "dataset": {"path": "/data/x.csv", "columns": ["a:b:c", "other:thing"]},
        "epochs": 3,
    }

    assert named_in(recipe) == {"my_models", "lab.parts.callbacks", "other"}


def test_own_code_goes_with_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("my_models.py", "helpers.py", "package/__init__.py", "namespace/mine.py", "data/big.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")

    assert own_parts({"numpy.linalg"}, tmp_path) == []
    assert [path.name for path in own_parts({"my_models"}, tmp_path)] == ["my_models.py", "helpers.py", "package"]
    assert [path.name for path in own_parts({"namespace.mine"}, tmp_path)] == [
        "namespace",
        "helpers.py",
        "my_models.py",
        "package",
    ]


def test_the_archive_holds_this_package_and_own_code_and_comes_out_the_same_each_time(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "my_models" / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "table.json", ".secret", "__pycache__/old.pyc"):
        (here / "my_models" / name).write_text("x")

    first = pack(tmp_path / "1.zip", {"model": "my_models:make"}, here).read_bytes()
    second = pack(tmp_path / "2.zip", {"model": "my_models:make"}, here).read_bytes()

    assert first == second
    names = zipfile.ZipFile(tmp_path / "1.zip").namelist()
    assert [name for name in names if name.startswith("my_models")] == ["my_models/__init__.py", "my_models/table.json"]
    assert "pipelines/executors/ray/actor.py" in names
    assert not [name for name in names if "__pycache__" in name]


def test_more_code_than_can_be_sent_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.executors.ray.baggage._MOST_BYTES", 100)

    with pytest.raises(ExecutorError, match="Keep data elsewhere than between the modules"):
        pack(tmp_path / "code.zip", {}, tmp_path)


def test_pins_are_those_of_the_lock_that_this_platform_has(tmp_path: Path) -> None:
    lock = tmp_path / "cpu.txt"
    lock.write_text(
        "# by make lock\n"
        "absl-py==2.5.1 \\\n    --hash=sha256:28\n    # via keras\n"
        "keras==3.15.1 ; python_version >= '3' \\\n    --hash=sha256:29\n"
        "pywin32==310 ; sys_platform == 'win32' \\\n    --hash=sha256:30\n"
    )

    assert pins(lock) == ("absl-py==2.5.1", "keras==3.15.1")
    assert pins(tmp_path / "none.txt") == ()


def test_every_pin_of_the_lock_is_here_in_this_version() -> None:
    assert len(pins()) > 50
    assert bootstrap.lacking(list(pins())) == []
    assert bootstrap.lacking(["keras==1.0", "no-such-package==2"]) == ["keras==1.0", "no-such-package==2"]


def a_folder(base: Path) -> Path:
    folder = base / "digits-1"
    folder.mkdir(parents=True)
    (folder / "facts.json").write_text("{}")
    (folder / "train-x.npy").write_bytes(os.urandom(100_000))
    (folder / "empty").touch()
    return folder


def test_a_folder_comes_to_a_node_once_and_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.executors.ray.cargo._PIECE_BYTES", 30_000)
    store: list[bytes] = []
    fetched: list[int] = []

    def put(piece: bytes) -> int:
        store.append(piece)
        return len(store) - 1

    def fetch(piece: int) -> bytes:
        fetched.append(piece)
        return store[piece]

    folder = a_folder(tmp_path / "controller")
    cargo = Cargo.from_plain(load(folder, put).to_plain())
    there = unload(cargo, tmp_path / "node", fetch)
    again = unload(cargo, tmp_path / "node", fetch)

    assert there == again == tmp_path / "node" / "data" / "digits-1"
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert fetched == list(range(5))


def test_a_folder_that_has_not_come_whole_is_not_there(tmp_path: Path) -> None:
    cargo = load(a_folder(tmp_path / "controller"), lambda piece: piece)

    with pytest.raises(OSError, match=r"train-x\.npy has not arrived as it was sent"):
        unload(cargo, tmp_path / "node", lambda piece: piece[:-1] if len(piece) > 2 else piece)

    assert [path.name for path in (tmp_path / "node" / "data").iterdir() if path.is_dir()] == []


def test_code_is_laid_once_by_what_is_in_it_and_old_code_goes(tmp_path: Path) -> None:
    code = pack(tmp_path / "code.zip", {}, tmp_path).read_bytes()
    old = tmp_path / "node" / "0123456789abcdef"
    old.mkdir(parents=True)
    os.utime(old, (1.0, 1.0))

    first = bootstrap.laid(code, tmp_path / "node")
    (first / "mark").touch()
    second = bootstrap.laid(code, tmp_path / "node")

    assert first == second == tmp_path / "node" / hashlib.sha256(code).hexdigest()[:16]
    assert (second / "mark").exists()
    assert (second / "pipelines" / "worker.py").is_file()
    assert not old.exists()


def test_this_machine_is_reached_by_the_address_on_the_way_to_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert own_address(None) == "127.0.0.1"
    assert own_address("127.0.0.1:6379") == "127.0.0.1"
    assert own_address("[::1]:6379") == "::1"
    assert own_address("auto") == "127.0.0.1"
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("[::1]:6379\n")
    assert own_address("auto") == "::1"
