"""The options of a request, in its address or in the fields of its form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, TypeVar

from services.model_server.errors import BadRequest
from services.model_server.images import CENTRE, FIT, INVERT, Wishes
from services.model_server.protocols.cells import listed

Header = Literal["auto", "yes", "no"]
HEADER: tuple[Header, ...] = ("auto", "yes", "no")
T = TypeVar("T", bound=str)

_NAMES = ("top_k", "invert", "fit", "centre", "header")
_TOP_K = 3
# Which version is asked, and what every kind of body may have behind the question mark; and what some have beside it.
VERSION = ("version", "alias")
_OF_ALL = (*VERSION, "top_k", "scale")
_OF_SOME = {"a picture": ("invert", "fit", "centre"), "CSV": ("header",)}


@dataclass(frozen=True)
class Options:
    """How a request is to be read and answered.

    Attributes:
        top_k: How many classes to name.
        wishes: How pictures are brought into the model's form.
        header: Whether the first line of CSV has the names of the columns.
    """

    top_k: int = _TOP_K
    wishes: Wishes = field(default_factory=Wishes)
    header: Header = "auto"


_USUAL = Options()


def read_options(given: Mapping[str, str], fields: Iterable[str] = ()) -> Options:
    """Reads the options of a request.

    Args:
        given: What the address and the form say; in the address there may be other things as well.
        fields: The names of the form's fields, which must all be options.

    Raises:
        BadRequest: an option has a value that it cannot have, or a field is none.
    """
    if any(name not in _NAMES for name in fields):
        raise BadRequest(f"The form has a field that is no option; there are {', '.join(_NAMES)}, and files.")
    if not given:
        return _USUAL
    top_k = given.get("top_k", str(_TOP_K))
    if not top_k.isascii() or not top_k.isdigit() or len(top_k) > 9 or int(top_k) < 1:
        raise BadRequest("top_k must be a whole number, 1 or more.")
    wishes = Wishes(
        _one_of(given, "invert", INVERT, "auto"),
        _one_of(given, "fit", FIT, "contain"),
        _one_of(given, "centre", CENTRE, "no"),
    )
    return Options(int(top_k), wishes, _one_of(given, "header", HEADER, "auto"))


def check_options(given: Mapping[str, str], kind: str) -> None:
    """Refuses what is no option of a body.

    Args:
        given: What the address says.
        kind: `JSON`, `CSV` or `a picture`.

    Raises:
        BadRequest: an option is one of other bodies, or none.
    """
    if given.keys() <= {*VERSION, "top_k"}:
        return
    for other, names in _OF_SOME.items():
        for name in names:
            if name in given and other != kind:
                raise BadRequest(f"?{name}= is for {other}, and this body is {kind}.")
    check_query(given, (*_OF_ALL, *_OF_SOME.get(kind, ())))


def check_query(given: Mapping[str, str], allowed: Sequence[str]) -> None:
    """Refuses what a call has no option for: a slip of the keyboard would be answered as if nothing had been said.

    Raises:
        BadRequest: names the nearest option, and all of them.
    """
    for name in given:
        if name not in allowed:
            near = get_close_matches(name[:64], allowed, 1)
            meant = f"; did you mean {near[0]}?" if near else "."
            there = f" There are {', '.join(allowed)}." if allowed else " This call has none."
            raise BadRequest(f"There is no option '{listed([name], 64)}' here{meant}{there}")


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[T, ...], default: T) -> T:
    value = given.get(name, default)
    for known in allowed:
        if value == known:
            return known
    raise BadRequest(f"{name} must be {', '.join(allowed[:-1])} or {allowed[-1]}.")
