"""`python -m services.model_server.keras_engine FD PID`: the child. The server starts it; nobody else needs to."""

from __future__ import annotations

import sys

from services.model_server.keras_engine.leash import die_first, die_with

if __name__ == "__main__":
    die_with(int(sys.argv[2]))  # before anything slow is imported
    die_first()
    from services.model_server.keras_engine.child import main

    sys.exit(main(int(sys.argv[1])))
