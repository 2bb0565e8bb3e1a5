"""Workers that are actors of a Ray cluster: one that is there already, or one of this machine alone.

Ray itself is spoken to by a process of its own (`driver`), as it ends its process where it loses its cluster. It starts
actors and tells when one is lost, and of which node; what is said to a worker goes over the line by which it dials in,
as with any other worker. Nobody but the driver and the actors imports Ray.
"""

from __future__ import annotations
