"""Turns what pydantic found into mistakes a person can mend: where in their file, what it got, what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pipelines.spec import kind_name, specs_within

FilePath = tuple[str | int, ...]


def explain(error: ValidationError, root: type[BaseModel], raw: Any) -> dict[FilePath, str]:
    """One message for each place in `raw` that is wrong, in the order of discovery.

    Args:
        error: What `root.model_validate(raw)` raised.
        root: The class that `raw` was meant for.
        raw: The data as it was read, before any defaults.
    """
    found: dict[FilePath, list[str]] = {}
    for detail in error.errors(include_url=False):
        path = _path_in_file(detail["loc"], raw, keep_last=detail["type"] in {"missing", "extra_forbidden"})
        message = _message(detail, root)
        messages = found.setdefault(path, [])
        if message not in messages:
            messages.append(message)
    return {path: _joined(messages) for path, messages in found.items()}


SHORT_WORDS = {
    "lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size",
    "n_trials": "trials", "max_trials": "trials", "timeout": "wall_s", "n_jobs": "workers", "directions": "direction",
}  # fmt: skip
"""What people write who mean something that looks nothing like it; some of it is another tool's word."""


_AS_WRITTEN = (
    "is written as a range, {type: float, low: 0.0001, high: 0.01, log: true} (type int for whole numbers), or as a "
    "list of choices, [16, 32]"
)
_OWN_CODE = (
    "code of your own can be a dataset (function), a model (function), a loss (function), a callback (class) and the "
    "schedule of learning_rate_scheduler (function), each written as {name: function, function: 'module:name'}, a "
    "callback as {name: class, path: 'module:Class'}"
)
_BY_LABEL = "callbacks"
"""The part of a recipe that holds others by labels, which are their kinds as a rule."""
_RARELY_MEANT = ("metrics", "constraints", "warm_start")
_FEW = 3  # places that are worth naming
_PREFIX = 3  # letters of a word that are enough to tell which one it begins


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'adam'?` where a known word is near, otherwise nothing."""
    known = list(known)
    if SHORT_WORDS.get(word) in known:
        return f"; did you mean '{SHORT_WORDS[word]}'?"
    begun = [other for other in known if len(word) >= _PREFIX and other.startswith(word)]
    if begun:  # `test_acc` is cut short rather than mistyped: `test_auc` is nearer by letters
        return f"; did you mean '{min(begun, key=len)}'?"
    near = difflib.get_close_matches(word, known, n=5, cutoff=0.6)
    # swapped letters are the commonest slip: 'adma' is meant for 'adam' rather than for 'adamax'
    best = max(near, key=lambda other: sorted(other) == sorted(word), default=None)
    return f"; did you mean '{best}'?" if best else ""


def stands_below(word: str, root: type[BaseModel]) -> str:
    """`; did you mean 'budget.trials'?` where a key that a class does not have stands in a part of it, or nothing."""
    word = SHORT_WORDS.get(word, word)
    found: dict[str, None] = {}
    for name, field in root.model_fields.items() if word not in root.model_fields else ():
        holding = [spec for spec in specs_within(field.annotation) if word in spec.model_fields]
        if name == _BY_LABEL:
            found |= dict.fromkeys(f"'{name}.{kind_name(spec)}.{word}'" for spec in holding)
        elif holding and name not in _RARELY_MEANT:
            found[f"'{name}.{word}'"] = None
    return f"; did you mean {' or '.join(found)}?" if 0 < len(found) <= _FEW else ""


def dotted(path: Sequence[str | int]) -> str:
    """The path as people write it."""
    return ".".join(str(part) for part in path)


def _joined(messages: list[str]) -> str:
    """A value that fits none of several forms gets one sentence: `must be a, or b, got x`."""
    if len(messages) == 1:
        return messages[0]
    heads = [message.rpartition(", got ")[0] or message for message in messages]
    tails = [message.rpartition(", got ")[2] for message in messages if ", got " in message]
    # the longest tail has the hint at the word that was meant
    return ", or ".join(heads) + (f", got {max(tails, key=len)}" if tails else "")


def _path_in_file(location: Sequence[str | int], raw: Any, *, keep_last: bool) -> FilePath:
    """Drops the parts of pydantic's location that name a variant of a union and so are not in the file."""
    path: list[str | int] = []
    here = raw
    kind: Any = (
        None  # that pydantic names next, which may be the word of a field, too: a kind `function` has a `function`
    )
    for index, part in enumerate(location):
        last = index == len(location) - 1
        named, kind = kind, None
        if part == named and not (last and keep_last):
            continue
        inside = (isinstance(here, Mapping) and part in here) or (
            isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)
        )
        if inside:
            here = here[part]
            path.append(part)
            kind = here.get("name") if isinstance(here, Mapping) else None
        elif last and keep_last:
            path.append(part)
    return tuple(path)


def _message(detail: Any, root: type[BaseModel]) -> str:
    kind, got, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(detail["loc"], root)
        word = str(detail["loc"][-1])
        listed = f"; known here: {', '.join(known)}" if known else ""
        elsewhere = word in root.model_fields and len(detail["loc"]) > 1 and word not in known
        below = stands_below(word, root) if len(detail["loc"]) == 1 else ""
        hint = f"; '{word}' stands at the top of a recipe" if elsewhere else below or did_you_mean(word, known)
        return f"is no known key{hint}{listed}"
    if kind == "missing":
        return "is missing"
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        listed = kind == "union_tag_not_found"
        return _wrong_kind(kind, got, context) + _label_meant(detail["loc"], root, listed=listed)
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind == "literal_error":
        expected = str(context["expected"])
        hint = did_you_mean(str(got), [word.strip(" '") for word in expected.replace(" or ", ",").split(",")])
        return f"must be {expected}, got {got!r}{hint}"
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return f"must be a mapping of keys to values, got {_short(got)}"
    if kind in {"too_short", "too_long"} and "actual_length" in context:
        bound, count = ("least", context["min_length"]) if kind == "too_short" else ("most", context["max_length"])
        items = "item" if count == 1 else "items"
        return f"must have at {bound} {count} {items}, got {context['actual_length']}: {_short(got)}"
    text = str(detail["msg"]).split(", unable to parse")[0].replace("valid tuple", "valid list")
    return text.replace("Input should be", "must be", 1) + f", got {_short(got)}"


def _wrong_kind(kind: str, got: Any, context: Mapping[str, Any]) -> str:
    if context.get("discriminator") in {"_kind()", "_kind_inside()"}:  # an entry of the search space
        if isinstance(got, dict):
            if got.keys() & {"type", "low", "high", "choices"}:
                if "type" not in got:
                    return f"needs a `type`: float, int or categorical; got {_short(got)}"
                return f"its type must be float, int or categorical, got {got['type']!r}"
            return f"{_AS_WRITTEN}, got {_short(got)}"
        return (
            f"must be a range {{type: float, low: …, high: …}}, a list of choices, or kinds to choose from, "
            f"got {_short(got)}"
        )
    expected = [word.strip(" '") for word in str(context.get("expected_tags", "")).split(",")]
    if kind == "union_tag_invalid":
        tag = str(context.get("tag"))
        own = tag in {"function", "class"} or ":" in tag
        hint = f"; {_OWN_CODE}" if own else did_you_mean(tag, expected)
        return f"is no known kind: '{tag}'{hint}; there are {', '.join(expected)}"
    return "needs a `name` that says which kind it is"


def _label_meant(location: Sequence[str | int], root: type[BaseModel], *, listed: bool) -> str:
    """A hint where the key of a mapping of parts is nearly the name of a kind: `early_stoping: {patience: 3}`.

    Args:
        location: Of the part.
        root: The class that all of it was meant for.
        listed: Whether the kinds that there are follow.
    """
    if not 1 <= len(location) <= 2 or location[0] not in root.model_fields:
        return ""
    kinds = [kind_name(spec) or "" for spec in specs_within(root.model_fields[str(location[0])].annotation)]
    hint = did_you_mean(str(location[1]), kinds) if len(location) == 2 and isinstance(location[1], str) else ""
    return hint + (f"; there are {', '.join(kinds)}" if listed and kinds else "")


def _known_keys(location: Sequence[str | int], root: type[BaseModel]) -> list[str]:
    """The keys that the class at the parent of `location` has, found by walking the classes' annotations."""
    here: list[type[BaseModel]] = [root]
    for part in location[:-1]:
        fields = [spec.model_fields[part] for spec in here if isinstance(part, str) and part in spec.model_fields]
        tagged = [spec for spec in here if kind_name(spec) == part]
        if fields:
            here = [spec for field in fields for spec in specs_within(field.annotation)]
        elif tagged:
            here = list(tagged)
    return list(dict.fromkeys(key for spec in here for key in spec.model_fields))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
