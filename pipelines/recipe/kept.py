"""Reads configs again that Regatta has kept: a study's in its folder, a training's with its run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipelines.errors import ConfigError, Mistake
from pipelines.mistakes import dotted, explain
from pipelines.own.code import OwnCodeError, may_be_elsewhere

Config = TypeVar("Config", bound=BaseModel)


class KeptConfigError(ConfigError):
    """A config that was kept cannot be read any more; the message is the whole sentence."""

    def __init__(self, message: str) -> None:
        """Takes the whole sentence."""
        super().__init__("kept config", [Mistake("", message)])
        self.args = (message,)


def read_kept(kind: type[Config], raw: Any, whose: str) -> Config:
    """A config as it was kept. Code of the user's that it names is not looked for; see `need_code`.

    Args:
        kind: What it is.
        raw: As it was kept.
        whose: For the message, such as `study 'digits'`.

    Raises:
        KeptConfigError: Another version of Regatta has kept it, and this one cannot read it.
    """
    try:
        with may_be_elsewhere():
            return kind.model_validate(raw)
    except ValidationError as error:
        told = _told(explain(error, kind, raw))
        raise KeptConfigError(
            f"The config of {whose} is not one that this version of Regatta reads: {told}. Use the version that it was "
            f"made with."
        ) from None


def need_code(kind: type[BaseModel], raw: Any, whose: str, parts: Collection[str] = ()) -> None:
    """Makes sure that the user's own code can be had here, for who is about to call it.

    Args:
        kind: As for `read_kept`, which comes first: nothing else is wrong with the config.
        raw: As it was kept.
        whose: For the message.
        parts: The parts of the config whose code is called; all of them where there are none.

    Raises:
        OwnCodeError: It cannot.
    """
    try:
        kind.model_validate(raw)
    except ValidationError as error:
        found = {place: text for place, text in explain(error, kind, raw).items() if not parts or place[0] in parts}
        if found:
            raise OwnCodeError(
                f"{whose[:1].upper()}{whose[1:]} needs code of yours that cannot be had here: {_told(found)}. Run this "
                f"in the folder that has it."
            ) from None


def _told(found: dict[tuple[str | int, ...], str]) -> str:
    return "; ".join(f"{dotted(place)}: {message}" if place else message for place, message in found.items())
