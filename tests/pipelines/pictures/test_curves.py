from __future__ import annotations

import math
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from pipelines.pictures import curves as drawing
from pipelines.pictures import loss_curve
from pipelines.pictures.sheet import Sheet

SVG = "{http://www.w3.org/2000/svg}"
Curves = dict[str, list[tuple[int, float]]]


def usual_curves(epochs: int = 30) -> Curves:
    return {
        "loss": [(epoch, 2.0 * 0.9**epoch) for epoch in range(epochs)],
        "accuracy": [(epoch, 1 - 0.8 * 0.9**epoch) for epoch in range(epochs)],
        "val_loss": [(epoch, 2.1 * 0.92**epoch + 0.1) for epoch in range(epochs)],
        "val_accuracy": [(epoch, 0.97 - 0.8 * 0.9**epoch) for epoch in range(epochs)],
        "learning_rate": [(epoch, 1e-3 if epoch < 10 else 1e-4) for epoch in range(epochs)],
    }


class Picture:
    """What is in an SVG that a browser would take."""

    def __init__(self, svg: bytes) -> None:
        self.root = ElementTree.fromstring(svg.decode("utf-8"))
        assert self.root.tag == f"{SVG}svg"
        assert self.root.attrib["viewBox"] == "0 0 800 500"
        for element in self.root.iter():
            numbers = [element.get(name, "0") for name in ("x", "y", "cx", "cy", "width", "height", "points")]
            assert all(math.isfinite(float(number)) for number in " ".join(numbers).replace(",", " ").split())

    def all(self, kind: str, **attributes: str) -> list[ElementTree.Element]:
        """Elements of a kind that have these attributes."""
        found = self.root.iter(f"{SVG}{kind}")
        return [each for each in found if all(each.get(name) == value for name, value in attributes.items())]

    def lines(self, color: str) -> list[list[tuple[float, float]]]:
        """Lines of a colour, each as its points."""
        return [
            [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]
            for line in self.all("polyline", stroke=color)
        ]

    def crosses(self) -> int:
        """How many values are marked as being no numbers."""
        return len(self.all("path", stroke=drawing.WARN))


def decoded(svg: bytes) -> Picture:
    return Picture(svg)


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


def test_a_usual_trial_gives_a_small_picture_with_every_curve() -> None:
    svg = loss_curve(usual_curves(), title="digits, trial 7", best_epoch=22)
    picture = decoded(svg)

    assert len(svg) < 10_000
    assert [len(line) for line in picture.lines(drawing.TRAIN)] == [30, 30]
    assert [len(line) for line in picture.lines(drawing.ACCENT) if len(line) > 2] == [30, 30]
    falls = picture.lines(drawing.TRAIN)[0]  # counted from the top
    assert [y for _, y in falls] == sorted(y for _, y in falls)
    assert [x for x, _ in falls] == sorted(x for x, _ in falls)


def test_it_says_what_it_is_to_those_who_have_it_read_to_them_and_lies_on_white() -> None:
    picture = decoded(loss_curve(usual_curves(), title="digits, trial 7", best_epoch=22))

    assert picture.root.attrib["role"] == "img"
    assert picture.root[0].text == "digits, trial 7"
    assert "best epoch 22 with val_loss 0.4354" in str(picture.root[1].text)
    assert picture.all("rect", width="800", height="500")[0].attrib["fill"] == "#ffffff"


def test_curves_are_told_apart_by_their_names_and_thickness_and_not_by_colour_alone(words: list[str]) -> None:
    picture = decoded(loss_curve(usual_curves(), title="t", best_epoch=None))

    assert {word.split()[0] for word in words if word.startswith(("train ", "val "))} == {"train", "val"}
    thin, thick = (
        {line.attrib["stroke-width"] for line in picture.all("polyline", stroke=color)}
        for color in (drawing.TRAIN, drawing.ACCENT)
    )
    assert thin.isdisjoint(thick)


def test_letters_are_large_enough_where_the_picture_is_shown_at_640_pixels() -> None:
    picture = decoded(loss_curve(usual_curves(), title="t", best_epoch=22))

    assert min(float(text.attrib["font-size"]) for text in picture.all("text")) * 640 / 800 >= 10


def test_everything_is_on_the_sheet() -> None:
    curves = usual_curves()
    curves["val_loss"][7] = (7, math.nan)
    picture = decoded(loss_curve(curves, title="t", best_epoch=29))

    places = [(float(text.attrib["x"]), float(text.attrib["y"])) for text in picture.all("text")]
    places += [place for line in picture.all("polyline") for place in picture.lines(line.attrib["stroke"])[0]]
    assert all(0 <= x <= 800 and 0 <= y <= 500 for x, y in places)


def test_a_picture_of_many_long_noisy_metrics_stays_small(words: list[str]) -> None:
    def noisy(epochs: int) -> Curves:
        return {
            f"{kind}metric_{number}": [
                (epoch, (epoch * 7919 * (number + 2)) % 101 / 10 + 0.1) for epoch in range(epochs)
            ]
            for number in range(6)
            for kind in ("", "val_")
        }

    assert len(loss_curve(noisy(400), title="many", best_epoch=3)) < 60_000
    assert "not drawn: metric_3, metric_4, metric_5" in words
    assert len(loss_curve(noisy(20_000), title="many", best_epoch=3)) < 200_000


def test_a_line_of_more_points_than_there_are_pixels_keeps_its_ends_and_its_peaks() -> None:
    points = [(epoch, 1.0) for epoch in range(9_000)]
    points[5_001] = (5_001, 3.0)
    (line,) = decoded(loss_curve({"loss": points}, title="t", best_epoch=5_001)).lines(drawing.TRAIN)
    whole = [(0, 1.0), (5_001, 3.0), (8_999, 1.0)]
    (peak,) = decoded(loss_curve({"loss": whole}, title="t", best_epoch=5_001)).lines(drawing.TRAIN)

    assert len(line) < 2_000
    assert set(peak) <= set(line)


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
    assert decoded(loss_curve(curves, title="sound", best_epoch=2)).crosses() == 0
    for epoch in (3, 4, 5, 9):
        curves["val_loss"][epoch] = (epoch, math.nan)
    picture = decoded(loss_curve(curves, title="gaps", best_epoch=2))
    assert "Not a finite number (×): val_loss at epoch 3–5, 9" in words
    assert picture.crosses() == 4
    assert "Not a finite number" in str(picture.root[1].text)


def test_a_gap_is_left_empty_and_not_bridged() -> None:
    line = [(epoch, 1.0 + epoch / 1000) for epoch in range(40)]
    holed = [(epoch, math.nan if 10 <= epoch < 30 else value) for epoch, value in line]
    (whole,) = decoded(loss_curve({"val_loss": line}, title="", best_epoch=None)).lines(drawing.ACCENT)
    before, after = decoded(loss_curve({"val_loss": holed}, title="", best_epoch=None)).lines(drawing.ACCENT)
    assert (len(whole), len(before), len(after)) == (40, 10, 10)
    assert before[-1][0] < after[0][0] - 100


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


@pytest.mark.parametrize(
    "title", ['<b>$x_1$</b> \\frac{ & "', "日本語 🚣", "two\nlines\t\x00\ud800", "long " * 200, "長" * 400, ""]
)
def test_any_title_is_drawn_as_it_is_and_without_a_warning(title: str) -> None:
    decoded(loss_curve(usual_curves(3), title=title, best_epoch=0))


def test_one_picture_leaves_nothing_on_the_next() -> None:
    first = loss_curve({"loss": [(0, 1.0), (1, 0.5)]}, title="a", best_epoch=0)
    loss_curve(usual_curves(), title="another", best_epoch=22)
    assert loss_curve({"loss": [(0, 1.0), (1, 0.5)]}, title="a", best_epoch=0) == first


def test_drawing_loads_no_drawing_library() -> None:
    script = (
        "import sys; from pipelines.pictures import loss_curve; loss_curve({'loss': [(0, 1.0)]}, title='',"
        "best_epoch=0);"
        "assert not {'matplotlib', 'PIL'} & set(sys.modules)"
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
    picture = decoded(loss_curve({"val_r2": r2}, title="t", best_epoch=39))

    below = next(word for word in words if word.startswith("r2 ("))
    assert below == "r2 (8 below the panel)"
    ticks = [float(word) for word in words if word.lstrip("-").replace(".", "").isdigit() and "." in word]
    assert ticks
    assert min(ticks) > -2
    (curve,) = (line for line in picture.all("polyline", stroke=drawing.ACCENT) if line.get("clip-path"))
    (clip,) = picture.all("clipPath")
    assert curve.attrib["clip-path"] == f"url(#{clip.attrib['id']})"  # nothing is drawn below the panel
    assert float(clip[0].attrib["y"]) + float(clip[0].attrib["height"]) < 480


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
