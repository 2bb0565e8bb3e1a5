from __future__ import annotations

import base64
import json
import math
import random
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipelines.records import StudyHistory, TrialHistory, TrialState
from pipelines.report import to_html, write_report
from pipelines.report.figures import TINT, axis_for
from pipelines.report.style import CSS
from pipelines.report.summary import Summary, short_names, thin

EVIL = "</script><script>alert('x')</script><img src=http://evil.example/x.png onerror=alert(1)>"


class Page(HTMLParser):
    """The page as a reader's browser sees it: its elements, its text, its embedded data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, Any] = {}
        self.words = ""
        self._open: tuple[str, str | None] = ("", None)
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        is_data = ("type", "application/json") in attrs
        self._open = (tag, dict(attrs).get("id") if is_data else None)

    def handle_endtag(self, tag: str) -> None:
        self._open = ("", None)

    def handle_data(self, data: str) -> None:
        tag, name = self._open
        if name:
            assert "<" not in data  # one could end the element, or hide its end
            self.data[name] = json.loads(data)
        elif tag not in {"script", "style"}:
            self.words += data + " "

    def rows(self) -> int:
        return sum(tag == "tr" for tag, _ in self.elements)


def trial(
    number: int, state: TrialState = TrialState.COMPLETE, value: float | None = None, **other: Any
) -> TrialHistory:
    curve = tuple((epoch, (value or 1.0) + 0.9**epoch) for epoch in range(other.pop("epochs", 10)))
    facts: dict[str, Any] = {
        "params": {"optimizer.learning_rate": 0.01 * (number + 1)},
        "best_epoch": len(curve) - 1 if curve else None,
    }
    facts |= {"curves": {"loss": curve, "val_loss": curve}, "seconds": 2.0 * len(curve), "run_id": f"{number:032x}"}
    return TrialHistory(number, other.pop("attempt", 1), state, value=value, **(facts | other))


def study(*trials: TrialHistory, **other: Any) -> StudyHistory:
    return StudyHistory("digits", "val_loss", other.pop("direction", "minimize"), tuple(trials), **other)


def large_study(trials: int, epochs: int) -> StudyHistory:
    chance = random.Random(7)
    made = []
    for number in range(trials):
        state = chance.choices(list(TrialState), weights=(1, 60, 35, 4))[0]
        length = epochs if state is TrialState.COMPLETE else chance.randrange(1, epochs)
        branch = chance.choice(["adam", "sgd"])
        params: dict[str, Any] = {
            f"optimizer.{branch}.learning_rate": 10 ** chance.uniform(-5, -1),
            "optimizer": branch,
        }
        params |= {f"model.layer_{layer}.units": chance.choice([16, 32, 64]) for layer in range(8)}
        curves = {
            name: tuple((epoch, chance.uniform(0.1, 3) * 0.9**epoch) for epoch in range(length))
            for name in ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")
        }
        value = min(value for _, value in curves["val_loss"])
        made.append(trial(number, state, value, params=params, curves=curves, reason=f"ValueError: {number}"))
    return study(*made, importances={"optimizer": 0.7, "model.layer_3.units": 0.3}, seconds=5000.0)


def array(field: Any) -> list[float]:
    """A trace's numbers, which Plotly writes as a list or as base64."""
    if isinstance(field, list):
        return field
    kind = {"f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "u1": "B", "u2": "H"}[field["dtype"]]
    raw = base64.b64decode(field["bdata"])
    return list(struct.unpack(f"<{len(raw) // struct.calcsize(kind)}{kind}", raw))


def trace_of(figure: Any, start: str) -> Any:
    return next(trace for trace in figure["data"] if trace.get("name", "").startswith(start))


def test_the_page_tells_the_study_in_the_promised_order() -> None:
    history = study(
        *(trial(number, value=0.1 * (number + 1)) for number in range(4)),
        trial(4, TrialState.PRUNED, 0.9, epochs=2),
        trial(5, TrialState.FAILED, reason="OutOfMemory: 12 GB", epochs=0),
        importances={"optimizer.learning_rate": 1.0},
        champion={"name": "digits", "version": 3, "alias": "champion", "test_accuracy": 0.97},
        links={"MLflow": "http://127.0.0.1:5000/#/experiments/12/runs?orderByAsc=true"},
        seconds=3725.0,
    )
    html = to_html(history)
    words = " ".join(Page(html).words.split())
    places = [html.index(f'<section id="{name}"') for name in
              ("best", "history", "importance", "curves", "slices", "trials", "pruning", "failed")]  # fmt: skip
    assert places == sorted(places)
    for said in (
        "4 complete, 1 pruned, 1 failed",
        "1 h 2 min",
        "version 3",
        "test_accuracy 0.97",
        "OutOfMemory: 12 GB",
    ):
        assert said in words
    assert "It is 0.1 (50.0%) below the second, trial 1 (0.2), and 0.15 (60.0%) below the median of 4 trials" in words
    assert f'href="http://127.0.0.1:5000/#/experiments/12/runs/{0:032x}?workflowType=machine_learning"' in html


def test_what_pruning_saved_is_counted_against_the_median_of_complete_trials() -> None:
    complete = [trial(number, value=1.0, epochs=epochs) for number, epochs in enumerate((8, 10, 30))]
    pruned = [trial(3, TrialState.PRUNED, 2.0, epochs=3), trial(4, TrialState.PRUNED, 2.0, epochs=12)]
    saved = Summary(study(*complete, *pruned)).saved
    assert saved is not None
    assert (saved.usual, saved.epochs, saved.trained, saved.seconds) == (10, 7, 63, 14.0)


def test_a_pruned_trial_is_drawn_apart_from_complete_ones_and_never_wins() -> None:
    trials = [trial(0, value=0.5), trial(1, value=0.4), trial(2, TrialState.PRUNED, 0.1, epochs=3), trial(3, value=0.6)]
    shown = Page(to_html(study(*trials))).data
    assert Summary(study(*trials)).best == trials[1]
    for name in ("figure-history", "curves-0", "figure-slice-0"):
        assert trace_of(shown[name], "pruned")["meta"]["trials"] == [2]
        assert trace_of(shown[name], "best: trial 1")["meta"]["trials"] == [1]
        assert sorted(trace_of(shown[name], "other complete")["meta"]["trials"]) == [0, 3]
    assert trace_of(shown["curves-0"], "pruned")["line"]["dash"] == "dash"
    assert trace_of(shown["curves-0"], "pruned")["line"]["color"] != TINT
    assert all("open" in symbol for symbol in trace_of(shown["figure-history"], "pruned")["marker"]["symbol"])
    assert array(trace_of(shown["figure-history"], "best so far")["y"]) == [0.5, 0.4, 0.4]


def test_maximize_turns_the_best_and_the_line_around() -> None:
    trials = [trial(0, value=0.5), trial(1, value=0.4), trial(2, value=0.9), trial(3, value=0.6)]
    html = to_html(study(*trials, direction="maximize"))
    line = trace_of(Page(html).data["figure-history"], "best so far")
    assert (array(line["x"]), array(line["y"])) == ([0, 2, 3], [0.5, 0.9, 0.9])
    assert "0.3 (50.0%) above the second, trial 3" in html


def test_nothing_of_a_trial_becomes_markup() -> None:
    trials = [
        trial(0, value=0.5, params={EVIL: EVIL, "a.state": EVIL}, run_id=EVIL),
        trial(1, value=0.7, params={EVIL: 3, "state": [EVIL]}),
        trial(2, TrialState.FAILED, reason=EVIL, curves={EVIL: ((0, 1.0),)}),
    ]
    honest = replace(trials[0], params={}, run_id="x"), replace(trials[1], params={})
    evil = StudyHistory(
        EVIL, EVIL, "minimize", tuple(trials), importances={EVIL: 1.0},
        champion={"name": EVIL, "version": EVIL, "alias": EVIL, f"test_{EVIL}": 0.5},
        links={EVIL: "javascript:alert(1)", "mine": f'https://mine.example/"{EVIL}'},
    )  # fmt: skip
    shown, plain = Page(to_html(evil)), Page(to_html(study(*honest)))
    scripts = [attrs for tag, attrs in shown.elements if tag == "script" and not attrs.get("type")]
    assert len(scripts) == sum(tag == "script" and not attrs.get("type") for tag, attrs in plain.elements) == 2
    assert not any(tag in {"img", "iframe", "object", "embed", "base", "form"} for tag, _ in shown.elements)
    assert not any(name.startswith("on") for _, attrs in shown.elements for name in attrs)
    assert not any((attrs.get("href") or "").startswith("javascript:") for _, attrs in shown.elements)
    assert EVIL in shown.words  # it is shown, as text
    assert all("<img" not in text and "<script" not in text for text in shown.data["labels"].values())
    # what is drawn on a canvas, letter by letter, has no markup
    figures = json.dumps(
        {name: figure for name, figure in shown.data.items() if name not in {"labels", "parallel-data"}}
    )
    assert "<img" not in figures  # Plotly takes some tags in its texts for markup


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    shown = Page(to_html(large_study(20, 5)))
    loads = [(tag, attrs) for tag, attrs in shown.elements if tag != "a" and {"src", "href", "srcset"} & attrs.keys()]
    assert loads == []
    assert not any(tag in {"link", "iframe", "img", "object", "embed"} for tag, _ in shown.elements)
    assert "url(" not in CSS
    assert "@import" not in CSS
    policies = [
        attrs["content"] for tag, attrs in shown.elements if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies
    assert "default-src 'none'" in str(policies[0])
    assert "http" not in str(policies[0])


def test_a_thousand_trials_of_fifty_epochs_fit_and_the_page_says_what_was_thinned() -> None:
    html = to_html(large_study(1_000, 50))
    assert len(html.encode()) < 10_000_000
    shown = Page(html)
    assert shown.rows() > 1_000
    assert "Curves are thinned to 24 points each" in shown.words
    curves = shown.data["curves-0"]["data"]
    drawn = {number for trace in curves if "lengths" in trace.get("meta", {}) for number in trace["meta"]["trials"]}
    assert drawn == set(range(1_000))
    for trace in curves:
        if "lengths" in trace.get("meta", {}):
            assert sum(trace["meta"]["lengths"]) == len(array(trace["x"])) == len(array(trace["y"]))


def test_a_small_study_is_drawn_whole() -> None:
    shown = Page(to_html(study(*(trial(number, value=0.1 + number, epochs=200) for number in range(3)))))
    best = trace_of(shown.data["curves-0"], "best: trial 0")
    assert array(best["x"])[:200] == list(range(200))
    assert array(best["y"])[:200] == pytest.approx([0.1 + 0.9**epoch for epoch in range(200)], rel=1e-6)
    assert "thinned" not in shown.words


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial(0, value=0.5)],
        [trial(0, value=0.0, epochs=1)],
        [trial(0, TrialState.RUNNING)],
        [trial(0, TrialState.PRUNED, None), trial(1, TrialState.PRUNED, 0.3, epochs=1)],
        [trial(0, TrialState.FAILED, reason=None, epochs=0, seconds=None, run_id=None), trial(1, TrialState.FAILED)],
        [trial(0, value=math.nan), trial(1, value=math.inf), trial(2, value=-math.inf), trial(3, value=1.797e308)],
        [trial(0, value=1e-12), trial(1, value=1e12), trial(2, value=-3.0), trial(3, value=0.0)],
        [trial(number, value=10.0**number) for number in range(-6, 7)],
        [trial(0, value=0.5, params={}), trial(1, value=0.6, params={"a": None, "b.a": True, "c": math.nan, "d": [1]})],
        [trial(0, value=0.5, params={"a": 1}), trial(1, value=0.6, params={"a": "one"}), trial(2, value=0.5)],
        [trial(0, value=1.0, curves={"val_loss": ((0, math.nan), (1, math.inf), (2, 1e300), (3, 1.0))})],
        [trial(0, value=1.0, curves={"val_loss": ()}), trial(1, value=2.0, curves={})],
        [trial(number, value=5.0, params={"only": number}) for number in range(50)],
        [trial(number, value=0.1 * number, params={"many": f"choice {number}"}) for number in range(50)],
    ],
)
def test_odd_studies_still_make_a_page(trials: list[TrialHistory], direction: str) -> None:
    shown = Page(to_html(study(*trials, direction=direction, importances={"a": math.nan} if trials else {})))
    assert ("p", {"class": "eyebrow"}) in shown.elements
    assert "Too few trials to tell" in shown.words
    assert shown.data["labels"].keys() == {str(trial.number) for trial in trials}


def test_a_value_that_is_no_number_is_not_ranked() -> None:
    summary = Summary(
        study(trial(0, value=-math.inf), trial(1, value=math.nan), trial(2, value=3.0), trial(3, value=None))
    )
    assert summary.best is not None
    assert summary.best.number == 2
    assert len(summary.ranking) == 1


def test_parameters_of_other_branches_and_wide_spans_are_drawn_as_they_are() -> None:
    trials = [trial(n, value=1.0 + n, params={"kind": "adam", "adam.rate": 10.0 ** (n - 5)}) for n in range(4)]
    trials += [trial(n, value=1.0 + n, params={"kind": "sgd", "sgd.rate": 0.1 * n}) for n in range(4, 9)]
    shown = Page(to_html(study(*trials)))
    kind, adam, sgd = (shown.data[f"figure-slice-{place}"] for place in range(3))
    assert kind["layout"]["xaxis"]["ticktext"] == ["adam", "sgd"]
    assert adam["layout"]["xaxis"]["type"] == "log"
    assert sum(len(trace["meta"]["trials"]) for trace in adam["data"]) == 4
    assert sgd["layout"]["xaxis"].get("type") != "log"
    assert "in 4 of 9 trials" in shown.words


def test_a_pruned_trial_far_off_does_not_flatten_the_others() -> None:
    values = [0.2 + 0.01 * step for step in range(20)]
    axis = axis_for([*values, 50.0], values, worse=1)
    assert axis.span is not None
    assert axis.span[0] < 0.2
    assert axis.span[1] < 1
    assert axis.hidden == 1
    assert axis.inside(50.0)[1] == 1
    assert axis.inside(50.0)[0] == pytest.approx(axis.span[1], rel=0.1)
    assert axis.inside(0.25) == (0.25, 0)


def test_failures_with_one_reason_are_told_once() -> None:
    failed = [trial(number, TrialState.FAILED, reason="OOM" if number % 2 else "NaN") for number in range(9)]
    words = Page(to_html(study(*failed))).words
    assert words.count("OOM") == 1
    assert "trials 0, 2, 4, 6, 8" in words


def test_thinning_keeps_the_ends_and_the_best() -> None:
    points = [(epoch, float(epoch)) for epoch in range(1_000)]
    kept = thin(points, 24, keep=777)
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert points[777] in kept
    assert len(kept) <= 24
    assert kept == sorted(kept)


def test_names_are_as_short_as_they_can_be() -> None:
    names = short_names(["optimizer", "optimizer.adam.learning_rate", "optimizer.sgd.learning_rate", "model.layers"])
    assert list(names.values()) == ["optimizer", "adam.learning_rate", "sgd.learning_rate", "layers"]


def test_the_number_of_a_lists_item_is_no_name_without_the_list() -> None:
    assert list(short_names(["model.units.0", "model.units.1", "model.dropout.1"]).values()) == [
        "units.0",
        "units.1",
        "dropout.1",
    ]


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "studies" / "digits" / "report.html"
    assert write_report(study(), path) == path
    before = path.read_bytes()
    assert before.endswith(b"</html>\n")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(study(trial(0, value=1.0)), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_text_that_is_not_unicode_does_not_stop_the_report(tmp_path: Path) -> None:
    history = study(trial(0, TrialState.FAILED, reason="bad byte \udcff", params={"\udcfe": "\udcfd"}))
    assert write_report(history, tmp_path / "report.html").stat().st_size > 0
