"""`python -m services.model_server`: reads the settings, takes the port, serves until SIGTERM, drains."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType

from services.model_server.errors import SettingsError
from services.model_server.settings import Settings, read_settings

EXIT_WRONG = 2


def take_port(settings: Settings) -> socket.socket:
    """Binds the address before anything slow happens.

    Raises:
        SettingsError: the port is taken, or the address is not one of this machine's.
    """
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # now, so that clients that come while the server starts wait instead of being refused
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            sentence = f"Port {port} on {host} is taken by another process; stop it or set another MODEL_SERVER_PORT."
        elif error.errno == errno.EACCES:
            sentence = f"Port {port} on {host} needs more rights; set MODEL_SERVER_PORT to 1024 or more."
        else:
            sentence = f"Cannot listen on {host} port {port}: {error.strerror or error}; see MODEL_SERVER_HOST."
        raise SettingsError([sentence]) from None
    return listener


def check_cache(settings: Settings) -> None:
    """Makes the cache folder.

    Raises:
        SettingsError: it cannot be made or written.
    """
    try:
        settings.cache.mkdir(parents=True, exist_ok=True)
        if not os.access(settings.cache, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(
            [f"MODEL_SERVER_CACHE is {str(settings.cache)!r}, which cannot be written: {reason}."]
        ) from None


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serves on a bound socket until SIGTERM or SIGINT."""
    import uvicorn

    from services.model_server.app import create_app

    app = create_app(settings)
    engine, log = app.state.engine, app.state.log
    linger_s = min(settings.linger_s, settings.drain_s / 2)

    class Server(uvicorn.Server):
        """Drains in three steps: not ready, then no new connections, then no open requests."""

        stop_at: float | None = None

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Starts to drain at the first signal; ends at once at the second."""
            if self.stop_at is not None:
                self.force_exit = self.should_exit = True
                return
            engine.draining = True
            self.stop_at = time.monotonic() + linger_s
            log("draining", signal=signal.Signals(sig).name, within_s=settings.drain_s)

        async def on_tick(self, counter: int) -> bool:
            """Lets those who watch readiness go elsewhere before the port closes."""
            if self.stop_at is not None and time.monotonic() >= self.stop_at:
                self.should_exit = True
            return await super().on_tick(counter)

    server = Server(
        uvicorn.Config(
            app,
            http="httptools",
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            # Annotated as int, but it only ever is the timeout of an asyncio wait.
            timeout_graceful_shutdown=max(0.1, settings.drain_s - linger_s - 0.2),  # type: ignore[arg-type]
        )
    )
    host, port = listener.getsockname()[:2]
    log(
        "listening",
        url=f"http://{f'[{host}]' if ':' in host else host}:{port}",
        models=[str(ref) for ref in settings.models],
        registry=settings.tracking_uri,
        cache=str(settings.cache),
    )
    server.run(sockets=[listener])
    log("stopped")


def main() -> int:
    """Runs the server and returns the exit code."""
    try:
        settings = read_settings(os.environ)
        check_cache(settings)
        listener = take_port(settings)
    except SettingsError as error:
        print("\n".join(error.mistakes), file=sys.stderr)
        return EXIT_WRONG
    serve(settings, listener)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        # A download or a prediction outlived the drain: Python would wait for its thread, the grace period does not.
        os._exit(code)
    sys.exit(code)
