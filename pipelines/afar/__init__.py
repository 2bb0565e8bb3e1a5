"""Trials on machines that share no disk with the controller: what they need travels there, what they make comes back.

A worker and its trainer know nothing of it: they see files, as they do on this machine. `FarWorker` stands between them
and the wire on the node, `FarExecutor` between the wire and the sweep. No path of the controller's leaves it, and none
of a node's reaches it: on the wire, files go by names.
"""

from __future__ import annotations
