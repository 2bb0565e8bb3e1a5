from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets.places import find
from pipelines.errors import DataError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_the_data_folder_comes_before_the_current_one(here: Path, data: Path) -> None:
    for place in (here, data):
        (place / "a.csv").touch()
    assert find("a.csv", data) == data / "a.csv"
    assert find("a.csv", None) == here / "a.csv"
    (data / "a.csv").unlink()
    assert find("a.csv", data) == here / "a.csv"


def test_a_whole_path_is_what_it_says(here: Path, data: Path, tmp_path: Path) -> None:
    (here / "a.csv").touch()
    assert find(str(here / "a.csv"), data) == here / "a.csv"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "b.csv").touch()
    assert find("~/b.csv", data) == tmp_path / "home" / "b.csv"


def test_a_folder_is_found_as_a_file_is(data: Path) -> None:
    (data / "pets" / "cats").mkdir(parents=True)
    assert find("pets/cats", data) == data / "pets" / "cats"


def test_what_is_not_there_is_told_with_where_it_was_looked_for(here: Path, data: Path) -> None:
    (data / "titanic.csv").touch()
    with pytest.raises(DataError) as caught:
        find("titanik.csv", data)
    assert str(caught.value) == (
        f"The data 'titanik.csv' was not found: looked for {data / 'titanik.csv'} and {here / 'titanik.csv'}; did you "
        f"mean 'titanic.csv'? Give a whole path, or one from the folder that REGATTA_DATA names."
    )
    with pytest.raises(DataError, match=r"looked for .*/here/none/x.csv \(REGATTA_DATA is not set\)\. Give"):
        find("none/x.csv", None)
    with pytest.raises(DataError) as caught:
        find("/no/such/file.csv", None)
    assert "looked for /no/such/file.csv. Give" in str(caught.value)
