"""What a study is, kept in its folder: for the controller that goes on with it, and for the verbs that come after."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.datasets.prepared import PreparedData, open_prepared
from pipelines.errors import DataError, HomeError
from pipelines.home import StudyFolder
from pipelines.own.digest import CODE_SHA256_TAG, named_modules, other_code
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.kept import need_code, read_kept
from pipelines.recipe.reading import identity
from pipelines.tracking.addresses import without_secrets


@dataclass
class StudyFacts:
    """A study's own facts.

    Attributes:
        uid: Of its parent run in the journal; runs of trials are called after it.
        identity: Digest of the recipe's parts that make the study what it is.
        config: The recipe as it was when the study was last run.
        server: The tracking server that it was last sent to, without a password.
        data: Folder and digests of the data that its trials train on.
        own_code: Digests of the user's own code when the study was last run, by module; see `pipelines.own.digest`.
    """

    uid: str
    identity: str
    config: dict[str, Any]
    server: str
    data: dict[str, str] = field(default_factory=dict)
    own_code: dict[str, str] | None = None

    @classmethod
    def read(cls, folder: StudyFolder) -> StudyFacts:
        """The facts of a study that was begun.

        Raises:
            HomeError: They cannot be read.
        """
        try:
            return cls(**json.loads(folder.facts.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise HomeError(
                f"What study '{folder.root.name}' is cannot be read from {folder.facts}: {error}. Bring that file back "
                f"from a backup, or begin the study anew with --fresh."
            ) from None

    @classmethod
    def begin(cls, config: SweepConfig, server: str) -> StudyFacts:
        """The facts of a new study."""
        return cls(secrets.token_hex(6), identity(config), config.model_dump(mode="json"), without_secrets(server))

    def go_on(self, config: SweepConfig, server: str) -> StudyFacts:
        """The same study, run again."""
        return replace(self, config=config.model_dump(mode="json"), server=without_secrets(server))

    def write(self, folder: StudyFolder) -> None:
        """Keeps the facts, in one step."""
        beside = folder.facts.with_suffix(".writing")
        beside.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        beside.replace(folder.facts)

    def trains_on(self, data: PreparedData) -> None:
        """Notes the data of the study.

        Raises:
            DataError: The study has trained on other data before.
        """
        found = {"folder": str(data.folder), "sha256": data.sha256, "split_sha256": data.split_sha256}
        if self.data and any(self.data[key] != found[key] for key in ("sha256", "split_sha256")):
            raise DataError(
                "The data has changed since this study began, so its trials could not be compared with new ones. Bring "
                "the old data back, or begin a new study with --fresh."
            )
        self.data = found

    def runs_code(self, modules: Mapping[str, str]) -> str | None:
        """Notes the user's own code as it is now; a sentence where it is other code than when the study was last run.

        Args:
            modules: Digests by module.
        """
        before, self.own_code = self.own_code, dict(modules)
        changed = [] if before is None else other_code(before, modules)  # an older Regatta has noted none
        if not changed:
            return None
        return (
            f"Your own code has changed since study '{self.config.get('study')}' was last run "
            f"({named_modules(changed)}): its trials from here on run the new code, and their runs say so in the tag "
            f"{CODE_SHA256_TAG}. To compare like with like, begin a new study with --fresh."
        )

    def recipe(self) -> SweepConfig:
        """The recipe. Code of the user's that it names may be elsewhere: most verbs call none of it.

        Raises:
            KeptConfigError: Another version of Regatta has kept it, and this one cannot read it.
        """
        return read_kept(SweepConfig, self.config, self._name)

    def need_code(self, *parts: str) -> None:
        """Makes sure that the user's own code can be had here: that of some parts of the recipe, or all of it.

        Raises:
            OwnCodeError: It cannot.
        """
        need_code(SweepConfig, self.config, self._name, parts)

    @property
    def _name(self) -> str:
        """What messages call it."""
        return f"study '{self.config.get('study')}'"

    def prepared(self) -> PreparedData:
        """The data.

        Raises:
            DataError: The study has none yet, or its folder is gone.
        """
        folder = Path(self.data.get("folder", ""))
        if not (folder / "facts.json").is_file():
            raise DataError(
                f"The study's prepared data is gone from {folder}. Its recipe prepares it again: regatta sweep"
            )
        return open_prepared(folder)
