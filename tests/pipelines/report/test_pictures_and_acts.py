"""The report's parts that a study has only with certain data or callbacks: surfaces, acts, metrics aside, scores."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.records import CallbackAct, TrialHistory, TrialPicture, TrialState
from pipelines.report import curves, surfaces, to_html
from pipelines.report.curves import MOST_ASIDE
from pipelines.report.summary import Summary
from tests.pipelines.test_report import EVIL, Page, array, study, trial

PICTURE = "data:image/webp;base64,"


def noise(path: Path, seed: int = 0, size: tuple[int, int] = (320, 346)) -> Path:
    """A picture that no format makes small."""
    chance = np.random.default_rng(seed)
    Image.fromarray(chance.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path)
    return path


def plain(path: Path, color: str = "#f59322", size: tuple[int, int] = (320, 346)) -> Path:
    Image.new("RGB", size, color).save(path)
    return path


def pictured(
    number: int, path: Path, state: TrialState = TrialState.COMPLETE, value: float | None = None, **other: Any
) -> TrialHistory:
    return trial(number, state, value, pictures={"decision_surface": TrialPicture(7, str(path))}, **other)


class Surfaces(HTMLParser):
    """The section as a reader sees it: its pictures, and their captions."""

    def __init__(self, html: str) -> None:
        super().__init__()
        found = re.search(r'<section id="surfaces">.*?</section>', html, re.S)
        self.there = found is not None
        self.pictures: list[dict[str, str | None]] = []
        self.captions: list[str] = []
        self.classes: list[str | None] = []
        self.words = ""
        self._inside = False
        self.feed(found[0] if found else "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "img":
            self.pictures.append(told)
        elif tag == "figure" and "class" in told:
            self.classes.append(told["class"])
        elif tag == "figcaption":
            self._inside = True
            self.captions.append("")
        elif self._inside:
            self.captions[-1] += " "

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "figcaption"

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._inside:
            self.captions[-1] += data

    def image(self, place: int) -> Image.Image:
        source = self.pictures[place]["src"] or ""
        assert source.startswith(PICTURE)
        return Image.open(io.BytesIO(base64.b64decode(source.removeprefix(PICTURE))))


def test_all_trials_stand_side_by_side_best_first_and_pruned_ones_are_marked(tmp_path: Path) -> None:
    path = plain(tmp_path / "s.png")
    params = {"optimizer.adam.learning_rate": 0.0123456, "model.units": [8, 8], "model.activation": "tanh", "seed": 4}
    shown = Surfaces(
        to_html(
            study(
                pictured(0, path, value=0.5),
                pictured(1, path, TrialState.PRUNED, 0.1),
                pictured(2, path, value=0.25, params=params),
                pictured(3, path, TrialState.FAILED, reason="x"),
                trial(4, value=0.01),
                pictured(5, path, TrialState.RUNNING),
            )
        )
    )

    assert [caption.split()[1] for caption in shown.captions] == ["2", "0", "1", "5", "3"]
    assert shown.captions[0].split() == [
        *("trial", "2", "0.25", "epoch", "7"),
        *("adam.learning_rate:", "0.01235", "units:", "[8,", "8]", "activation:", "tanh"),
    ]
    assert shown.classes == ["complete", "complete", "pruned", "running", "failed"]
    assert "pruned" in shown.captions[2].split()
    assert shown.pictures[0]["alt"] == "Decision surface of trial 2 at epoch 7"
    assert "MLflow" not in shown.words
    assert "gone" not in shown.words


def test_the_best_trial_is_marked_where_it_has_a_picture(tmp_path: Path) -> None:
    path = plain(tmp_path / "s.png")
    shown = Surfaces(to_html(study(pictured(0, path, value=0.5), pictured(1, path, value=0.25))))

    assert ["best" in caption.split() for caption in shown.captions] == [True, False]


def test_long_parameters_are_shortened_in_a_caption(tmp_path: Path) -> None:
    features = '["x1", "x2", "x1_squared", "x2_squared", "x1_x2", "sin_x1", "sin_x2"]'
    shown = Surfaces(to_html(study(pictured(0, plain(tmp_path / "s.png"), value=0.5, params={"features": features}))))

    assert shown.captions[0].endswith("features: [x1, x2, x1_squared, x2_squared, x1_x2, sin_x…")


def test_a_study_without_pictures_has_no_such_section_and_no_dialog() -> None:
    html = to_html(study(trial(0, value=1.0), trial(1, value=2.0)))

    assert not Surfaces(html).there
    assert "<dialog" not in html


@pytest.mark.parametrize(("trials", "width"), [(3, 320), (61, 256), (161, 192)])
def test_the_more_pictures_there_are_the_smaller_they_are(tmp_path: Path, trials: int, width: int) -> None:
    path = plain(tmp_path / "s.png", "#0877bd")
    shown = Surfaces(to_html(study(*(pictured(n, path, value=1.0 + n, epochs=2) for n in range(trials)))))

    assert len(shown.pictures) == trials
    with shown.image(trials - 1) as image:
        assert image.format == "WEBP"
        assert image.width == width
        assert image.convert("RGB").getpixel((5, 5)) == pytest.approx((8, 119, 189), abs=8)


def test_a_page_with_more_pictures_than_it_can_carry_keeps_the_best_and_says_what_is_missing(tmp_path: Path) -> None:
    path = noise(tmp_path / "noise.png")
    trials = [pictured(n, path, value=1.0 + n, epochs=2) for n in range(400)]
    html = to_html(study(*trials))
    shown = Surfaces(html)

    assert len(html.encode()) < 10_000_000
    count = len(shown.pictures)
    assert 50 < count < 400
    assert [int(caption.split()[1]) for caption in shown.captions] == list(range(count))
    assert f"The {count} best of 400 are here; the other {400 - count} would make the page too large" in shown.words
    assert sum(len(picture["src"] or "") for picture in shown.pictures) < surfaces.MOST_BYTES


def test_pictures_take_only_the_room_that_is_left(tmp_path: Path) -> None:
    path = noise(tmp_path / "noise.png")
    summary = Summary(study(*(pictured(n, path, value=1.0 + n) for n in range(5))))
    found = surfaces.surfaces_of(summary, 10_000_000)
    assert found is not None
    sizes = [len(figure) for figure in found.figures]

    few = surfaces.surfaces_of(summary, sum(sizes[:2]) + 1)
    assert few is not None
    assert [*few.figures] == [*found.figures[:2]]
    none = surfaces.surfaces_of(summary, 0)
    assert none is not None
    assert none.figures == ()


def test_pictures_that_are_gone_or_broken_are_counted_and_the_others_shown(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(plain(tmp_path / "s.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    paths = ["gone.png", "torn.png", "s.png", "text.png"]
    shown = Surfaces(to_html(study(*(pictured(n, tmp_path / path, value=1.0 + n) for n, path in enumerate(paths)))))

    assert [caption.split()[1] for caption in shown.captions] == ["2"]
    assert "3 pictures are gone from this disk" in shown.words
    assert "MLflow" not in shown.words


def test_captions_and_acts_are_text_whatever_they_hold(tmp_path: Path) -> None:
    acts = (CallbackAct(1, EVIL, EVIL, EVIL), CallbackAct(1, "own", "note", EVIL))
    history = study(
        pictured(0, plain(tmp_path / "s.png"), value=0.5, params={EVIL: EVIL}, acts=acts),
        trial(1, value=0.7, curves={f"{EVIL}/mean": ((0, 1.0),), "val_loss": ((0, 0.7),)}),
        champion={"name": "x", "version": "1", f"test_{EVIL}": 0.5},
    )
    shown = Page(to_html(history))

    images = [attrs for tag, attrs in shown.elements if tag == "img"]
    assert [str(image["src"]).startswith(PICTURE) for image in images] == [True]
    assert not any(name.startswith("on") for _, attrs in shown.elements for name in attrs)
    scripts = [attrs for tag, attrs in shown.elements if tag == "script" and not attrs.get("type")]
    assert len(scripts) == 2
    assert shown.words.count("alert('x')") >= 4


# what callbacks did


def test_what_callbacks_did_is_counted_over_all_trials() -> None:
    def stopped(epoch: int) -> CallbackAct:
        return CallbackAct(epoch, "patience", "stopped", f"stopped at epoch {epoch}: no gain", 0.1)

    def reduced(epoch: int) -> CallbackAct:
        return CallbackAct(epoch, "plateau", "reduced", "halved the rate", 0.1)

    html = to_html(
        study(
            trial(0, value=1.0, acts=(reduced(3), reduced(6), stopped(9))),
            trial(1, value=2.0),
            trial(2, value=3.0, acts=(reduced(4), stopped(5))),
            trial(3, TrialState.PRUNED, acts=(CallbackAct(2, "own", "danced", "a dance"),)),
        )
    )
    found = re.search(r'<section id="acts">.*?</section>', html, re.S)
    assert found
    rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", found[0])]

    assert rows == [
        ["callback", "what it did", "trials", "times", "at epoch", "first"],
        ["plateau", "lowered the learning rate", "2 of 4", "3", "3 to 6, median 4", "trial 0: halved the rate"],
        ["patience", "ended the training", "2 of 4", "2", "5 to 9, median 7", "trial 0: stopped at epoch 9: no gain"],
        ["own", "danced", "1 of 4", "1", "2", "trial 3: a dance"],
    ]


def test_where_callbacks_did_nothing_there_is_no_such_section() -> None:
    assert 'id="acts"' not in to_html(study(trial(0, value=1.0)))


# metrics aside


def with_diagnostics(number: int, measures: int, epochs: int) -> TrialHistory:
    usual = {name: tuple((e, 1.0 / (e + 1)) for e in range(epochs)) for name in ("loss", "val_loss", "learning_rate")}
    aside = {
        f"diagnostics/hidden_{place}/mean": tuple((e, math.sin(e + place)) for e in range(epochs))
        for place in range(measures)
    }
    return trial(number, value=0.1 + number, curves={**aside, **usual}, epochs=epochs)


def test_metrics_aside_can_be_chosen_in_a_group_of_their_own_behind_the_others() -> None:
    html = to_html(study(with_diagnostics(0, 2, 10), with_diagnostics(1, 2, 10)))
    found = re.search(r'<select id="metric".*?</select>', html, re.S)
    assert found

    plain_options, _, grouped = found[0].partition("<optgroup")
    assert re.findall(r">([^<>]+)</option>", plain_options) == ["val_loss", "loss", "learning_rate"]
    assert grouped.startswith(' label="diagnostics">')
    assert re.findall(r">([^<>]+)</option>", grouped) == ["hidden_0/mean", "hidden_1/mean"]
    assert array(Page(html).data["curves-4"]["data"][0]["y"])[:3] == pytest.approx([math.sin(e + 1) for e in range(3)])


def test_metrics_aside_take_none_of_the_room_of_the_others() -> None:
    plain_ones = study(*(with_diagnostics(n, 0, 100) for n in range(200)))
    both = study(*(with_diagnostics(n, 200, 100) for n in range(200)))
    shown, shown_with = Page(to_html(plain_ones)), Page(to_html(both))

    for place in range(3):
        assert json.dumps(shown.data[f"curves-{place}"]) == json.dumps(shown_with.data[f"curves-{place}"])
    drawn = sum(name.startswith("curves-") for name in shown_with.data) - 3
    assert 5 < drawn <= MOST_ASIDE
    assert "Not on this page: diagnostics/hidden_" in shown_with.words
    assert f"and {200 - drawn - 12} more." in shown_with.words


def test_metrics_aside_for_which_there_is_no_room_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [with_diagnostics(n, 9, 20) for n in range(1_000)]
    shown = Page(to_html(study(*many)))

    assert sum(name.startswith("curves-") for name in shown.data) - 3 == 6  # each needs 12 points a trial
    named = ", ".join(f"diagnostics/hidden_{place}/mean" for place in (6, 7, 8))
    assert f"Not on this page: {named}." in shown.words
    monkeypatch.setattr(curves, "MOST_POINTS_ASIDE", 11_999)
    assert sum(name.startswith("curves-") for name in Page(to_html(study(*many))).data) == 3


def test_an_objective_that_is_aside_is_still_the_first() -> None:
    history = study(with_diagnostics(0, 2, 5))
    object.__setattr__(history, "metric", "diagnostics/hidden_1/mean")
    summary = Summary(history)

    assert summary.metrics == [
        "diagnostics/hidden_1/mean", "loss", "val_loss", "learning_rate", "diagnostics/hidden_0/mean"
    ]  # fmt: skip
    assert '<option value="curves-0">diagnostics/hidden_1/mean</option>' in to_html(history)


# the champion


@pytest.mark.parametrize(
    ("scores", "sentence", "tile"),
    [
        (
            {"test_loss": 0.21, "test_accuracy": 0.9778},
            "test_accuracy 0.9778, test_loss 0.21.",
            "digits, test accuracy 0.9778",
        ),
        (
            {"test_loss": 0.1, "test_auc": 0.99, "test_accuracy": 0.95},
            "test_accuracy 0.95, test_auc 0.99, test_loss 0.1.",
            "digits, test accuracy 0.95",
        ),
        (
            {"test_mse": 9.0, "test_mae": 2.5, "test_r2": 0.75, "test_rmse": 3.0},
            "test_r2 0.75, test_mae 2.5, test_rmse 3, test_mse 9.",
            "digits, test r2 0.75",
        ),
        ({"test_own": 4.0, "test_mae": 2.5}, "test_mae 2.5, test_own 4.", "digits, test mae 2.5"),
        ({"test_loss": math.nan, "test_accuracy": 0.5}, "test_accuracy 0.5.", "digits, test accuracy 0.5"),
    ],
)
def test_the_champion_is_told_by_the_scores_it_has_the_headline_first(
    scores: dict[str, float], sentence: str, tile: str
) -> None:
    champion = {"name": "digits", "version": "3", "alias": "champion", "gain": 1.0, **scores}
    words = " ".join(Page(to_html(study(trial(0, value=1.0), champion=champion))).words.split())

    assert f"On the sealed test set the served model has {sentence}".replace(" ,", ",") in re.sub(
        r" ([,.])", r"\1", words
    )
    assert tile in words


def test_a_champion_that_was_never_judged_has_no_sentence() -> None:
    words = Page(to_html(study(trial(0, value=1.0), champion={"name": "digits", "version": "3"}))).words

    assert "sealed" not in words
    assert "version 3" in words
