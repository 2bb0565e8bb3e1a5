"""Where a test's sweeps run, and how they are begun there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.faults.servers import LocalServer, OwnServer, Server
from tests.faults.watching import RECIPE, SweepAt, entries_in
from tests.sites import Site, Watched, made_site

TRACKING = "MLFLOW_TRACKING_URI"


@dataclass
class Place:
    """A home, a study's name, and the server.

    Attributes:
        server: To ask what there is; always the server itself, also where sweeps reach it through a bad network.
        tracking: The server's process, to kill and to revive; None where tests share the server.
    """

    site: Site
    study: str
    server: Server
    tracking: LocalServer | OwnServer | None = None
    begun: list[Watched] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.site.home / "studies" / self.study

    def flags(self, *flags: str) -> list[str]:
        """The command line of a sweep here."""
        return ["sweep", RECIPE, "--json", "--set", f"study={self.study}", *flags]

    def begin(self, *flags: str, **more: str) -> SweepAt:
        """A sweep in the background."""
        before = len(entries_in(self.folder))
        watched = Watched(self.site.begin(*self.flags(*flags), **more))
        self.begun.append(watched)
        return SweepAt(self.folder, watched, before)

    def sweep(self, *flags: str, **more: str) -> dict[str, Any]:
        """A sweep that must succeed, to its end; returns its summary."""
        return self.begin(*flags, **more).watched.summary()

    def run(self, *arguments: str, **more: str) -> CompletedProcess[str]:
        """Another verb, to its end."""
        return self.site.run(*arguments, **more)

    def with_settings(self, **settings: str) -> Place:
        """The same place, as one comes to it with other settings."""
        return replace(self, site=replace(self.site, settings={**self.site.settings, **settings}))


@contextmanager
def made_place(
    home: Path, study: str, settings: Mapping[str, str], tracking: OwnServer | None = None
) -> Iterator[Place]:
    """A place; all that was begun in it ends with the block. Without an MLFLOW_TRACKING_URI, it starts a server."""
    with made_site(home, **settings) as site:
        place = Place(site, study, Server(site.server), tracking if TRACKING in settings else LocalServer(site))
        try:
            yield place
        finally:
            for watched in place.begun:
                watched.close()
