"""Workers in containers of this machine's Docker engine: whether it can house them, how, and who starts them."""

from __future__ import annotations
