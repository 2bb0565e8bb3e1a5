from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import yaml_file
from pipelines.errors import ConfigError

TEXT = """\
# a comment
study: digits
optimizer:
  name: adam
  learning_rate: 1e-3
search_space:
  callbacks.early_stopping.patience: {type: int,
    low: 3, high: 8}
  model.units:
    - [10]
    - [20, 30]
"""


def mistake_in(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        yaml_file.parse(text, "recipe.yaml")
    assert len(caught.value.mistakes) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("study",), 2),
        (("optimizer",), 3),
        (("optimizer", "learning_rate"), 5),
        (("optimizer", "momentum"), 3),  # not in the file: its nearest ancestor
        (("search_space", "callbacks.early_stopping.patience"), 7),
        (("search_space", "callbacks.early_stopping.patience", "high"), 8),
        (("search_space", "model.units", 1), 11),
        (("search_space", "model.units", 1, 1), 11),
        (("epochs",), None),
        ((), None),
    ],
)
def test_every_value_knows_its_line(path: tuple[str | int, ...], line: int | None) -> None:
    assert yaml_file.parse(TEXT, "recipe.yaml").line(path) == line


def test_values_are_plain_types() -> None:
    data = yaml_file.parse(TEXT, "recipe.yaml").data
    assert data["optimizer"] == {"name": "adam", "learning_rate": 0.001}
    assert data["search_space"]["model.units"] == [[10], [20, 30]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E+3", -2000.0),
        ("1.5e4", 15000.0),
        (".5e1", 5.0),
        ("3.e2", 300.0),
        ("[1e-3, 1e-2]", [0.001, 0.01]),
        ("1e", "1e"),
        ("e3", "e3"),
        ("1e-3x", "1e-3x"),
        ("1e5-2", "1e5-2"),
        ("'1e-3'", "1e-3"),
        ("12", 12),
    ],
)
def test_a_number_with_an_exponent_is_a_number_and_not_a_text(text: str, value: object) -> None:
    read = yaml_file.parse(f"key: {text}", "recipe.yaml").data["key"]

    assert read == value
    assert type(read) is type(value)
    assert yaml_file.value(text) == value, "on the command line, too"


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert yaml_file.parse("# nothing yet\n", "recipe.yaml").data == {}


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("study: a\nepochs: 3\nstudy: b\n", 3, "study"),
        ("optimizer:\n  name: adam\n  name: sgd\n", 3, "name"),
        ("search_space:\n  epochs: {type: int, low: 1, high: 2, low: 3}\n", 2, "low"),
        ("a:\n- {b: 1}\n- {b: 1, b: 2}\n", 3, "b"),
    ],
)
def test_a_key_that_stands_twice_is_a_mistake_at_its_second_line(text: str, line: int, key: str) -> None:
    said = mistake_in(text)
    assert f"line {line}, " in said
    assert f"'{key}' stands here a second time" in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("study: [a, b\n", 2),
        ("study: a\n\tepochs: 3\n", 2),
        ("study: 'a\n", 2),
        ("a: *nowhere\n", 1),
        ("a: &x [*x]\n", 1),
        ("a: !!python/object/apply:os.system [ls]\n", 1),
    ],
)
def test_what_is_not_plain_yaml_is_a_mistake_with_its_line(text: str, line: int) -> None:
    assert f"line {line}, is not YAML: " in mistake_in(text)


@pytest.mark.parametrize(
    "text", ["study: 2024-13-45\n", "epochs: 0b_\n", "? [1, 2]\n: 3\n", "a: !!int b\n", "a: \x00\n"]
)
def test_what_yaml_chokes_on_is_a_mistake_too(text: str) -> None:
    assert "YAML" in mistake_in(text)


@pytest.mark.parametrize(("text", "kind"), [("- a\n- b\n", "list"), ("digits\n", "str"), ("3\n", "int")])
def test_anything_but_a_mapping_is_a_mistake(text: str, kind: str) -> None:
    assert f"must hold a mapping of keys to values, got {kind}" in mistake_in(text)


def test_a_missing_file_names_the_recipes_beside_it(tmp_path: Path) -> None:
    for name in ("digits.yaml", "fashion.yaml", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        yaml_file.read(tmp_path / "digit.yaml")
    assert f"there are {tmp_path / 'digits.yaml'}, {tmp_path / 'fashion.yaml'}" in str(caught.value)
    assert "notes" not in str(caught.value)


def test_a_missing_file_in_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file$"):
        yaml_file.read(tmp_path / "nowhere" / "digits.yaml")


def test_a_folder_or_bytes_instead_of_text_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        yaml_file.read(tmp_path)
    (tmp_path / "model.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        yaml_file.read(tmp_path / "model.yaml")


def test_merged_keys_fill_in_what_a_mapping_does_not_say_itself() -> None:
    text = "base: &base {low: 1, high: 2}\nrange:\n  <<: *base\n  high: 5\n"

    document = yaml_file.parse(text, "recipe.yaml")

    assert document.data["range"] == {"low": 1, "high": 5}
    assert document.line(("range", "high")) == 4
