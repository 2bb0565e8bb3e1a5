"""What the server sends of the page: to whom, with which headers, and nothing that is not the page's."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.model_server.protocols.page import FOLDER, MEDIA_TYPES, POLICY
from tests.services.model_server.parts import FolderStore, ask, run, serving

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FILES = sorted(path.name for path in FOLDER.iterdir())
MOST_LINES = 300


def asked(store: FolderStore, path: str, method: str = "GET", headers: Any = None, **settings: Any) -> httpx.Response:
    return ask(store, method, path, headers=headers, **settings)


def test_the_root_is_a_page_to_browsers(store: FolderStore) -> None:
    response = asked(store, "/", headers=BROWSER)

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text == (FOLDER / "index.html").read_text(encoding="utf-8")
    assert response.headers["vary"] == "accept, accept-encoding"


@pytest.mark.parametrize("headers", [None, {"accept": "*/*"}, {"accept": "application/json"}, {"accept": ""}])
def test_the_root_says_that_it_is_alive_to_everybody_else(store: FolderStore, headers: Any) -> None:
    response = asked(store, "/", headers=headers)

    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert response.headers["vary"] == "accept"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0.5, */*", False),
        ("text/html; level=1; Q=0.5, application/*;q=0.6", False),
        ("text/html;q=0", False),
        ("text/*", False),
        ("text/html", True),
        ("TEXT/HTML;charset=utf-8, application/json;q=0.9", True),
        ("application/json;q=0.2, text/html;q=0.5, */*;q=0.9", True),
        ("text/html, application/json", True),
        ("text/html;q=lots", True),
    ],
)
def test_whoever_would_rather_have_json_gets_json(store: FolderStore, accept: str, html: bool) -> None:
    response = asked(store, "/", headers={"accept": accept})

    assert response.headers["content-type"].startswith("text/html" if html else "application/json")


def test_several_lines_of_what_is_accepted_are_one_list(store: FolderStore) -> None:
    lines = [("accept", "text/html;q=0.5"), ("accept", "application/json")]

    assert asked(store, "/", headers=lines).json() == {"status": "alive"}


def test_without_the_page_the_root_is_alive_to_browsers_too_and_has_no_files(store: FolderStore) -> None:
    assert asked(store, "/", headers=BROWSER, page=False).json() == {"status": "alive"}
    assert asked(store, "/page/app.js", page=False).status_code == 404


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_as_it_is_and_of_its_kind(store: FolderStore, name: str) -> None:
    response = asked(store, f"/page/{name}")

    assert response.content == (FOLDER / name).read_bytes()
    assert response.headers["content-type"].encode() == MEDIA_TYPES[Path(name).suffix]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/none.js", "/page/../app.py", "/page/%2e%2e%2fapp.py", "/page/..%5Capp.py", "/page/a/b.js"],
)
def test_nothing_else_of_the_disk_can_be_reached(store: FolderStore, path: str) -> None:
    response = asked(store, path)

    assert response.status_code == 404
    assert len(response.content) < 256


@pytest.mark.parametrize("path", ["/", "/page/app.js"])
def test_a_browser_that_has_the_file_does_not_get_it_again(store: FolderStore, path: str) -> None:
    async def work() -> tuple[httpx.Response, ...]:
        async with serving(store) as server:
            first = await server.client.get(path, headers=BROWSER)
            tag = first.headers["etag"]
            again = await server.client.get(path, headers=BROWSER | {"if-none-match": f'"other", W/{tag}'})
            other = await server.client.get(path, headers=BROWSER | {"if-none-match": '"other"'})
            return first, again, other

    first, again, other = run(work())

    assert (first.status_code, again.status_code, other.status_code) == (200, 304, 200)
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    assert other.content == first.content


def test_files_are_sent_packed_to_those_who_unpack(store: FolderStore) -> None:
    packed = asked(store, "/page/app.js", headers={"accept-encoding": "br, gzip"})
    plain = asked(store, "/page/app.js", headers={"accept-encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == (FOLDER / "app.js").read_bytes()  # httpx has unpacked it
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, mtime=0))
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    ("accept", "is_packed"),
    [
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("br, gzip;q=0.001", True),
        ("GZIP", True),
        ("*", True),
        ("*;q=0", False),
        ("x-gzip-like", False),
    ],
)
def test_a_file_is_packed_only_for_who_takes_that(store: FolderStore, accept: str, is_packed: bool) -> None:
    response = asked(store, "/page/app.js", headers={"accept-encoding": accept})
    assert (response.headers.get("content-encoding") == "gzip") == is_packed


def test_a_head_request_tells_the_size_and_sends_nothing(store: FolderStore) -> None:
    response = asked(store, "/page/app.js", "HEAD", {"accept-encoding": "identity"})

    assert response.content == b""
    assert int(response.headers["content-length"]) == (FOLDER / "app.js").stat().st_size


def test_other_methods_are_told_which_ones_there_are(store: FolderStore) -> None:
    response = asked(store, "/page/app.js", "POST")

    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def test_the_page_is_open_where_a_key_guards_the_models(store: FolderStore) -> None:
    assert asked(store, "/", headers=BROWSER, api_key="secret").status_code == 200
    assert asked(store, "/page/app.js", api_key="secret").status_code == 200
    assert asked(store, "/models", api_key="secret").status_code == 401


def test_the_policy_lets_nothing_run_that_is_not_a_file_of_this_server(store: FolderStore) -> None:
    response = asked(store, "/", headers=BROWSER)

    assert response.headers["content-security-policy"].encode() == POLICY
    rules = dict(rule.split(" ", 1) for rule in POLICY.decode().split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in POLICY.decode()


def test_whatever_the_page_names_is_there() -> None:
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:src|href)="page/([^"]+)"', html))
    for script in FOLDER.glob("*.js"):
        named |= set(re.findall(r'from "\./([^"]+)"', script.read_text(encoding="utf-8")))

    assert named == set(FILES) - {"index.html"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_short_and_names_no_other_server(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    code = re.sub(r"^\s*(//|\*|/\*).*$", "", text, flags=re.MULTILINE)  # comments may say where something is from

    assert len(text.splitlines()) < MOST_LINES
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", code) == []
    assert "innerHTML" not in code
    assert max(map(len, text.splitlines())) <= 120


def test_the_markup_has_no_script_or_style_of_its_own() -> None:
    html = (FOLDER / "index.html").read_text(encoding="utf-8")

    assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", html) == []
