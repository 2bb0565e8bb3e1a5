"""Executors: one file a kind. To add one, write its file, and list it here."""

from __future__ import annotations

from typing import Literal

ExecutorKind = Literal["inline", "processes", "docker", "ray"]
