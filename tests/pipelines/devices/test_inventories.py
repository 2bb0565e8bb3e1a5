"""Which devices there are, who is asked, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipelines import devices
from pipelines.devices import Device, inventories
from pipelines.devices.by_tensorflow import TensorFlowSilent, listed_by_tensorflow
from pipelines.devices.inventories import Inventory, Signs, take_inventory
from pipelines.devices.nvml import Nvml, nvml
from tests.pipelines.devices.fake_nvml import Card, FakeNvml

DRIVER = Signs(driver=True)
ONE, TWO = Card("GPU-1111-aaaa"), Card("GPU-2222-bbbb", "NVIDIA A100", 40960, capability=(8, 0))
SLICED = Card(
    "GPU-3333-cccc",
    mig=True,
    slices=[Card("MIG-aaaa-1", "NVIDIA H100 MIG 1g.10gb", 9856), Card("MIG-aaaa-2", "NVIDIA H100 MIG 1g.10gb", 9856)],
)


def nobody() -> Sequence[Device]:
    raise AssertionError("TensorFlow takes seconds to ask, and was asked")


def taken(
    *cards: Card,
    visible: str | None = None,
    signs: Signs = DRIVER,
    tensorflow: Callable[[], Sequence[Device]] = nobody,
    old: bool = False,
) -> Inventory:
    return take_inventory(visible, signs, library=lambda: Nvml(FakeNvml(*cards, old=old)), tensorflow=tensorflow)


def test_the_driver_is_asked_first_and_tells_everything() -> None:
    found = taken(ONE, TWO)

    assert found.source == "nvml"
    assert found.names == ["GPU-1111-aaaa", "GPU-2222-bbbb"]
    assert found.devices[1] == Device(1, "GPU-2222-bbbb", "NVIDIA A100", 40960, 40360, 0, (), (8, 0))
    assert found.free_mb == 40360, "that of the fullest counts"
    assert found.remarks == ()


def test_an_older_driver_answers_in_bytes_and_counts_what_it_keeps_itself() -> None:
    (found,) = taken(ONE, old=True).devices
    assert (found.uuid, found.name, found.used_mb) == ("GPU-1111-aaaa", "NVIDIA H100 80GB HBM3", 600)


def test_the_slices_of_a_gpu_are_devices_of_their_own() -> None:
    found = taken(ONE, SLICED)

    assert found.names == ["GPU-1111-aaaa", "MIG-aaaa-1", "MIG-aaaa-2"]
    first = found.devices[1]
    assert (first.index, first.slice_of, first.total_mb, first.capability) == (1, "GPU-3333-cccc", 9856, (9, 0))
    assert first.title == "MIG slice of GPU 1 (NVIDIA H100 MIG 1g.10gb, MIG-aaaa-1)"


def test_a_gpu_that_is_to_be_sliced_and_is_not_yet_is_no_device() -> None:
    assert taken(Card("GPU-4", mig=True)).names == []


def test_a_gpu_that_is_lost_keeps_no_other_from_its_work() -> None:
    assert taken(Card("GPU-0", lost=True), TWO).names == ["GPU-2222-bbbb"]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["GPU-1111-aaaa", "GPU-2222-bbbb", "MIG-aaaa-1", "MIG-aaaa-2"]),
        ("1,0", ["GPU-2222-bbbb", "GPU-1111-aaaa"]),
        (" 1 ", ["GPU-2222-bbbb"]),
        ("2", ["MIG-aaaa-1", "MIG-aaaa-2"]),
        ("GPU-2", ["GPU-2222-bbbb"]),  # the beginning is enough
        ("GPU-3333-cccc", ["MIG-aaaa-1", "MIG-aaaa-2"]),
        ("MIG-aaaa-2,0", ["MIG-aaaa-2", "GPU-1111-aaaa"]),
        ("GPU-", []),  # which could be any
        ("MIG-aaaa", []),
        ("0,7,1", ["GPU-1111-aaaa"]),  # CUDA, too, stops there
        ("0,-1,1", ["GPU-1111-aaaa"]),
        ("0,0,1", ["GPU-1111-aaaa", "GPU-2222-bbbb"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_the_callers_word_on_what_may_be_seen_is_kept(visible: str | None, names: list[str]) -> None:
    assert taken(ONE, TWO, SLICED, visible=visible).names == names


def test_a_word_that_means_nothing_is_told_with_what_there_is() -> None:
    (remark,) = taken(ONE, visible="GPU-9").remarks
    assert remark == (
        "CUDA_VISIBLE_DEVICES=GPU-9 names no device of this machine, which has: GPU 0 (NVIDIA H100 80GB HBM3, "
        "GPU-1111-aaaa). The CPU is used."
    )
    assert taken(ONE, visible="-1").remarks == (), "whoever wants none knows why"


def test_memory_that_others_hold_is_told_before_anything_is_started() -> None:
    (remark,) = taken(Card("GPU-1", used_mb=21000, processes={77: 20000, 123: None})).remarks
    assert remark == (
        "GPU 0 (NVIDIA H100 80GB HBM3, GPU-1) is in use by others (processes 77, 123): 21000 of its 81559 MiB are "
        "taken, 59959 are free."
    )
    assert taken(Card("GPU-1", used_mb=400, processes={77: 400})).remarks == (), "a desktop is no news"


def test_without_the_library_tensorflow_is_asked() -> None:
    seen = (Device(0, name="NVIDIA H100", capability=(9, 0)), Device(1, name="NVIDIA H100"))

    found = take_inventory(None, DRIVER, library=lambda: None, tensorflow=lambda: seen)
    chosen = take_inventory("3,GPU-ab", DRIVER, library=lambda: None, tensorflow=lambda: seen)

    assert (found.source, found.names, found.free_mb) == ("tensorflow", ["0", "1"], None)
    assert (chosen.names, [device.index for device in chosen.devices]) == (["3", "GPU-ab"], [3, 1])


def test_where_nobody_can_say_there_is_the_cpu_and_a_word_about_it() -> None:
    def silent() -> Sequence[Device]:
        raise TensorFlowSilent("TensorFlow could not be asked for GPUs (no module)")

    found = take_inventory(None, DRIVER, library=lambda: None, tensorflow=silent)

    assert found == Inventory(remarks=("TensorFlow could not be asked for GPUs (no module): trials train on the CPU.",))


def test_a_machine_without_a_driver_is_not_asked_at_all() -> None:
    def never() -> None:
        raise AssertionError("the library was asked for")

    assert take_inventory(None, Signs(), library=never, tensorflow=nobody) == Inventory()
    assert take_inventory("0,1", Signs(), library=never, tensorflow=nobody) == Inventory()


def test_a_tensorflow_without_gpus_is_told_apart_from_a_machine_without_them() -> None:
    found = taken(ONE, signs=Signs(driver=True, without_gpus=True))
    assert (found.names, found.source) == ([], "none")
    assert "tensorflow-cpu" in found.remarks[0]
    assert "make setup DEVICE=gpu" in found.remarks[0]


@pytest.mark.parametrize(
    ("file", "words"), [("dev/kfd", "an AMD GPU"), ("dev/accel0", "an accelerator that is no GPU (a TPU, or the like)")]
)
def test_what_is_there_and_not_made_use_of_is_said(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).touch()

    signs = Signs.read(tmp_path)
    found = take_inventory(None, Signs(others=signs.others), library=lambda: None, tensorflow=nobody)

    assert found.remarks == (
        f"There is {words} here, which Regatta does not use: it trains on NVIDIA GPUs and on CPUs.",
    )


@pytest.mark.parametrize("path", ["dev/nvidiactl", "dev/dxg", "proc/driver/nvidia/version"])
def test_a_driver_is_known_by_what_it_puts_into_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert not Signs.read(tmp_path).driver
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert Signs.read(tmp_path).driver


def test_this_machine_is_asked_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Signs, "read", classmethod(lambda cls: DRIVER))
    library = Nvml(FakeNvml(ONE, TWO))
    monkeypatch.setattr(inventories, "take_inventory", lambda visible, signs: taken(ONE, TWO, visible=visible))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert devices.gpus() == ["GPU-2222-bbbb"]
    assert [device.uuid for device in library.devices()] == ["GPU-1111-aaaa", "GPU-2222-bbbb"]
    assert devices.cores() >= 1


def test_a_library_without_a_driver_behind_it_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml(started=False))
    nvml.cache_clear()
    try:
        assert nvml() is None
        monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
        nvml.cache_clear()
        assert nvml() is None
        monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml(ONE))
        nvml.cache_clear()
        found = nvml()
        assert found is not None
        assert [device.uuid for device in found.devices()] == ["GPU-1111-aaaa"]
    finally:
        nvml.cache_clear()


def test_tensorflow_is_asked_in_a_process_of_its_own() -> None:
    program = "import json; print('noise'); print(json.dumps([['NVIDIA H100', [9, 0]], ['old one', []]]))"
    assert listed_by_tensorflow(program) == (
        Device(0, name="NVIDIA H100", capability=(9, 0)),
        Device(1, name="old one"),
    )


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import sys; sys.exit('no such module')", r"\(no such module\)"),
        ("raise SystemExit(3)", "it printed nothing"),
        ("print('hello')", "answered something else"),
        ("import threading; threading.Event().wait(60)", "TimeoutExpired"),
    ],
)
def test_a_tensorflow_that_cannot_answer_is_told(program: str, told: str) -> None:
    with pytest.raises(TensorFlowSilent, match=told):
        listed_by_tensorflow(program, timeout_s=1.0)
