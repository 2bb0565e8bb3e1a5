"""What the environment may say, and what the server says when it is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.model_server import settings as settings_module
from services.model_server.command_line import read_flags, shown_default
from services.model_server.errors import SettingsError
from services.model_server.settings import (
    MEANINGS,
    Ref,
    Settings,
    flag_of,
    read_settings,
    unknown_variables,
    variable_of,
)

ROOT = Path(__file__).parents[3]


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
        ("MODEL_SERVER_WORKERS", "0", "1 to 64"),
        ("MODEL_SERVER_WORKERS", "65", "1 to 64"),
        ("MODEL_SERVER_CONNECTIONS", "0", "1 to 1000000"),
        ("MODEL_SERVER_HEADER_BYTES", "5", "1024 to 1048576"),
        ("MODEL_SERVER_BODY_S", "0", "above 0"),
        ("MODEL_SERVER_CORS", "pages.example.org", "origins such as https://"),
        ("MODEL_SERVER_CORS", "https://a.example/path", "origins such as https://"),
        ("MODEL_SERVER_MAX_BATCH", "0", "1 to 65536"),
        ("MODEL_SERVER_ACCESS_LOG", "perhaps", "on or off"),
        ("MODEL_SERVER_SCALE_CHECK", "perhaps", "on or off"),
        ("MODEL_SERVER_MAX_PIXELS", "0", "pixels from 1 to 89000000"),
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


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", ("*",)),
        ("https://a.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
        ("HTTPS://A.Example,https://a.example", ("https://a.example",)),
        ("http://[::1]:80", ("http://[::1]:80",)),
    ],
)
def test_origins_are_read_as_browsers_send_them(text: str, origins: tuple[str, ...]) -> None:
    assert read_settings({"MODEL_SERVER_CORS": text}).cors == origins


@pytest.mark.parametrize(("one", "other"), [("CERT", "KEY"), ("KEY", "CERT")])
def test_half_of_tls_is_a_mistake(one: str, other: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({f"MODEL_SERVER_TLS_{one}": "/some/file"})
    assert caught.value.mistakes == (
        f"MODEL_SERVER_TLS_{other} is not set, and MODEL_SERVER_TLS_{one} is; set both, or none.",
    )


def test_a_flag_goes_before_the_environment_and_is_named_in_its_mistake() -> None:
    environ = {"MODEL_SERVER_PORT": "8081", "MODEL_SERVER_QUEUE": "7"}
    settings = read_settings(environ, read_flags(["--port", "8082"]))
    assert (settings.port, settings.queue) == (8082, 7)
    with pytest.raises(SettingsError, match=r"^--max-batch is 'x'; it must be a whole number of rows"):
        read_settings(environ, read_flags(["--max-batch", "x"]))


def test_every_setting_but_the_key_has_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_flags(["--help"])
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for field in Settings.model_fields:
        assert (f"{flag_of(field)} VALUE" in told) == (field != "api_key")
        assert variable_of(field) in told


def test_help_and_mistakes_load_nothing_slow() -> None:
    slow = "{'numpy', 'onnxruntime', 'uvloop', 'starlette', 'mlflow', 'PIL', 'services.model_server.app'}"
    code = (
        "import sys, services.model_server.__main__ as main\n"
        "sys.argv = ['x', '--port', 'wrong', '--queue', '0']\n"
        f"print(main.main(), {slow} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 set()"
    assert [line.split(" is ")[0] for line in done.stderr.splitlines()] == ["--port", "--queue"]


def test_every_setting_has_a_meaning_and_says_what_is_right() -> None:
    assert MEANINGS.keys() == Settings.model_fields.keys() == settings_module._RIGHT.keys()


def test_the_handbook_has_every_setting_with_its_default_and_meaning() -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    rows = re.findall(r"^\| `((?:MODEL_SERVER|MLFLOW)_[A-Z_]+)` \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    wanted = [
        (variable_of(name), shown_default(name, field.default) and f"`{shown_default(name, field.default)}`")
        for name, field in Settings.model_fields.items()
    ]
    assert sorted((variable, default) for variable, default, _ in rows) == sorted(wanted)
    meanings = {variable_of(name): meaning for name, meaning in MEANINGS.items()}
    assert {variable: meaning for variable, _, meaning in rows} == meanings


def test_the_check_of_the_scale_can_be_switched_off() -> None:
    assert read_settings({}).scale_check
    assert not read_settings({"MODEL_SERVER_SCALE_CHECK": "off"}).scale_check


def test_a_variable_that_is_no_setting_is_told_with_the_nearest_one_and_those_of_others_are_not() -> None:
    of_others = ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT_8080_TCP_ADDR", "B_SERVICE_HOST", "TARGET", "NAME")
    environ = {f"MODEL_SERVER_{name}": "x" for name in of_others} | {variable_of(f): "x" for f in Settings.model_fields}
    assert unknown_variables(environ | {"MODEL_SERVER_FOO": " ", "OTHER": "x"}) == []
    assert unknown_variables(environ | {"MODEL_SERVER_DRFT": "3", "MODEL_SERVER_XYZZY": "3"}) == [
        "MODEL_SERVER_DRFT is set, and there is no such setting; did you mean MODEL_SERVER_DRIFT?",
        "MODEL_SERVER_XYZZY is set, and there is no such setting; python -m services.model_server --help lists all.",
    ]
