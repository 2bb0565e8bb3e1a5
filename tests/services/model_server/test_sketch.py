"""What a terminal is shown of a sample and of an answer."""

from __future__ import annotations

import pytest

from services.model_server.sketch import picture, table, top


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([[0, 8], [16, 4]], "  ▒▒\n██░░"),
        ([[[0], [16]], [[16], [0]]], "  ██\n██"),
        ([[[0, 0, 0], [16, 16, 16]], [[0, 16, 0], [0, 0, 16]]], "  ██\n▒▒"),
        ([[[16, 16, 16, 0], [16, 0, 0, 9]]], "██░░"),
        ([[99, -99]], "██"),
        ([[1, 2], [3]], ""),
        ([[[1, 2], [3, 4]]], ""),
        ([[None, 1]], ""),
        ([["a", "b"]], ""),
        ([1, 2, 3], ""),
        ([[[1, 2, 3]]], ""),
        (3, ""),
    ],
)
def test_only_what_has_rows_and_columns_is_drawn(values: object, drawn: str) -> None:
    assert picture(values, (0, 16)) == drawn


def test_a_sample_of_one_value_everywhere_is_drawn_without_a_range() -> None:
    assert picture([[5, 5]], None) == ""


def test_a_picture_that_is_too_wide_is_drawn_smaller() -> None:
    lines = picture([[16] * 200] * 100, (0, 16)).splitlines()
    assert (len(lines), len(lines[0])) == (25, 100)


def test_a_colour_picture_is_painted_where_a_terminal_shows_colours() -> None:
    image = [[[0, 8, 16], [16, 16, 16]]]
    painted = "\x1b[48;2;0;128;255m  \x1b[48;2;255;255;255m  \x1b[0m"
    assert picture(image, (0, 16), colours=True) == painted
    assert "\x1b" not in picture(image, (0, 16))
    assert "\x1b" not in picture([[0, 16]], (0, 16), colours=True)


def test_a_row_is_shown_by_column_name_and_a_wide_one_is_cut() -> None:
    columns = [{"name": name} for name in ("age", "the name of the second column here", "note")]
    assert table([39, None, "a\tb" * 50], columns) == [
        "age                            39",
        "the name of the second column  missing",
        "note                           " + repr(("a\tb" * 50)[:60]),
    ]
    many = table(list(range(50)), [{"name": f"c{index}"} for index in range(50)])
    assert many[39:] == ["c39         39", "… and 10 more columns"]


def test_a_probability_of_one_half_is_an_answer_for_the_second_label() -> None:
    assert top([0.5], ["no", "yes"]) == [("yes", 0.5), ("no", 0.5)]


def test_the_top_answers_are_the_largest() -> None:
    assert top([0.1, 0.7, 0.2], ["a", "b", "c"], 2) == [("b", 0.7), ("c", 0.2)]
    assert top([0.9], ["no", "yes"])[0] == ("yes", 0.9)
    assert top([2.5], [])[0][0] == "output 0"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (2207.199951171875, "2207.2"),  # what float32 makes of 2207.2
        (0.10000000149011612, "0.1"),
        (39.0, "39"),
        (1234567.0, "1234567"),
        (2207.2, "2207.2"),
        (0.1234567890123, "0.1234567890123"),  # no float32
        (1e300, "1e+300"),
        (float("nan"), "nan"),
    ],
)
def test_a_number_is_shown_with_the_digits_that_it_has(number: float, shown: str) -> None:
    assert table([number], [{"name": "income"}]) == [f"income      {shown}"]
