"""What can go wrong in the model server, as one tree.

ModelServerError
├── SettingsError            the environment is wrong; holds one sentence per mistake
├── RegistryUnavailable      the registry did not answer; the cache still serves
├── PackageRejected          a model version is damaged, incomplete or computes something else than its golden outputs
└── RequestError             one request cannot be answered
    ├── BadRequest           the request itself is wrong
    │   ├── BadInput         the tensor has the wrong shape, type or value
    │   │   └── OtherScale   its values look like another scale than that of the training data
    │   └── UnknownLabel     the model has no such alias here
    ├── BodyTooLarge         the body is longer than the server takes
    ├── UnsupportedMedia     the body is in a format that this call does not read
    ├── WrongMethod          the address exists and wants another HTTP method
    ├── Unauthorized         the API key is missing or wrong
    ├── UnknownAddress       there is nothing at this address
    ├── NotOffered           the protocol has this call, and this server leaves it to others
    ├── UnknownRequest       feedback on a request that is not remembered
    ├── UnknownModel         the server neither has nor wants such a model
    │   └── UnknownVersion   the model is here, that version is not
    ├── NotReady             the model is wanted and not loaded yet
    │   └── EngineLost       the process that computes it died or hangs, and is being started again
    ├── Overloaded           the queue of the model is full
    ├── DeadlineExceeded     the answer would come too late
    └── PredictionFailed     the model itself failed on a well-formed input

HTTP status codes are not here: each protocol maps this tree to its own codes and body.
"""

from __future__ import annotations

from collections.abc import Sequence

_MOST_BYTES = 256


class ModelServerError(Exception):
    """Base of all errors of the model server. `str(error)` is a sentence for people."""


class SettingsError(ModelServerError):
    """The environment asks for something impossible; `mistakes` has one sentence for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class RegistryUnavailable(ModelServerError):
    """The registry did not answer, or answered with something that is not an answer."""


class PackageRejected(ModelServerError):
    """A model version must not be served: a digest, the contract or the golden outputs do not hold."""


class RequestError(ModelServerError):
    """One request cannot be answered; no other request is concerned.

    Its sentence goes to the client, and may quote what came from there: it is of 256 bytes at most, whatever came.
    """

    def __str__(self) -> str:
        text = super().__str__()
        encoded = text.encode("utf-8", "replace")
        if len(encoded) <= _MOST_BYTES:
            return text if text.isascii() else encoded.decode()
        return encoded[: _MOST_BYTES - 3].decode("utf-8", "ignore") + "…"


class BadRequest(RequestError):
    """The request is wrong in itself, and wrong again if it is sent again."""


class BadInput(BadRequest):
    """The tensor of a request has the wrong shape, type or value."""


class OtherScale(BadInput):
    """All values of a request look like another scale than that of the training data, and nobody asked for that."""


class UnknownLabel(BadRequest):
    """The model is not served under this alias."""


class BodyTooLarge(RequestError):
    """The body is longer than MODEL_SERVER_MAX_BODY_BYTES."""


class UnsupportedMedia(RequestError):
    """The content type or content encoding of the body is not one that this call reads."""


class WrongMethod(RequestError):
    """The address exists, with another method; `allowed` names it."""

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This address answers {allowed} only.")
        self.allowed = allowed


class Unauthorized(RequestError):
    """The API key is missing or wrong."""


class UnknownAddress(RequestError):
    """There is nothing at this address."""


class NotOffered(RequestError):
    """The protocol has this call; here somebody else decides what it would do, such as the registry."""


class UnknownRequest(RequestError):
    """Feedback came for a request that was not answered here, or is not remembered any more."""


class UnknownModel(RequestError):
    """No model of this name is served or wanted."""


class UnknownVersion(UnknownModel):
    """The model is served, in other versions."""


class NotReady(RequestError):
    """The model is wanted, but no version of it is loaded yet."""


class EngineLost(NotReady):
    """The process that computes the model died or hangs over this request, or before it; another one is started."""


class Overloaded(RequestError):
    """The queue is full. `retry_after_s` says after how many seconds to ask again."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(RequestError):
    """The request waited or ran longer than MODEL_SERVER_DEADLINE_S."""


class PredictionFailed(RequestError):
    """The model failed on an input that its contract allows."""
