"""What a model is called in a document: the name of its addresses, of its schemas and operations, and an example."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from services.model_server.package import Contract
from services.model_server.protocols.cells import to_cells
from services.model_server.served import ServedModel

_LARGEST_EXAMPLE = 1024


@dataclass(frozen=True)
class Described:
    """One loaded version.

    Attributes:
        served: The version itself.
        default: Whether the name alone means it.
        labels: The aliases that name it.
    """

    served: ServedModel
    default: bool
    labels: tuple[str, ...] = ()

    @property
    def contract(self) -> Contract:
        """What it takes and gives."""
        return self.served.contract

    @property
    def name(self) -> str:
        """Its name, as it stands in an address."""
        return quote(self.served.name, safe="")

    @property
    def version(self) -> str:
        """Its version."""
        return self.served.version

    @property
    def key(self) -> str:
        """A word that no other version has: for operations and schemas."""
        return f"{re.sub(r'[^A-Za-z0-9_.-]', lambda found: f'-{ord(found[0]):x}-', self.served.name)}.v{self.version}"

    def schema(self, part: str) -> dict[str, Any]:
        """Returns a reference to one of its schemas: `sample`, `samples` or `outputs`."""
        return {"$ref": f"#/components/schemas/{self.key}.{part}"}

    def example(self) -> Any:
        """Returns a golden sample as JSON; None if it is too long for a document that people read, or not JSON."""
        row = self.served.golden.inputs[0]
        if row.size > _LARGEST_EXAMPLE:
            return None
        if self.contract.columns:
            cells = to_cells(row, self.contract) if row.dtype == object else row.tolist()
            values = [None if isinstance(cell, float) and cell != cell else cell for cell in cells]  # NaN is missing
            return dict(zip(self.contract.column_names, values, strict=True))
        return row.tolist()
