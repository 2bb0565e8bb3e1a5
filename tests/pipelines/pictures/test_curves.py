from __future__ import annotations

import io
import math
import subprocess
import sys
import threading

import pytest
from PIL import Image

from pipelines.pictures import curves as drawing
from pipelines.pictures import loss_curve
from pipelines.pictures.sheet import Sheet

Curves = dict[str, list[tuple[int, float]]]


def usual_curves(epochs: int = 30) -> Curves:
    return {
        "loss": [(epoch, 2.0 * 0.9**epoch) for epoch in range(epochs)],
        "accuracy": [(epoch, 1 - 0.8 * 0.9**epoch) for epoch in range(epochs)],
        "val_loss": [(epoch, 2.1 * 0.92**epoch + 0.1) for epoch in range(epochs)],
        "val_accuracy": [(epoch, 0.97 - 0.8 * 0.9**epoch) for epoch in range(epochs)],
        "learning_rate": [(epoch, 1e-3 if epoch < 10 else 1e-4) for epoch in range(epochs)],
    }


def decoded(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    assert image.size == (900, 540)
    return image.convert("RGB")


def pixels_of(image: Image.Image, color: str, box: tuple[int, int, int, int] | None = None) -> int:
    """How many pixels of the box have that colour, give or take the palette."""
    wanted = tuple(int(color[place : place + 2], 16) for place in (1, 3, 5))
    part = image.crop(box) if box else image
    flat = part.tobytes()
    pixels = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return sum(all(abs(a - b) <= 10 for a, b in zip(pixel, wanted, strict=True)) for pixel in pixels)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is put into a picture."""
    said: list[str] = []
    text = Sheet.text

    def listening(sheet: Sheet, x: float, y: float, what: str, *rest: object, **how: object) -> None:
        said.append(what)
        text(sheet, x, y, what, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Sheet, "text", listening)
    return said


def test_a_usual_trial_gives_a_small_png_of_the_promised_size() -> None:
    png = loss_curve(usual_curves(), title="digits, trial 7", best_epoch=22)
    image = decoded(png)
    assert len(png) < 60_000
    assert pixels_of(image, drawing.ACCENT) > 500
    assert pixels_of(image, drawing.TRAIN) > 300


def test_a_picture_of_many_long_noisy_metrics_stays_small(words: list[str]) -> None:
    curves = {
        f"{kind}metric_{number}": [(epoch, (epoch * 7919 * (number + 2)) % 101 / 10 + 0.1) for epoch in range(400)]
        for number in range(6)
        for kind in ("", "val_")
    }
    png = loss_curve(curves, title="many", best_epoch=3)
    decoded(png)
    assert len(png) < 60_000
    assert "not drawn: metric_3, metric_4, metric_5" in words


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {"loss": []},
        {"loss": [(0, 0.5)]},
        {"loss": [(0, math.nan)], "val_loss": [(0, math.inf)]},
        {"loss": [(0, 1.0), (1, 1.0)], "learning_rate": [(0, 1e-3), (1, 1e-3)]},
        {"loss": [(0, 1e-12), (1, 1e12)], "val_loss": [(0, -math.inf), (1, 2.0)]},
        {"loss": [(0, -1e299), (1, 1e299)]},
        {"loss": [(0, 1.797e308), (1, 1.0)]},
        {"loss": [(0, 0.0), (1, 1e-30)]},
        {"accuracy": [(3, 0.5), (9, 0.6)]},
        {"learning_rate": [(0, 1e-3), (1, 0.0)]},
    ],
)
def test_odd_curves_still_make_a_picture(curves: Curves) -> None:
    decoded(loss_curve(curves, title="odd", best_epoch=0))
    decoded(loss_curve(curves, title="odd", best_epoch=None))


def test_values_that_are_not_finite_are_named_and_marked(words: list[str]) -> None:
    curves = usual_curves()
    assert pixels_of(decoded(loss_curve(curves, title="sound", best_epoch=2)), drawing.WARN) == 0
    for epoch in (3, 4, 5, 9):
        curves["val_loss"][epoch] = (epoch, math.nan)
    image = decoded(loss_curve(curves, title="gaps", best_epoch=2))
    assert "Not a finite number (×): val_loss at epoch 3–5, 9" in words
    assert pixels_of(image, drawing.WARN) > 100


def test_a_gap_is_left_empty_and_not_bridged() -> None:
    line = [(epoch, 1.0 + epoch / 1000) for epoch in range(40)]
    whole = decoded(loss_curve({"val_loss": line}, title="", best_epoch=None))
    holed = [(epoch, math.nan if 10 <= epoch < 30 else value) for epoch, value in line]
    gaps = decoded(loss_curve({"val_loss": holed}, title="", best_epoch=None))
    middle = (390, 80, 460, 440)
    assert pixels_of(whole, drawing.ACCENT, middle) > 50
    assert pixels_of(gaps, drawing.ACCENT, middle) == 0


def test_the_best_epoch_is_marked_and_its_values_are_told(words: list[str]) -> None:
    loss_curve(usual_curves(), title="t", best_epoch=22)
    assert words.count("best epoch 22") == 2  # on both panels
    assert any(line.startswith("30 epochs; best epoch 22 with val_loss 0.4354") for line in words)
    words.clear()
    loss_curve(usual_curves(), title="t", best_epoch=None)
    assert not any("best epoch" in line for line in words)


def test_the_learning_rate_is_drawn_only_when_it_changes(words: list[str]) -> None:
    loss_curve(usual_curves(), title="t", best_epoch=1)
    assert any(line.startswith("learning rate") for line in words)
    words.clear()
    loss_curve(usual_curves(8), title="t", best_epoch=1)
    assert not any(line.startswith("learning rate") for line in words)


def test_epoch_ticks_are_whole_numbers(words: list[str]) -> None:
    loss_curve({"loss": [(0, 1.0), (1, 0.5), (2, 0.4)]}, title="t", best_epoch=None)
    axis = words[: words.index("epoch, counted from 0")]
    assert [tick for tick in axis if tick.isdigit()] == ["0", "1", "2"]


@pytest.mark.parametrize("title", ["<b>$x_1$</b> \\frac{", "日本語 🚣", "two\nlines\t\x00", "long " * 200, ""])
def test_any_title_is_drawn_as_it_is_and_without_a_warning(title: str) -> None:
    decoded(loss_curve(usual_curves(3), title=title, best_epoch=0))


def test_one_picture_leaves_nothing_on_the_next() -> None:
    first = loss_curve({"loss": [(0, 1.0), (1, 0.5)]}, title="a", best_epoch=0)
    loss_curve(usual_curves(), title="another", best_epoch=22)
    assert loss_curve({"loss": [(0, 1.0), (1, 0.5)]}, title="a", best_epoch=0) == first


def test_a_background_thread_draws_the_same_picture() -> None:
    drawn: list[bytes] = []
    thread = threading.Thread(target=lambda: drawn.append(loss_curve(usual_curves(), title="t", best_epoch=3)))
    thread.start()
    thread.join(timeout=60)
    assert drawn == [loss_curve(usual_curves(), title="t", best_epoch=3)]


def test_importing_the_module_loads_no_drawing_library_and_drawing_loads_no_pyplot() -> None:
    script = (
        "import sys; from pipelines.pictures import loss_curve; assert 'matplotlib' not in sys.modules;"
        "loss_curve({'loss': [(0, 1.0)]}, title='', best_epoch=0); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_diagnostics_are_left_out_and_not_even_named(words: list[str]) -> None:
    looked_into = {
        f"diagnostics/hidden_{layer}/{what}": [(0, math.nan), (1, 1e30)]
        for layer in range(4)
        for what in ("mean", "dead")
    }
    plain = loss_curve(usual_curves(), title="t", best_epoch=3)
    words.clear()

    assert loss_curve({**looked_into, **usual_curves()}, title="t", best_epoch=3) == plain
    assert not any("diagnostics" in word or "not drawn" in word or "Not a finite" in word for word in words)


def test_a_trial_with_nothing_but_diagnostics_has_no_epoch_to_show(words: list[str]) -> None:
    decoded(loss_curve({"diagnostics/hidden/mean": [(0, 1.0)]}, title="t", best_epoch=0))
    assert words == ["t", "No epoch was recorded."]


def test_values_so_far_off_that_they_would_flatten_a_curve_are_cut_off_and_counted(words: list[str]) -> None:
    r2 = [(epoch, 0.8 - 90 * 0.5**epoch) for epoch in range(40)]
    image = decoded(loss_curve({"val_r2": r2}, title="t", best_epoch=39))

    below = next(word for word in words if word.startswith("r2 ("))
    assert below == "r2 (8 below the panel)"
    ticks = [float(word) for word in words if word.lstrip("-").replace(".", "").isdigit() and "." in word]
    assert ticks
    assert min(ticks) > -2
    assert pixels_of(image, drawing.ACCENT, (62, 500, 800, 540)) == 0  # nothing is drawn below the panel


@pytest.mark.parametrize(
    "points",
    [
        [(epoch, 0.97 - 0.6 * 0.8**epoch) for epoch in range(40)],
        [(0, -3.0), (1, 0.5), (2, 0.7)],
        [(epoch, float(epoch % 2)) for epoch in range(40)],
        [(0, -80.0), (1, 0.5), (2, 0.7), (3, 0.7), (4, 0.7), (5, -80.0)],
    ],
)
def test_a_curve_is_whole_where_nothing_is_far_off_or_its_ends_are(
    words: list[str], points: list[tuple[int, float]]
) -> None:
    loss_curve({"r2": points}, title="t", best_epoch=len(points) - 1)

    assert not any("the panel)" in word for word in words)


def test_the_best_epoch_is_never_cut_off(words: list[str]) -> None:
    off = [(epoch, -50.0 if epoch == 3 else 0.5 + epoch / 100) for epoch in range(40)]
    loss_curve({"r2": off}, title="t", best_epoch=10)
    assert "r2 (1 below the panel)" in words
    words.clear()
    loss_curve({"r2": off}, title="t", best_epoch=3)
    assert "r2" in words
