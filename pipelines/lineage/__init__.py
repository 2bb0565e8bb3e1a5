"""Where a sweep came from: the code it ran, the packages, the machine, and what it was asked to do."""

from pipelines.lineage.machine import Machine
from pipelines.lineage.packages import Packages
from pipelines.lineage.record import Lineage, lineage
from pipelines.lineage.repository import Repository

__all__ = ["Lineage", "Machine", "Packages", "Repository", "lineage"]
