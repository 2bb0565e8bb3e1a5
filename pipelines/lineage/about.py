"""What this installation of Regatta is, to be compared with another one: `python -m pipelines.lineage.about [FILE]`."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.lineage.packages import installed

_PACKAGE = Path(__file__).resolve().parents[1]
_MATTER = ("keras", "numpy", "onnx", "pydantic", "scikit-learn", "tf2onnx")
"""Packages beside TensorFlow that decide what a training comes to, or that what is sent to a worker depends on."""


@dataclass(frozen=True)
class About:
    """An installation.

    Attributes:
        code: Digest of Regatta's own code.
        versions: Of the packages that matter, by name.
        lock: The lock file that its environment was made from.
        lock_sha256: Digest of that file.
        read: What is in the file that it was asked to read; empty where that is not there.
    """

    code: str
    versions: Mapping[str, str]
    lock: str = ""
    lock_sha256: str = ""
    read: str = ""

    @classmethod
    def here(cls) -> About:
        """This very one."""
        packages = installed(_PACKAGE.parent)
        versions = {name: packages.versions[name] for name in _MATTER if name in packages.versions}
        if packages.tensorflow is not None:
            versions["tensorflow"] = packages.tensorflow
        return cls(_code_sha256(_PACKAGE), versions, packages.lock, packages.lock_sha256)

    @classmethod
    def from_json(cls, text: str) -> About:
        """From what the program prints.

        Raises:
            ValueError: It printed something else.
        """
        try:
            told: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
            return cls(**told)
        except (IndexError, TypeError) as error:
            raise ValueError(str(error)) from None

    def differences(self, other: About) -> Iterator[str]:
        """What of this one is not so in another, as parts of a sentence; nothing where trainings come to the same."""
        for name, version in sorted(other.versions.items()):
            mine = self.versions.get(name)
            if mine != version:
                yield f"{name} {mine or 'is not'} in it, {version} here"
        if self.lock == other.lock and self.lock_sha256 != other.lock_sha256:
            yield f"it was made from another {self.lock}"
        if self.code != other.code:
            yield "Regatta's own code is another"


def main(arguments: list[str]) -> int:
    """Prints it as JSON, with the content of a file where one is named."""
    read = ""
    with suppress(OSError, UnicodeDecodeError, IndexError):
        read = Path(arguments[0]).read_text(encoding="utf-8")
    print(json.dumps(asdict(About.here()) | {"read": read}))
    return 0


def _code_sha256(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
