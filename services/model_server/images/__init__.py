"""Pictures as people have them, PNG and JPEG, to what a model takes: a request's bytes in, arrays of the contract out.

`headers` reads a file's head and refuses what must not be decoded, `decoding` has Pillow decode the rest, `drawing`
brings it to the size, the colours and the ground that the model knows, and `form` tells what that is.
"""

from __future__ import annotations

from services.model_server.images.drawing import CENTRE, FIT, INVERT, Done, Wishes, draw
from services.model_server.images.form import Form, form_of
from services.model_server.images.headers import Head, kind_of, read_head

__all__ = [
    "CENTRE",
    "FIT",
    "INVERT",
    "Done",
    "Form",
    "Head",
    "Wishes",
    "draw",
    "form_of",
    "kind_of",
    "read_head",
]
