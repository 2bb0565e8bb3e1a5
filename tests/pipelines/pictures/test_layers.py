from __future__ import annotations

import io
import math
from typing import Any

import pytest
from PIL import Image

from pipelines.pictures import brush
from pipelines.pictures.curves import ACCENT, WARN
from pipelines.pictures.layers import DEAD, SATURATED, LayerState, Scales, layers_picture

SIGMOID = [
    *(LayerState(f"hidden_{n}", 10.0 ** (n - 7), 0.5, 0.1, saturated=n / 10) for n in range(1, 6)),
    LayerState("out", 0.5, 0.1, 0.02),
]


def drawn(states: list[LayerState], scales: Scales | None = None, **how: Any) -> Image.Image:
    png = layers_picture(states, scales or Scales().grown(states), **how)
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def near(pixel: Any, color: str) -> bool:
    return all(abs(a - b) < 16 for a, b in zip(pixel, brush.rgb(color), strict=True))


def heights(image: Image.Image, count: int, color: str) -> list[int]:
    """How many pixels of a colour stand above one another in the middle of each layer's column."""
    column = (640 - 58 - 12) / count
    middles = [round(58 + (place + 0.5) * column) for place in range(count)]
    return [sum(near(image.getpixel((x, y)), color) for y in range(image.height)) for x in middles]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    words: list[str] = []
    write = brush.write

    def listening(draw: Any, place: Any, text: str, **how: Any) -> float:
        words.append(text)
        return write(draw, place, text, **how)

    monkeypatch.setattr(brush, "write", listening)
    return words


def test_a_bar_is_as_high_as_its_gradient_has_decades() -> None:
    states = [LayerState(str(power), 10.0**power) for power in (-3, -2, -1)]
    image = drawn(states, Scales((-4, 0)))

    found = heights(image, 3, ACCENT)
    assert found == pytest.approx([132 / 4, 132 / 2, 132 * 3 / 4], abs=8)  # numbers stand above, in the same colour


def test_layers_stand_in_their_order_and_their_numbers_are_written(said: list[str]) -> None:
    drawn(SIGMOID, title="epoch 3", note="val_loss 2.3")

    assert said[:2] == ["epoch 3", "val_loss 2.3"]
    assert [word for word in said if word.startswith("hidden") or word == "out"] == [one.name for one in SIGMOID]
    numbers = ["1e\N{MINUS SIGN}6", "1e\N{MINUS SIGN}5", "1e\N{MINUS SIGN}4", "1e\N{MINUS SIGN}3", "0.01", "0.5"]
    assert [word for word in said if word in numbers][-6:] == numbers
    assert [word for word in said if word in ("10%", "20%", "30%", "40%")] == ["10%", "20%", "30%", "40%"]


@pytest.mark.parametrize(
    ("state", "there", "missing"),
    [
        (LayerState("a", 1.0), ["gradient"], ["activations", "saturated activations", "dead units"]),
        (LayerState("a", None, 0.0, 1.0), ["activations"], ["gradient", "saturated activations", "dead units"]),
        (
            LayerState("a", 1.0, 0.0, 1.0, dead=0.0),
            ["gradient", "activations", "dead units"],
            ["saturated activations"],
        ),
        (LayerState("a", 1.0, saturated=0.2), ["gradient", "saturated activations"], ["activations", "dead units"]),
    ],
)
def test_a_panel_is_there_only_where_there_is_something_to_show(
    said: list[str], state: LayerState, there: list[str], missing: list[str]
) -> None:
    image = drawn([state])

    assert image.width == 640
    assert set(there) <= set(said)
    assert not set(missing) & set(said)


def test_saturated_and_dead_shares_have_their_own_colours_and_grow_from_the_floor() -> None:
    shares = [LayerState("a", saturated=0.5), LayerState("b", dead=0.25), LayerState("c", saturated=0.0)]
    image = drawn(shares)

    assert heights(image, 3, SATURATED) == pytest.approx([33, 0, 0], abs=2)
    assert heights(image, 3, DEAD)[1] >= 15


def test_what_is_warned_of_is_red() -> None:
    plain, red = drawn(SIGMOID), drawn(SIGMOID, warned={("hidden_2", "gradient"), ("hidden_5", "saturated")})

    assert max(heights(plain, 6, WARN)) == 0
    tall = heights(red, 6, WARN)
    assert tall[1] > 20
    assert tall[4] == 3  # a red edge on a bar that keeps its colour
    assert [tall[place] for place in (0, 2, 3, 5)] == [0] * 4
    assert heights(red, 6, ACCENT)[1] < heights(plain, 6, ACCENT)[1]


def test_a_gradient_of_zero_says_so_and_one_that_is_no_number_is_a_cross(said: list[str]) -> None:
    image = drawn([LayerState("a", 0.0), LayerState("b", math.nan), LayerState("c", 1.0), LayerState("d", math.inf)])

    assert "0" in said
    crosses = heights(image, 4, WARN)
    assert [bool(count) for count in crosses] == [False, True, False, True]


def test_axes_stay_where_they_are_until_a_layer_leaves_them() -> None:
    first = Scales().grown([LayerState("a", 0.02, 0.0, 1.0), LayerState("b", 0.5, 1.0, 1.0)])
    assert first.decades == (-3, 1)
    within = first.grown([LayerState("a", 0.002, 0.1, 0.9), LayerState("b", 5.0, 0.2, 0.1)])
    assert within == first

    left = first.grown([LayerState("a", 3e-6, 0.0, 1.0), LayerState("b", 0.5, 40.0, 1.0)])
    assert left.decades == (-7, 1)
    assert left.values is not None
    assert first.values is not None
    assert left.values[0] == first.values[0]
    assert left.values[1] > 41
    back = left.grown([LayerState("a", 0.02, 0.0, 1.0)])
    assert back == left


def test_what_is_no_number_or_nearly_zero_does_not_move_the_axes() -> None:
    before = Scales().grown(SIGMOID)
    odd = [LayerState(str(n), g, math.nan, 1.0) for n, g in enumerate((0.0, 1e-40, math.nan, math.inf))]

    assert before.grown(odd) == before
    assert Scales().grown(odd) == Scales()
    far = Scales().grown([LayerState("a", 1e-36), LayerState("b", 1.0)])
    assert far.decades == (-15, 1)


def test_thirty_layers_all_keep_their_names_and_of_more_only_some(said: list[str]) -> None:
    for count in (30, 120):
        said.clear()
        states = [LayerState(f"hidden_{place}", 1.0 + place, 0.0, 1.0, dead=0.1) for place in range(count)]
        drawn(states)
        names = [word for word in said if word.startswith("hidden_")]
        assert names[0] == "hidden_0"
        assert (len(names) == 30) if count == 30 else (20 < len(names) < 60)


@pytest.mark.parametrize(
    "states",
    [
        [],
        [LayerState("a")],
        [LayerState("a" * 300, 1e300, 1e300, 1e300, saturated=math.nan)],
        [LayerState("\n", 5e-324, -1e38, 0.0, dead=1.0)],
        [LayerState("a", math.nan, math.nan, math.nan, saturated=math.nan, dead=math.nan)] * 3,
        [LayerState("a", 0.0, 0.0, 0.0, dead=0.0)],
        [LayerState(f"{n}", 1.0, 0.0, 0.0, saturated=1.0) for n in range(900)],
    ],
)
def test_odd_layers_still_make_a_picture(states: list[LayerState]) -> None:
    assert drawn(states, title="two\nlines", note="long " * 200).width == 640


def test_the_same_is_drawn_the_same_and_is_small() -> None:
    first, second = (layers_picture(SIGMOID, Scales().grown(SIGMOID), title="epoch 1") for _ in range(2))

    assert first == second
    assert len(first) < 12_000
