"""The evidence of a promotion as a page for people: no script, no outside request, light or dark as they like."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

_CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2530; --muted: #5d6873; --line: #e6e9ed; --good: #0b7285;
  --bad: #b4452f; }
@media (prefers-color-scheme: dark) { :root { --paper: #151a20; --ink: #e7ecf1; --muted: #9aa6b2; --line: #2a323b;
  --good: #4cc3d6; --bad: #f0866f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, 'Segoe UI', Roboto, sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 40px 22px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 8px; }
p { margin: 0 0 10px; max-width: 48em; overflow-wrap: anywhere; }
.note { color: var(--muted); font-size: 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 18px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
img { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; background: #fff; }
"""
_PICTURES = {
    "confusion_matrix.png": ("Confusion matrix", "Which classes it takes for which."),
    "calibration.png": ("Calibration", "Whether what it says comes true as often as it says."),
    "worst_mistakes.png": ("Worst mistakes", "The sealed samples that it is most wrong about."),
}


def page(told: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        told: What `evidence.json` holds.
        pictures: PNG files by name, which go into the page.
    """
    title = f"{told['study']} version {told['version']} {told['outcome']}"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_CSS}</style></head><body><main>",
        f'<p class="note">Evidence of a promotion, trial {told["trial"]}</p><h1>{escape(title)}</h1>',
        f"<p>{escape(told['reason'])}</p>",
        _rules(told),
        _scores(told),
        _repetitions(told),
    ]
    for name, content in pictures.items():
        heading, caption = _PICTURES[name]
        data = base64.b64encode(content).decode()
        parts.append(
            f'<h2>{heading}</h2><p class="note">{caption}</p>'
            f'<img alt="{escape(heading)}" src="data:image/png;base64,{data}">'
        )
    parts += [_classes(told), _mistakes(told), "</main></body></html>\n"]
    return "".join(parts)


def _rules(told: Mapping[str, Any]) -> str:
    rules = told["rules"]
    if not rules:
        return ""
    rows = [[escape(rule["rule"]), _mark(rule["held"]), escape(rule["text"])] for rule in rules]
    return "<h2>Rules</h2>" + _table(["rule", "holds", "what was found"], rows)


def _mark(held: bool) -> str:
    return '<span class="good">yes</span>' if held else '<span class="bad">no</span>'


def _scores(told: Mapping[str, Any]) -> str:
    theirs, comparison = told["champion_scores"] or {}, told["comparison"]
    champion = f"champion (version {escape(str(told['champion']))})" if told["champion"] else "champion"
    rows = [
        [escape(name), _number(value), _number(theirs.get(name))]
        for name, value in told["measured"].items()
        if value is not None
    ]
    head = ["", "candidate", champion] if theirs else ["", "candidate"]
    body = "<h2>On the sealed test part</h2>" + _table(head, [row[: len(head)] for row in rows])
    if comparison is None:
        return body
    differ = ""
    if comparison["only_mine"] is not None:
        differ = (
            f" The candidate alone is right on {comparison['only_mine']} samples, the champion alone on "
            f"{comparison['only_theirs']}."
        )
    test = f" {comparison['test']} = {comparison['p']:.3g}." if comparison["p"] is not None else ""
    resamples = f", {comparison['resamples']:,} resamples" if comparison["resamples"] else ""
    return (
        f"{body}<p>Gain in {escape(comparison['metric'])}: <b>{_number(comparison['gain'])}</b>, "
        f"{100 * comparison['confidence']:.4g} % confidence interval {_number(comparison['low'])} to "
        f"{_number(comparison['high'])} ({escape(comparison['how'])} over the same {comparison['samples']:,} samples"
        f"{resamples}).{differ}{test}</p>"
    )


def _repetitions(told: Mapping[str, Any]) -> str:
    repeated, others = told["repetitions"], told["other_candidates"]
    body = ""
    if repeated:
        rows = [
            [
                f"trial {each['trial']}",
                _number(each["mean"]),
                _number(each["spread"]),
                ", ".join(map(_number, each["values"])),
                escape("; ".join(each["failed"])),
            ]
            for each in repeated
        ]
        head = ["candidate", "mean", "spread", "a training each", "failed"]
        note = "Ranked by the mean less one standard error of it, on validation; the first of them was judged first."
        body += f'<h2>Trained again with other seeds</h2><p class="note">{note}</p>' + _table(head, rows)
    if others or told["left_out"]:
        rows = [
            [f"trial {number}", f"{_test_scores(each)}: {escape(str(each['decision']))}"]
            for number, each in others.items()
        ]
        rows += [[f"trial {number}", f"not judged: {escape(why)}"] for number, why in told["left_out"].items()]
        body += "<h2>Other candidates</h2>" + _table(["candidate", ""], rows)
    return body


def _test_scores(candidate: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{escape(name)} {_number(value)}" for name, value in candidate.items() if name.startswith("test_")
    )


def _classes(told: Mapping[str, Any]) -> str:
    classes = told["evidence"]["classes"]
    if not classes:
        return ""
    drops = (told["comparison"] or {}).get("class_drops") or {}
    head = [
        "class",
        "precision",
        "recall",
        "F1",
        "samples",
        "called so",
        *(["recall against the champion"] if drops else []),
    ]
    rows = [
        [
            escape(each["label"]),
            *(_number(each[name]) for name in ("precision", "recall", "f1")),
            f"{each['support']:,}",
            f"{each['called']:,}",
            *([_signed(-drops[each["label"]])] if each["label"] in drops else [""] if drops else []),
        ]
        for each in classes
    ]
    return "<h2>By class</h2>" + _table(head, rows)


def _mistakes(told: Mapping[str, Any]) -> str:
    rows = told["worst_mistakes"]
    if not rows or "row" not in rows[0]:
        return ""
    columns = list(rows[0]["row"])
    head = ["it is", "it says", *columns]
    body = [
        [escape(each["truth"]), escape(each["answer"]), *(escape(_cell(each["row"][name])) for name in columns)]
        for each in rows
    ]
    return "<h2>Worst mistakes</h2>" + _table([head[0], head[1], *map(escape, columns)], body)


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")
