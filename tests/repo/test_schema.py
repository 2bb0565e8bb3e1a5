"""The JSON schema of recipes: current, true of every recipe here, and as strict as the specs it is made from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.recipe.schema import recipe_schema

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


class EditorsYaml(yaml.SafeLoader):
    """YAML 1.2, as editors read it: 1e-3 is a number there."""


EditorsYaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"), list("-+0123456789.")
)


def wrong(text: str) -> list[str]:
    """Where a recipe breaks the schema."""
    validator = jsonschema.Draft202012Validator(recipe_schema())
    recipe: Any = yaml.load(text, EditorsYaml)  # noqa: S506 - a safe loader
    return ["/".join(map(str, error.absolute_path)) for error in validator.iter_errors(recipe)]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


def test_the_schema_in_the_repository_is_that_of_the_specs() -> None:
    written = json.loads((ROOT / "configs" / "recipe.schema.json").read_text())
    assert written == json.loads(json.dumps(recipe_schema())), "run: make schema"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_keeps_to_it_and_names_it_for_editors(path: Path) -> None:
    text = path.read_text()
    assert wrong(text) == []
    assert "# yaml-language-server: $schema=../recipe.schema.json" in text.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "optimizer: adam",
        "model: {units: [30]}",
        "loss: null",
        "optimizer: {name: adam, learning_rate: 1e-3}",
        "optimizer: {name: adam, learning_rate: {name: cosine, initial_learning_rate: 0.1}}",
        "dataset: iris\nloss: categorical_crossentropy\nmetrics: [accuracy, {name: top_k_accuracy, k: 2}]",
        "dataset: {name: csv, path: a.csv, target: y}",
        "callbacks: {early_stopping: {patience: 3}, terminate_on_nan: null}",
        "callbacks: {mine: {name: early_stopping}}",
        "search_space: {batch_size: [32, 64], optimizer: {adam: null, sgd: {momentum: [0.0, 0.9]}}}",
        "search_space: {optimizer.learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}}",
        "objective: val_accuracy",
        "objective: [val_loss, {metric: parameters, direction: minimize}]",
        "constraints: {val_accuracy: {least: 0.9}, seconds: {most: 60}}",
        "enqueue: [{optimizer: sgd, optimizer.sgd.momentum: 0.9}, {model.units: [30]}]",
        "warm_start: older",
        "warm_start: {study: older, trials: 20}",
        "class_weight: balanced",
    ],
)
def test_what_the_specs_take_the_schema_takes(text: str) -> None:
    assert wrong(f"study: x\n{text}") == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("epochs: 3", ""),  # no study
        ("study: x\nepoch: 3", ""),
        ("study: x\nepochs: 0", "epochs"),
        ("study: x\noptimizer: adma", "optimizer"),
        ("study: x\noptimizer: {name: adam, momentum: 0.9}", "optimizer"),
        ("study: x\nmodel: {unit: [3]}", "model"),
        ("study: x\noptimizer: {name: adam, learning_rate: -1}", "optimizer"),
        ("study: x\ndataset: csv", "dataset"),  # a path is needed
        ("study: x\ncallbacks: {early_stopping: {patience: -1}}", "callbacks/early_stopping"),
        ("study: x\ncallbacks: {mine: {patience: 1}}", "callbacks/mine"),
        ("study: x\nsearch_space: {batch_size: 32}", "search_space/batch_size"),
        ("study: x\nbudget: {trails: 3}", "budget"),
        ("study: x\nobjective: [val_loss, {metrc: seconds}]", "objective"),
        ("study: x\nconstraints: {seconds: {max: 3}}", "constraints/seconds"),
        ("study: x\nenqueue: [3]", "enqueue"),
        ("study: x\nwarm_start: {trials: 3}", "warm_start"),
    ],
)
def test_what_the_specs_refuse_the_schema_refuses(text: str, place: str) -> None:
    assert any(found.startswith(place) for found in wrong(text))


def test_an_editor_is_told_which_key_is_wrong() -> None:
    validator = jsonschema.Draft202012Validator(recipe_schema())
    (error,) = validator.iter_errors({"study": "x", "optimizer": {"name": "adam", "lr": 0.01}})
    assert "'lr' was unexpected" in error.message
