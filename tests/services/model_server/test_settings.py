"""What the environment may say, and what the server says when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.model_server.errors import SettingsError
from services.model_server.settings import Ref, read_settings


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.poll_s) == ("127.0.0.1", 8080, 2.0)
    assert settings.models == (Ref("*", "champion"),)
    assert settings.cache == Path(".regatta/models")
    assert settings.tracking_uri == "http://127.0.0.1:5000"
    assert settings.api_key is None


def test_the_cache_lies_under_regatta_home_unless_it_is_set() -> None:
    assert read_settings({"REGATTA_HOME": "/srv/r"}).cache == Path("/srv/r/models")
    assert read_settings({"REGATTA_HOME": "/srv/r", "MODEL_SERVER_CACHE": "/c"}).cache == Path("/c")


@pytest.mark.parametrize(
    ("text", "refs"),
    [
        ("digits", (Ref("digits", "champion"),)),
        ("digits@staging", (Ref("digits", "staging"),)),
        ("digits/3", (Ref("digits", None, "3"),)),
        (" a , b/2,a ,", (Ref("a", "champion"), Ref("b", None, "2"))),
        ("*", (Ref("*", "champion"),)),
    ],
)
def test_models_are_read_as_name_alias_or_version(text: str, refs: tuple[Ref, ...]) -> None:
    assert read_settings({"MODEL_SERVER_MODELS": text}).models == refs


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("MODEL_SERVER_PORT", "tcp://10.0.0.7:8080", "0 to 65535"),
        ("MODEL_SERVER_PORT", "70000", "0 to 65535"),
        ("MODEL_SERVER_POLL_S", "0", "above 0"),
        ("MODEL_SERVER_MODELS", "digits@", "NAME@alias"),
        ("MODEL_SERVER_MODELS", "digits/latest", "NAME/version"),
        ("MODEL_SERVER_MODELS", ",", "NAME"),
        ("MODEL_SERVER_WORKERS", "4", "1: several processes are not supported yet"),
        ("MODEL_SERVER_MAX_BATCH", "0", "1 to 65536"),
        ("MODEL_SERVER_ACCESS_LOG", "perhaps", "on or off"),
    ],
)
def test_a_wrong_setting_is_one_sentence_with_its_name_value_and_remedy(variable: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({variable: value})
    (sentence,) = caught.value.mistakes
    assert sentence.startswith(f"{variable} is {value!r}; it must be ")
    assert told in sentence


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"MODEL_SERVER_PORT": "x", "MODEL_SERVER_DRAIN_S": "-1"})
    assert len(caught.value.mistakes) == 2


def test_variables_of_other_tools_are_left_alone() -> None:
    assert read_settings({"MODEL_SERVER_SERVICE_HOST": "10.0.0.7", "MODEL_SERVER_QUEUE": ""}).queue == 4096


def test_the_api_key_is_not_shown_by_a_printed_settings_object() -> None:
    assert "s3cret" not in repr(read_settings({"MODEL_SERVER_API_KEY": "s3cret"}))
