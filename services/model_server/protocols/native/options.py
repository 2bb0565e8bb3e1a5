"""The options of a request, in its address or in the fields of its form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from services.model_server.errors import BadRequest
from services.model_server.images import CENTRE, FIT, INVERT, Wishes

Header = Literal["auto", "yes", "no"]
HEADER: tuple[Header, ...] = ("auto", "yes", "no")
T = TypeVar("T", bound=str)

_NAMES = ("top_k", "invert", "fit", "centre", "header")
_TOP_K = 3


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


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[T, ...], default: T) -> T:
    value = given.get(name, default)
    for known in allowed:
        if value == known:
            return known
    raise BadRequest(f"{name} must be {', '.join(allowed[:-1])} or {allowed[-1]}.")
