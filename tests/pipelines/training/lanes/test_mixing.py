"""Groups that differ in their optimizer alone: where their values lie, and that each trial is as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.pipelines.training.lanes.parity import DOUBLE, PARTLY, SINGLE, Config, Parity, Queue, Table, precision
from tests.pipelines.training.lanes.parity_cases import Cases

pytestmark = pytest.mark.usefixtures("keras")
WEIGHTS = [np.zeros((3, 2), np.float32), np.zeros(2, np.float32)]
STEPS, RATE = np.array(0, np.int64), np.array(0.1, np.float32)


def mixture(**values: list[np.ndarray]) -> Any:
    from pipelines.training.lanes.mixing import Mixture

    lifts = {"sgd": ("optimizer.momentum",), "adam": ("optimizer.beta_1", "dropout.0")}
    return Mixture({key: SimpleNamespace(first=first, lifts=lifts[key]) for key, first in values.items()})  # type: ignore[misc]


def test_what_optimizers_keep_lies_in_the_same_places_as_far_as_it_is_of_one_form() -> None:
    mixed = mixture(sgd=[*WEIGHTS, STEPS, RATE, *WEIGHTS], adam=[*WEIGHTS, STEPS, RATE, *WEIGHTS, *WEIGHTS])

    assert mixed.places == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6, 7]]
    assert [value.shape for value in mixed.first] == [(3, 2), (2,), (), (), (3, 2), (2,), (3, 2), (2,)]
    assert mixed.lifts == ("dropout.0", "optimizer.beta_1", "optimizer.momentum")
    assert [mixed.number(key) for key in ("sgd", "adam")] == [0, 1]


def test_a_place_has_one_type() -> None:
    mixed = mixture(sgd=[STEPS, RATE], adam=[RATE, STEPS, np.array(0, np.int32)])
    assert mixed.places == [[0, 1], [1, 0, 2]]


def test_lanes_see_what_is_theirs_and_change_nothing_else() -> None:
    from pipelines.training.lanes.bank import Bank

    mixed = mixture(sgd=[STEPS, RATE], adam=[RATE, STEPS, RATE])
    bank = Bank(2, mixed.first)
    seen = mixed.seen_in(bank, "adam")
    seen.write(1, {0: np.array(0.5, np.float32), 2: np.array(0.25, np.float32)})

    assert [float(value) for value in mixed.seen_in(bank, "sgd").read_all(1)] == [0.0, 0.5]
    assert [float(value) for value in seen.read_all(1)] == [0.5, 0.0, 0.25]
    assert float(seen.read(1, 2)) == 0.25
    assert [float(value) for value in bank.read_all(1)] == [0.0, 0.5, 0.25]
    assert [float(value) for value in bank.read_all(0)] == [0.0, np.float32(0.1), np.float32(0.1)]


STOPPING = {"early_stopping": {"patience": 0, "min_delta": 0.02}}
CASES: Cases = {
    "sgd": {"optimizer": {"name": "sgd", "learning_rate": 0.1}},
    "sgd with a momentum": {"optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.6, "nesterov": True}},
    "adam": {"optimizer": {"name": "adam", "learning_rate": 0.02, "beta_1": 0.8}, "seed": 1},
    "another adam": {"optimizer": {"name": "adam", "learning_rate": 0.01, "beta_2": 0.99}, "epochs": 5, "seed": 2},
    "rmsprop": {"optimizer": {"name": "rmsprop", "learning_rate": 0.01, "rho": 0.8, "clipnorm": 0.5}, "seed": 3},
    "one that stops early": {"optimizer": {"name": "sgd", "learning_rate": 0.1}, "epochs": 6, "callbacks": STOPPING},
    "adamw, as the fifth": {"optimizer": {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}, "seed": 4},
    "an average": {"optimizer": {"name": "nadam", "learning_rate": 0.01, "use_ema": True}, "seed": 5},
    "steps of two batches": {"optimizer": {"name": "lion", "learning_rate": 0.01, "gradient_accumulation_steps": 2}},
    "a schedule": {"optimizer": {"name": "adam", "learning_rate": "cosine"}},
    "nothing for each number by itself": {"optimizer": {"name": "lamb", "learning_rate": 0.01}},
}


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Parity:
    return Parity(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module", params=[("float64", DOUBLE), ("float32", SINGLE)], ids=["double", "single"])
def tables(request: pytest.FixtureRequest, parity: Parity) -> Iterator[tuple[Table, float]]:
    kind, tolerance = request.param
    with precision(kind):
        yield Table(parity, CASES, lanes=3), tolerance


@pytest.mark.parametrize("case", CASES)
def test_a_trial_beside_others_with_other_optimizers_is_as_fit_has_it(tables: tuple[Table, float], case: str) -> None:
    table, tolerance = tables
    table.agrees(case, max(tolerance, PARTLY) if case == "a schedule" else tolerance)


# how many programs there are


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the programs that are made from now on."""
    from pipelines.training.lanes import founding
    from pipelines.training.lanes.program import Program

    made: list[int] = []

    def make(*args: Any, width: int, **kwargs: Any) -> Program:
        made.append(width)
        return Program(*args, width=width, **kwargs)

    monkeypatch.setattr(founding, "Program", make)
    return made


KINDS: list[Config] = [{"optimizer": {"name": name}} for name in ("sgd", "adam", "rmsprop")]


def work(parity: Parity, configs: list[Config], **how: Any) -> list[Any]:
    told = [
        parity.told({"epochs": 2, "seed": number, **config}, number=number) for number, config in enumerate(configs)
    ]
    worker = parity.worker(trials=len(told), **how)
    worker.work(told)
    assert [one.ended.error for one in told] == [None] * len(told)
    return told


def test_trials_of_several_optimizers_share_one_program(parity: Parity, widths: list[int]) -> None:
    told = work(parity, [KINDS[number % 3] for number in range(7)], lanes=4)
    assert widths == [4]
    assert all(one.in_a_lane for one in told)


def test_an_optimizer_that_comes_later_has_a_program_of_its_own(parity: Parity, widths: list[int]) -> None:
    worker = parity.worker(lanes=2, trials=4)
    for names in (("sgd", "adam"), ("rmsprop", "sgd")):
        told = [parity.told({"epochs": 1, "optimizer": {"name": name}}) for name in names]
        worker.work(told)
        assert all(one.in_a_lane for one in told)
    assert widths == [2, 2]


def test_without_xla_each_optimizer_has_a_program(parity: Parity, widths: list[int]) -> None:
    work(parity, [{**kind, "xla": "off"} for kind in KINDS], lanes=2)
    assert widths == [2, 2, 2]


def test_trials_that_find_no_lane_begin_a_second_cohort_of_the_same_program(
    parity: Parity, widths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 2)
    worker = parity.worker(lanes="auto", most=16, trials=20)
    told = [parity.told({"epochs": 2, **KINDS[number % 3]}, number=number) for number in range(20)]
    worker.work(told)

    assert all(one.in_a_lane and one.ended.error is None for one in told)
    assert widths == [8]
    assert worker.queue.most == 16


def test_a_mixed_program_that_breaks_is_tried_again_for_each_optimizer(
    parity: Parity, widths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.training.lanes.program import Program

    train = Program.train

    def breaks(program: Any, *args: Any) -> Any:
        if len(program._rules) > 1:
            raise RuntimeError("the device does not like it")
        return train(program, *args)

    monkeypatch.setattr(Program, "train", breaks)
    worker = parity.worker(lanes=2, trials=2)
    told = [parity.told({"epochs": 1, **kind}) for kind in KINDS[:2]]
    worker.work(told)
    assert all("does not like it" in str(one.ended.error) for one in told)

    again = [parity.told({"epochs": 1, **kind}) for kind in KINDS[:2]]
    worker.work(again)
    assert all(one.in_a_lane and one.ended.error is None for one in again)
    assert widths == [2, 2, 2]


def test_where_no_program_can_be_made_of_several_optimizers_each_has_one(
    parity: Parity, widths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.training.lanes.program import Program

    traces = Program.traces

    def fails(program: Any, *args: Any) -> Any:
        if len(program._rules) > 1:
            raise ValueError("no such graph")
        return traces(program, *args)

    monkeypatch.setattr(Program, "traces", fails)
    told = work(parity, KINDS[:2], lanes=2)
    assert all(one.in_a_lane for one in told)
    assert widths == [2, 2, 2]


def test_no_more_trials_are_taken_than_the_cohorts_have_lanes(parity: Parity) -> None:
    queue = Queue()
    worker = parity.worker(lanes=2, trials=6, most=64)
    worker.queue = queue
    worker.work([parity.told({"epochs": 1, **KINDS[number % 2]}, number=number) for number in range(6)])
    assert queue.most == 2
