"""`python -m services.model_server`: looks whether its packages are there, and launches the server."""

from __future__ import annotations

import os
import sys
import threading

from services.model_server.needed import missing_packages

EXIT_MISSING = 2


def main() -> int:
    """Runs the server and returns the exit code."""
    missing = missing_packages()
    if missing:
        print(
            f"The model server needs {', '.join(missing)}, which {sys.executable} does not have. "
            "Start it with .venv/bin/python -m services.model_server; `make setup` makes that environment.",
            file=sys.stderr,
        )
        return EXIT_MISSING
    from services.model_server.launch import launch

    return launch()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        # A download or a prediction outlived the drain: Python would wait for its thread, the grace period does not.
        os._exit(code)
    sys.exit(code)
