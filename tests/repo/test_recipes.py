from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.recipe.reading import read_recipe
from pipelines.recipe.search_space import SearchSpace

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "sweeps").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert "digits.yaml" in [path.name for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_varies_something(path: Path) -> None:
    config = read_recipe(path)
    assert SearchSpace(config.search_space).parameters()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_its_command_expected_time_and_score(path: Path, repository: Path) -> None:
    lines = path.read_text().splitlines()
    opening = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    command = opening[0].removeprefix("#").strip()
    assert re.match(r"make sweep|regatta sweep|python -m pipelines sweep", command)
    named = re.search(r"CONFIG=(\S+)|sweep ([^\s=]+\.yaml)", command)
    if named:
        assert (repository / (named[1] or named[2])).samefile(path)
    else:
        assert path.name == "digits.yaml"  # what `make sweep` runs by itself
    rest = " ".join(line.removeprefix("#").strip() for line in opening[1:])
    if "Not measured" in rest:  # honest where the data or the machine was not at hand
        return
    assert re.search(r"\b(seconds?|minutes?|hours?)\b", rest), "the expected time is missing"
    assert re.search(r"\b(accuracy|loss|AUC|R2)\b\D*\d\.\d+", rest), "the expected score is missing"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_study_of_a_recipe_is_called_as_its_file(path: Path) -> None:
    assert read_recipe(path).study.replace("-", "_") == path.stem


def test_every_recipe_in_the_readme_is_one(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (repository / "README.md").read_text()
    (own,) = re.findall(r"```python\n# my_code.py\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_code.py").write_text(own)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)):
        (tmp_path / f"{number}.yaml").write_text(block)
        assert SearchSpace(read_recipe(tmp_path / f"{number}.yaml").search_space).parameters()
