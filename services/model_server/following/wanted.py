"""What is followed: the refs that somebody asked for, and what goes with a champion."""

from __future__ import annotations

from services.model_server.settings import (
    ANY_MODEL,
    CHALLENGER_ALIAS,
    DEFAULT_ALIAS,
    PREVIOUS_ALIAS,
    Ref,
    Settings,
)


class Wanted:
    """All refs of a server. `previous` is there to fall back on, `challenger` to be compared with.

    Attributes:
        refs: What the registry is asked for.
    """

    def __init__(self, settings: Settings) -> None:
        """Reads the refs off the settings."""
        self._asked = settings.models
        aliases = [PREVIOUS_ALIAS] * settings.keep_previous + [CHALLENGER_ALIAS] * bool(settings.shadow)
        champions = [ref for ref in settings.models if ref.alias == DEFAULT_ALIAS]
        beside = dict.fromkeys(Ref(ref.name, alias) for ref in champions for alias in aliases)
        self._beside = tuple(ref for ref in beside if ref not in self._asked)
        self.refs: tuple[Ref, ...] = (*self._asked, *self._beside)

    def place(self, ref: Ref) -> tuple[bool, int, str, str]:
        """Returns the place of a ref among others, whenever it was found: as asked for, then by name.

        What goes with a champion comes behind all that was asked for.
        """
        if ref in self._asked:
            asked = self._asked.index(ref)
        else:
            names = [other.name for other in self._asked]
            asked = min((names.index(name) for name in (ref.name, ANY_MODEL) if name in names), default=len(names))
        return self.is_beside(ref), asked, ref.name, ref.alias or ""

    def is_beside(self, ref: Ref) -> bool:
        """Whether a ref only goes with a champion."""
        return ref not in self._asked and any(
            ref.alias == other.alias and other.name in (ref.name, ANY_MODEL) for other in self._beside
        )

    def is_shadow(self, ref: Ref) -> bool:
        """Whether a ref is there only to be compared with a champion."""
        return ref.alias == CHALLENGER_ALIAS and self.is_beside(ref)
