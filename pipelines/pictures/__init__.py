"""Pictures: the curves of a trial as SVG; as PNG a look at the samples of a data set, and a model's decisions.

Each is quick enough to be drawn while trials run, and none of them needs a screen or a window.
"""

from __future__ import annotations

from pipelines.pictures.curves import loss_curve
from pipelines.pictures.samples import sample_grid

__all__ = ["loss_curve", "sample_grid"]
