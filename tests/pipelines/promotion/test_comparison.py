"""Two models on the same samples: gains, intervals and tests, against other implementations and their own promise."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from pipelines.packaging.scoring import score
from pipelines.promotion.comparison import Comparison, answers, compare, losses_of, mcnemar_mid_p
from pipelines.tasks import SCORES, Task


def one_hot(classes: Any, count: int = 3, sure: float = 0.8) -> np.ndarray:
    """Outputs that name these classes."""
    outputs = np.full((len(classes), count), (1.0 - sure) / (count - 1), np.float32)
    outputs[np.arange(len(classes)), classes] = sure
    return outputs


def paired(both: int, only_mine: int, only_theirs: int, neither: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, mine, theirs of three classes, with so many samples that both, one, or neither has right."""
    truth = np.zeros(both + only_mine + only_theirs + neither, np.int64)
    mine = np.repeat([0, 0, 1, 1], [both, only_mine, only_theirs, neither])
    theirs = np.repeat([0, 1, 0, 1], [both, only_mine, only_theirs, neither])
    return truth, one_hot(mine), one_hot(theirs)


def sample(task: Task, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    if task is Task.MULTICLASS:
        truth = chance.integers(0, 4, count)
        mine, theirs = (
            chance.dirichlet(np.ones(4) + 0.0, count) * 0.5 + np.eye(4)[truth] * 0.5 * share for share in (1.0, 0.8)
        )
        return truth, mine.astype(np.float32), theirs.astype(np.float32)
    if task is Task.BINARY:
        truth = chance.integers(0, 2, count)
        mine, theirs = (
            np.clip(truth * share + chance.random(count) * (1 - share), 0, 1)[:, None] for share in (0.4, 0.3)
        )
        return truth, mine.astype(np.float32), theirs.astype(np.float32)
    truth = chance.normal(50, 10, count).astype(np.float32)
    mine, theirs = ((truth + chance.normal(0, spread, count))[:, None] for spread in (4.0, 5.0))
    return truth, mine.astype(np.float32), theirs.astype(np.float32)


@pytest.mark.parametrize(("task", "metric"), [(task, metric) for task in Task for metric in SCORES[task]])
def test_the_two_scores_are_those_of_the_package_and_the_gain_is_above_zero_where_the_candidate_is_better(
    task: Task, metric: str
) -> None:
    truth, mine, theirs = sample(task, 400)

    found = compare(task, metric, truth, mine, theirs)

    assert found.mine == pytest.approx(score(task, mine, truth).values[metric], rel=1e-5)
    assert found.theirs == pytest.approx(score(task, theirs, truth).values[metric], rel=1e-5)
    assert found.gain > 0
    assert found.low < found.gain < found.high
    assert found.samples == 400


@pytest.mark.parametrize(("task", "metric"), [(task, metric) for task in Task for metric in SCORES[task]])
def test_turned_round_the_comparison_says_the_opposite(task: Task, metric: str) -> None:
    truth, mine, theirs = sample(task, 300)

    one, other = compare(task, metric, truth, mine, theirs), compare(task, metric, truth, theirs, mine)

    assert one.gain == pytest.approx(-other.gain)
    assert one.low == pytest.approx(-other.high, abs=0.05 * (one.high - one.low))


@pytest.mark.parametrize("metric", ["test_loss", "test_accuracy"])
def test_the_same_seed_gives_the_same_interval(metric: str) -> None:
    data = sample(Task.MULTICLASS, 200)

    first, second = (compare(Task.MULTICLASS, metric, *data, seed=3) for _ in range(2))
    other = compare(Task.MULTICLASS, metric, *data, seed=4)

    assert first == second
    assert (first.low, first.high) != (other.low, other.high) or metric == "test_accuracy"


def test_a_loss_has_the_interval_that_scipys_bootstrap_gives_it() -> None:
    truth, mine, theirs = sample(Task.MULTICLASS, 250)
    gains = losses_of(Task.MULTICLASS, truth, theirs) - losses_of(Task.MULTICLASS, truth, mine)

    found = compare(Task.MULTICLASS, "test_loss", truth, mine, theirs)
    expected = stats.bootstrap(
        (gains,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval

    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.04 * width)
    assert found.high == pytest.approx(expected.high, abs=0.04 * width)


def test_an_explained_share_has_the_interval_that_scipys_paired_bootstrap_gives_it() -> None:
    truth, mine, theirs = sample(Task.REGRESSION, 200)

    def gain(y: np.ndarray, one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
        spread = ((y - y.mean(axis, keepdims=True)) ** 2).sum(axis)
        return np.asarray((((other - y) ** 2).sum(axis) - ((one - y) ** 2).sum(axis)) / spread)

    found = compare(Task.REGRESSION, "test_r2", truth, mine, theirs)
    columns = (truth.astype(float), mine[:, 0].astype(float), theirs[:, 0].astype(float))
    expected = stats.bootstrap(
        columns, gain, paired=True, n_resamples=6_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval

    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high == pytest.approx(expected.high, abs=0.06 * width)


def test_an_interval_covers_the_true_gain_about_as_often_as_it_promises() -> None:
    """Two models that are right on 80 % and 75 % of all samples there are, with errors that are no strangers."""
    chance = np.random.default_rng(11)
    hits, rounds = 0, 300
    for number in range(rounds):
        hard = chance.random(400)  # of each sample, how hard it is
        mine, theirs = (hard + chance.normal(0, 0.1, 400) > edge for edge in (0.2, 0.25))
        found = compare(
            Task.MULTICLASS,
            "test_accuracy",
            np.zeros(400, np.int64),
            one_hot(1 - mine),
            one_hot(1 - theirs),
            seed=number,
        )
        hits += found.low <= _true_gain() <= found.high

    assert 0.91 <= hits / rounds <= 0.985


def _true_gain() -> float:
    """P(hard + noise > 0.2) less P(hard + noise > 0.25), hard uniform on 0..1 and the noise normal, by quadrature."""
    hard = (np.arange(20_000) + 0.5) / 20_000
    return float((stats.norm.sf((0.2 - hard) / 0.1) - stats.norm.sf((0.25 - hard) / 0.1)).mean())


def test_two_equal_models_are_seldom_told_apart_by_mcnemars_mid_p() -> None:
    chance = np.random.default_rng(7)
    wrong = sum(
        mcnemar_mid_p(only_mine, 12 - only_mine) <= 0.05 for only_mine in chance.binomial(12, 0.5, 4000).tolist()
    )

    assert wrong / 4000 <= 0.06


@pytest.mark.parametrize(
    ("only_mine", "only_theirs", "expected"),
    [
        (0, 0, 1.0),
        (1, 0, 0.5),  # exact 1, less the 1/2 of what was seen
        (5, 0, 0.03125),  # exact 0.0625
        (0, 5, 0.03125),
        (4, 0, 0.0625),
        (2, 2, 1 - 0.375 / 2),
        (10, 2, stats.binomtest(2, 12).pvalue - stats.binom.pmf(2, 12, 0.5)),
        (59, 31, stats.binomtest(31, 90).pvalue - stats.binom.pmf(31, 90, 0.5)),
    ],
)
def test_the_mid_p_of_mcnemars_test_is_the_exact_one_less_half_of_what_was_seen_on_both_sides(
    only_mine: int, only_theirs: int, expected: float
) -> None:
    assert mcnemar_mid_p(only_mine, only_theirs) == pytest.approx(expected)


def test_the_samples_on_which_two_models_differ_are_counted() -> None:
    found = compare(Task.MULTICLASS, "test_accuracy", *paired(80, 9, 4, 7))

    assert (found.only_mine, found.only_theirs, found.samples) == (9, 4, 100)
    assert found.gain == pytest.approx(0.05)
    assert found.test == "McNemar mid-p"
    assert found.p == pytest.approx(mcnemar_mid_p(9, 4))


def test_two_models_that_say_the_same_differ_by_nothing_and_surely_so() -> None:
    truth, mine, _ = sample(Task.MULTICLASS, 100)

    found = compare(Task.MULTICLASS, "test_accuracy", truth, mine, mine)

    assert (found.gain, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_higher_confidence_gives_a_wider_interval() -> None:
    data = sample(Task.REGRESSION, 200)

    narrow, wide = (compare(Task.REGRESSION, "test_mae", *data, confidence=level) for level in (0.8, 0.99))

    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_area_under_the_curve_is_scikit_learns_and_delongs_interval_agrees_with_a_bootstrap() -> None:
    truth, mine, theirs = sample(Task.BINARY, 200)
    found = compare(Task.BINARY, "test_auc", truth, mine, theirs)
    chance = np.random.default_rng(3)
    drawn = []
    for _ in range(400):
        rows = chance.integers(0, len(truth), len(truth))
        drawn.append(roc_auc_score(truth[rows], mine[rows, 0]) - roc_auc_score(truth[rows], theirs[rows, 0]))

    assert found.mine == pytest.approx(roc_auc_score(truth, mine[:, 0]))
    assert found.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.02)
    assert found.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.02)
    assert found.p is not None
    assert 0 < found.p < 1


def test_where_there_is_one_class_only_nothing_is_known_of_an_area() -> None:
    found = compare(Task.BINARY, "test_auc", np.ones(10, np.int64), np.ones((10, 1)), np.zeros((10, 1)))

    assert math.isnan(found.gain)
    assert found.p is None
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["gain"] is None


def test_outputs_that_are_no_numbers_have_no_interval_above_anything() -> None:
    truth, mine, theirs = sample(Task.REGRESSION, 50)
    mine[3] = np.nan

    found = compare(Task.REGRESSION, "test_mae", truth, mine, theirs)

    assert not found.low > 0
    assert not found.gain > 0


def test_the_recall_of_each_class_is_compared_and_a_class_without_samples_is_left_out() -> None:
    truth = np.array([0] * 10 + [1] * 20)
    mine, theirs = one_hot([0] * 8 + [1] * 2 + [1] * 20), one_hot([0] * 10 + [1] * 15 + [0] * 5)

    found = compare(Task.MULTICLASS, "test_accuracy", truth, mine, theirs, labels=("a", "b", "c"))

    assert dict(found.class_drops or {}) == pytest.approx({"a": 0.2, "b": -0.25})


def test_ten_thousand_samples_are_compared_in_little_memory() -> None:
    import tracemalloc

    data = sample(Task.MULTICLASS, 10_000)
    tracemalloc.start()
    found = compare(Task.MULTICLASS, "test_loss", *data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert isinstance(found, Comparison)
    assert found.resamples == 4_000
    assert peak < 200 << 20


@pytest.mark.parametrize(
    ("outputs", "classes"),
    [([[0.2], [0.7], [0.5]], [0, 1, 0]), ([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], [1, 0])],
)
def test_answers_are_the_likeliest_classes(outputs: list[list[float]], classes: list[int]) -> None:
    assert answers(np.array(outputs)).tolist() == classes


def test_one_model_in_two_forms_says_the_same_but_for_rounding() -> None:
    truth = np.array([0, 1, 2, 0])
    said = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]], np.float32)
    other = said.copy()
    other[3] = [0.5, 0.2, 0.3]

    assert compare(Task.MULTICLASS, "test_loss", truth, said + np.float32(1e-7), said).same
    assert not compare(Task.MULTICLASS, "test_loss", truth, other, said).same
