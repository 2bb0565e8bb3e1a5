"""The page's script, in parts that share one scope: plain JavaScript, no libraries but Plotly, nothing loaded.

`shared` comes first: the data, the colours of the night, what one part tells another. `figures` draws Plotly's figures,
`parallel` the lines through all parameters, `table` sorts and filters, `pictures` enlarges, `copying` copies commands.
"""

from __future__ import annotations

from pipelines.report.scripts.copying import COPYING
from pipelines.report.scripts.figures import FIGURES
from pipelines.report.scripts.parallel import PARALLEL
from pipelines.report.scripts.pictures import PICTURES
from pipelines.report.scripts.shared import SHARED
from pipelines.report.scripts.table import TABLE

__all__ = ["JS"]

JS = "\n'use strict';\n(() => {\n" + SHARED + TABLE + PARALLEL + FIGURES + PICTURES + COPYING + "})();\n"
