from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.datasets.playground import Circle, Gauss, MultiGauss, Plane, PlaygroundSpec, Spiral, Xor
from pipelines.datasets.prepared import prepare
from pipelines.inputs import Column
from pipelines.tasks import Task

CLASSES: list[type[PlaygroundSpec]] = [Circle, Xor, Gauss, Spiral]
NUMBERS: list[type[PlaygroundSpec]] = [Plane, MultiGauss]


def points(spec: PlaygroundSpec) -> tuple[Any, Any]:
    samples = spec.load(None).samples
    return np.asarray(samples.x, np.float64), samples.y


@pytest.mark.parametrize("kind", CLASSES + NUMBERS)
def test_points_are_in_the_plane_that_the_playground_shows(kind: type[PlaygroundSpec]) -> None:
    spec = kind()
    source = spec.load(None)
    count = 1200 if kind in NUMBERS else 500
    assert (source.samples.x.shape, source.samples.x.dtype) == ((count, 2), np.float32)
    assert (source.facts.kind, source.facts.shape) == ("points", (2,))
    assert (source.facts.low, source.facts.high) == (-6.0, 6.0)
    assert source.facts.columns == (Column("x1"), Column("x2"))
    assert np.abs(source.samples.x[:]).max() <= 6
    assert source.official_test is None


@pytest.mark.parametrize("kind", CLASSES)
def test_there_are_two_classes_about_alike(kind: type[PlaygroundSpec]) -> None:
    source = kind(samples=501).load(None)
    assert source.facts.labels == ("negative", "positive")
    assert kind.tasks == (Task.BINARY, Task.MULTICLASS)
    assert source.samples.y.dtype == np.int64
    assert len(source.samples) == 501
    assert 0.4 < source.samples.y.mean() < 0.6


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_number_is_predicted_for_regression(kind: type[PlaygroundSpec]) -> None:
    source = kind().load(None)
    assert (source.facts.labels, kind.tasks) == ((), (Task.REGRESSION,))
    assert source.samples.y.dtype == np.float32
    assert np.abs(source.samples.y).max() <= 1.2


def test_the_circle_is_a_disc_in_a_ring() -> None:
    x, y = points(Circle(samples=4000))
    radius = np.hypot(*x.T)
    assert radius[y == 1].max() < 2.5
    assert radius[y == 0].min() >= 3.5 - 1e-6
    assert radius.max() <= 5 + 1e-6
    assert np.mean(y) == 0.5


def test_exclusive_or_has_a_gap_along_both_axes() -> None:
    x, y = points(Xor(samples=4000))
    assert np.abs(x).min() >= 0.3
    assert np.abs(x).max() <= 5.3
    np.testing.assert_array_equal(y, x[:, 0] * x[:, 1] > 0)


@pytest.mark.parametrize(("noise", "variance"), [(0.0, 0.5), (0.25, 2.25), (0.5, 4.0)])
def test_the_clouds_widen_with_noise(noise: float, variance: float) -> None:
    x, y = points(Gauss(samples=20000, noise=noise))
    for label, centre in ((1, 2.0), (0, -2.0)):
        np.testing.assert_allclose(x[y == label].mean(axis=0), centre, atol=0.1)
        np.testing.assert_allclose(x[y == label].var(axis=0), variance, rtol=0.05)


def test_the_spiral_has_two_arms_that_are_one_turned_by_half() -> None:
    x, y = points(Spiral(samples=400))
    np.testing.assert_allclose(x[y == 1], -x[y == 0], atol=1e-5)
    arm = x[y == 1]
    way = np.arange(200) / 200
    np.testing.assert_allclose(np.hypot(*arm.T), 5 * way, atol=1e-5)
    np.testing.assert_allclose(arm[100], 2.5 * np.array([np.sin(1.75 * np.pi), np.cos(1.75 * np.pi)]), atol=1e-5)


def test_the_plane_is_a_tenth_of_the_sum() -> None:
    x, y = points(Plane())
    np.testing.assert_allclose(y, x.sum(axis=1) / 10, atol=1e-6)


def test_the_hills_are_six_with_a_sign_each() -> None:
    spec = MultiGauss()
    tops = np.array([[-4, 2.5], [0, 2.5], [4, 2.5], [-4, -2.5], [0, -2.5], [4, -2.5]])
    assert spec.number(tops).tolist() == [1, -1, 1, -1, 1, -1]
    assert spec.number(np.array([[0.0, 0.0], [-4, 1.5], [2.0, 2.5], [-1.9, 2.5]])) == pytest.approx([0, 0.5, 0, -0.05])


@pytest.mark.parametrize("kind", CLASSES + NUMBERS)
def test_noise_blurs_what_is_predicted_and_moves_points_of_clouds_and_spirals_alone(kind: type[PlaygroundSpec]) -> None:
    clean_x, clean_y = points(kind())
    noisy_x, noisy_y = points(kind(noise=0.5))
    assert (clean_x == noisy_x).all() == (kind not in (Gauss, Spiral))
    assert (clean_y == noisy_y).all() == (kind in (Gauss, Spiral))


@pytest.mark.parametrize("kind", CLASSES + NUMBERS)
def test_a_seed_gives_the_same_points_and_another_seed_others(kind: type[PlaygroundSpec]) -> None:
    digests = [kind(seed=seed, noise=0.1).load(None).sha256() for seed in (0, 0, 1)]
    assert digests[0] == digests[1]
    assert (digests[0] == digests[2]) is False


@pytest.mark.parametrize(
    ("share", "counts", "sealed"),
    [(0.5, {"train": 200, "validation": 50}, 250), (0.7, {"train": 280, "validation": 70}, 150)],
)
def test_the_ratio_of_training_to_test_data_is_the_playgrounds(
    tmp_path: Path, share: float, counts: dict[str, int], sealed: int
) -> None:
    spec = Xor(train_share=share)
    assert spec.held_out_share == pytest.approx(1 - share)
    assert prepare(spec, None, tmp_path).counts == counts
    assert 500 - sum(counts.values()) == sealed


@pytest.mark.parametrize(
    "settings", [{"noise": 0.6}, {"noise": -0.1}, {"samples": 3}, {"train_share": 0.95}, {"seed": -1}]
)
def test_settings_beyond_the_playgrounds_sliders_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Circle.model_validate(settings)
