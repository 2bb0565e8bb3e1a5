"""A device that does not compute any more is left out; one whose worker died of its own trial is not."""

from __future__ import annotations

import pytest

from pipelines.devices import Rotation
from pipelines.devices.nvml import Nvml
from pipelines.devices.xids import Xids
from tests.pipelines.devices.fake_nvml import Card, FakeNvml

A, B = "GPU-a", "GPU-b"


class Health:
    """What the driver says of devices: fine, unless it is told otherwise."""

    def __init__(self) -> None:
        self.lost: dict[str, str | None] = {}

    def __call__(self, name: str) -> str | None:
        return self.lost.get(name, "")


def rotation(*devices: str, health: Health | None = None, told: str = "") -> Rotation:
    return Rotation(devices, lost=health or Health(), xids=lambda name: told)


def test_a_device_that_the_driver_has_lost_is_out_at_once() -> None:
    health = Health()
    turns = rotation(A, B, health=health, told="XID 79 (it has fallen off the bus)")
    health.lost[A] = "NVIDIA's driver says of it: GPU is lost"

    why = turns.gone(0, "its process exited with code 1")

    assert why == (
        "the device GPU-a is taken out of the rotation: NVIDIA's driver says of it: GPU is lost; XID 79 (it has fallen "
        "off the bus). 1 other goes on"
    )
    assert turns.out == [A]
    assert turns.gone(1, "its process exited with code 1") == "", "the other is not to blame"


def test_the_second_death_in_a_row_takes_a_device_out_while_another_does_well() -> None:
    turns = rotation(A, B, A, B)
    assert turns.gone(0, "SIGABRT") == ""
    assert "2 workers died on it one after another, the last one as SIGABRT" in turns.gone(2, "SIGABRT")
    assert turns.gone(0, "SIGABRT") != "", "whoever is on it still is not replaced either"


def test_a_task_that_is_done_shows_that_the_device_works() -> None:
    turns = rotation(A, B)
    turns.gone(0, "SIGSEGV")
    turns.did_something(0)
    assert turns.gone(0, "SIGSEGV") == ""
    assert turns.out == []


def test_deaths_that_lie_far_apart_are_not_in_a_row() -> None:
    now = [0.0]
    turns = Rotation((A, B), lost=Health(), xids=lambda name: "", clock=lambda: now[0])
    turns.gone(0, "SIGSEGV")
    now[0] = 4000.0
    assert turns.gone(0, "SIGSEGV") == ""
    now[0] = 4010.0
    assert turns.gone(0, "SIGSEGV") != ""


def test_what_befalls_all_devices_alike_is_no_fault_of_any() -> None:
    turns = rotation(A, B)
    for worker in (0, 1, 0, 1, 0, 1):
        found = turns.gone(worker, "SIGSEGV")
        if worker == 1:
            assert found == ""
    assert len(turns.out) <= 1, "one is left, on which the trials themselves are judged"


def test_the_last_device_stays_unless_the_driver_has_lost_it() -> None:
    health = Health()
    turns = rotation(A, health=health)
    assert [turns.gone(0, "SIGSEGV") for _ in range(4)] == [""] * 4
    health.lost[A] = "NVIDIA's driver says of it: GPU is lost"
    assert turns.gone(0, "SIGSEGV").endswith("GPU is lost. There is no other")


def test_whom_somebody_ended_or_memory_was_short_for_says_nothing_of_the_device() -> None:
    health = Health()
    turns = rotation(A, B, health=health)
    for _ in range(5):
        assert turns.gone(0, "it made no step", by_itself=False) == ""
    assert turns.out == []


def test_workers_on_the_cpu_have_no_device_to_lose() -> None:
    turns = Rotation.of([{"CUDA_VISIBLE_DEVICES": "-1"}, {}], lost=Health(), xids=lambda name: "")
    turns.did_something(0)
    assert [turns.gone(worker, "SIGSEGV") for worker in (0, 0, 0, 1)] == [""] * 4


def test_where_nobody_knows_of_health_two_deaths_in_a_row_decide() -> None:
    health = Health()
    health.lost = {A: None, B: None}
    turns = rotation(A, B, health=health)
    assert turns.gone(0, "SIGABRT") == ""
    assert turns.gone(0, "SIGABRT") != ""


@pytest.mark.parametrize(
    ("card", "told"),
    [
        (Card("GPU-a"), ""),
        (Card("GPU-a", lost=True), "NVIDIA's driver says of it: GPU is lost"),
        (Card("GPU-other"), "NVIDIA's driver says of it: Not Found"),
    ],
)
def test_the_driver_is_asked_about_a_device(card: Card, told: str) -> None:
    assert Nvml(FakeNvml(card)).lost("GPU-a") == told


def test_an_answer_that_says_nothing_of_the_device_is_no_answer() -> None:
    library = FakeNvml(Card("GPU-a"))
    asked = Nvml(library)
    library.cards.clear()
    assert asked.lost("0") is None, "an invalid number may be a mistake of ours"


def test_what_the_driver_tells_of_errors_is_kept_by_device() -> None:
    library = FakeNvml(Card("GPU-a"), Card("GPU-b"), Card("GPU-c", silent=True))
    xids = Xids(["GPU-a", "1", "GPU-c", "GPU-none"], Nvml(library))
    assert library.watched == ["GPU-a", "GPU-b"]

    library.events += [("GPU-a", 79), ("GPU-b", 43), ("GPU-b", 999), ("GPU-a", 79)]

    assert xids("GPU-a") == "XID 79 (it has fallen off the bus)"
    assert xids("1") == "XID 43 (a program on it stopped), XID 999"
    assert xids("GPU-c") == ""
    assert Xids([])("GPU-a") == ""
