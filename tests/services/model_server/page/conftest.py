"""A model server on a port with real small models, and a browser that looks at its page."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from services.model_server.app import create_app
from services.model_server.events import EventLog
from services.model_server.settings import Ref, Settings
from tests.services.model_server.page.real_models import digits, spiral
from tests.services.model_server.parts import FolderStore, write_kind, write_package
from tests.sites import free_port

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DEADLINE_S = 20.0


class Host:
    """A model server in a thread of this process, over a registry that the test edits."""

    def __init__(self, store: FolderStore, port: int | None = None, **settings: Any) -> None:
        self.store = store
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.app = create_app(Settings(port=self.port, poll_s=0.1, **settings), store, EventLog(io.BytesIO()))
        config = uvicorn.Config(
            self.app,
            port=self.port,
            log_config=None,
            lifespan="on",
            ws="none",
            interface="asgi3",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


Packages = dict[str, Path]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Packages by name; `digits-1` is the weaker one of two."""
    folder = tmp_path_factory.mktemp("packages")
    return {
        "digits-1": digits(folder / "d1", (12,), 12),
        "digits-2": digits(folder / "d2"),
        "playground": spiral(folder / "p"),
        "table": write_kind(folder / "t", "multiclass words"),
        "progress": write_kind(folder / "r", "regression numbers"),
        "colour": write_kind(folder / "c", "multiclass colour"),
        "vector": write_package(folder / "v", name="vector", shape=(6,)),
    }


@pytest.fixture
def registry(tmp_path: Path, packages: Packages) -> FolderStore:
    """A registry with the digits, two versions of them, and nothing else."""
    store = FolderStore(tmp_path / "cache")
    store.add(packages["digits-1"], "digits", "1", alias=None)
    store.add(packages["digits-2"], "digits", "2")
    return store


@pytest.fixture
def host(registry: FolderStore) -> Iterator[Host]:
    """The server of that registry."""
    host = Host(registry)
    yield host
    host.stop()


# Of a module, not of the session: as long as Playwright runs, this thread has an event loop, and no other test can run
# one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


Look = Callable[..., Any]

# What the browser must say by itself when a server refuses or is away; everything else on its console is a mistake.
_NETWORK = "Failed to load resource"


@pytest.fixture
def look(browser: Any) -> Iterator[Look]:
    """Opens a server's page; at the end nothing was asked of others, and nothing went wrong in it."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_page(url: str, model: str = "", troubles: bool = False, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(DEADLINE_S * 1000)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective))"
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda message: (
                wrong.append(message.text)
                if message.type in ("error", "warning") and not (troubles and message.text.startswith(_NETWORK))
                else None
            ),
        )
        page.on("request", lambda sent: None if sent.url.startswith((url, "blob:")) else wrong.append(sent.url))
        page.goto(f"{url}/#{model}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def previous(store: FolderStore, name: str, version: str | None) -> None:
    """Lets the alias `previous` name a version, or nothing."""
    if version is None:
        store.aliases.pop(Ref(name, "previous"), None)
    else:
        store.aliases[Ref(name, "previous")] = version
