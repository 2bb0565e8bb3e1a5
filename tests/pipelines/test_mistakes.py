from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from pipelines.errors import ConfigError, Mistake
from pipelines.mistakes import did_you_mean, dotted, explain
from pipelines.optimizers import Adam, Optimizer
from pipelines.spec import Spec, kind_name, kinds_of, specs_within


class Leaf(Spec):
    name: Literal["leaf"] = "leaf"
    size: int = Field(1, ge=1)
    shape: tuple[int, ...] | Literal["round", "square"] = "round"


class Branch(Spec):
    """A kind that has a field of its own name, as a model that is a function has the field `function`."""

    name: Literal["branch"] = "branch"
    branch: str = ""
    width: int = 0

    @model_validator(mode="after")
    def _is_sound(self) -> Branch:
        if self.branch == "broken":
            raise ValueError("is broken")
        return self


class Tree(Spec):
    leaves: tuple[Leaf, ...] = ()
    by_label: dict[str, Leaf] = Field(default_factory=dict)
    optimizer: Optimizer | None = None
    grown: Annotated[Branch | Leaf, Field(discriminator="name")] = Leaf()


def explained(raw: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Tree.model_validate(raw)
    return {dotted(path): message for path, message in explain(caught.value, Tree, raw).items()}


def test_the_names_of_union_variants_are_no_part_of_a_path() -> None:
    assert list(explained({"optimizer": {"name": "sgd", "momentum": 2}})) == ["optimizer.momentum"]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"branch": "a", "width": "wide"}, "grown.width"),
        ({"branch": 3}, "grown.branch"),
        ({"branch": "broken"}, "grown"),
        ({"branch": "a", "leaf": 3}, "grown.leaf"),
    ],
)
def test_a_kind_that_has_a_field_of_its_own_name_is_not_taken_for_the_field(given: dict[str, Any], place: str) -> None:
    assert list(explained({"grown": {"name": "branch", **given}})) == [place]


def test_an_unknown_key_deep_inside_names_the_keys_of_its_own_class() -> None:
    found = explained({"leaves": [{}, {"sise": 2}], "by_label": {"a": {"sise": 2}}})
    assert set(found) == {"leaves.1.sise", "by_label.a.sise"}
    for message in found.values():
        assert "did you mean 'size'" in message
        assert "known here: name, size, shape" in message


def test_a_value_that_fits_no_variant_gets_one_sentence_with_the_hint() -> None:
    (message,) = explained({"leaves": [{"shape": "sqare"}]}).values()
    assert message == "must be a valid list, or must be 'round' or 'square', got 'sqare'; did you mean 'square'?"


def test_a_long_value_is_cut() -> None:
    (message,) = explained({"leaves": {"x": "y" * 500}}).values()
    assert len(message) < 140
    assert message.endswith("...")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("adma", "; did you mean 'adam'?"), ("Adam", "; did you mean 'adam'?"), ("zebra", ""), ("", "")],
)
def test_a_hint_is_given_only_where_a_word_is_near(word: str, hint: str) -> None:
    assert did_you_mean(word, ["sgd", "adam"]) == hint


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("test_acc", ["test_auc", "test_accuracy"], "test_accuracy"),
        ("ada", ["adagrad", "adam"], "adam"),
    ],
)
def test_a_word_that_is_cut_short_means_what_it_begins(word: str, known: list[str], meant: str) -> None:
    assert did_you_mean(word, known) == f"; did you mean '{meant}'?"


def test_a_part_without_a_kind_is_told_the_kinds() -> None:
    (message,) = explained({"optimizer": {"learning_rate": 0.1}}).values()
    assert message.startswith("needs a `name` that says which kind it is; there are sgd, adagrad, ")


def test_mistakes_come_in_the_order_of_the_file() -> None:
    error = ConfigError("a.yaml", [Mistake("b", "late", 7), Mistake("--set", "said"), Mistake("a", "early", 2)])
    assert str(error).splitlines() == [
        "a.yaml: 3 mistakes, nothing was started",
        "  --set: said",
        "  line 2, a: early",
        "  line 7, b: late",
    ]


def test_a_mistake_of_the_whole_file_has_no_path() -> None:
    assert str(ConfigError("a.yaml", [Mistake("", "is empty")])).splitlines()[1] == "  is empty"


def test_a_spec_is_closed_and_frozen() -> None:
    with pytest.raises(ValidationError):
        Leaf(sise=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Leaf().size = 3  # type: ignore[misc]


def test_kinds_of_a_union_are_found_by_name() -> None:
    assert {"sgd", "adagrad", "rmsprop", "adam", "adamw"} <= set(kinds_of(Optimizer))
    assert kinds_of(Optimizer)["adam"] is Adam
    assert specs_within(dict[str, Leaf | None]) == [Leaf]
    assert (kind_name(Leaf), kind_name(Tree)) == ("leaf", None)
