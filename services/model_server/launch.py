"""The server from its environment on: reads the settings, takes the port, serves until SIGTERM, drains."""

from __future__ import annotations

import os
import socket
import sys
from functools import partial

from services.model_server.command_line import read_flags
from services.model_server.errors import SettingsError
from services.model_server.host.workers import Parent, Seat
from services.model_server.settings import Settings, read_settings, unknown_variables
from services.model_server.startup import EXIT_WRONG, check, raise_descriptors, take_port


def serve(settings: Settings, listener: socket.socket, seat: Seat | None = None) -> int:
    """Serves on a bound socket until it is told to end, alone or on a seat among several processes.

    Returns:
        The exit code.
    """
    from services.model_server.app import create_app
    from services.model_server.events import EventLog
    from services.model_server.host.cpus import cpu_budget
    from services.model_server.host.tls import Certificate
    from services.model_server.metrics.board import ACCEPTING, PID, READY, Board, Reader
    from services.model_server.metrics.counters import ServerStats
    from services.model_server.server import Server, run_loop

    log = EventLog(requests=settings.access_log, worker=None if seat is None else seat.number)
    threads = settings.threads or cpu_budget()
    settings = settings.model_copy(update={"threads": max(1, threads // settings.workers)})
    board = None
    siblings = () if seat is None else tuple(map(Reader, seat.siblings))
    if seat is not None:
        board = Board(seat.board)
        board.values[PID], board.values[ACCEPTING], board.values[READY] = os.getpid(), 0, 0
    certificate = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        certificate = Certificate(settings.tls_cert, settings.tls_key)
    server = Server(
        create_app(
            settings,
            log=log,
            stats=ServerStats(board, siblings),
            worker=None if seat is None else seat.number,
            folder=None if seat is None else seat.board.parent,
        ),
        settings,
        listener,
        log,
        certificate=certificate,
        board=board,
        parent=None if seat is None else seat.parent,
    )
    run_loop(server.run())
    if seat is None:
        log("stopped")
    return 0


def announce(settings: Settings, listener: socket.socket, few: str | None = None) -> None:
    """Says where the server listens, what of its environment it does not know, and that it may open too `few` files."""
    from services.model_server.events import EventLog

    host, port = listener.getsockname()[:2]
    log = EventLog()
    log(
        "listening",
        url=f"{'http' if settings.tls_cert is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}",
        models=[str(ref) for ref in settings.models],
        registry=settings.tracking_uri,
        cache=str(settings.cache),
        workers=settings.workers,
    )
    for sentence in unknown_variables(os.environ):
        log("setting_unknown", level="warning", reason=sentence)
    if few is not None:
        log("few_descriptors", level="warning", reason=few)


def launch() -> int:
    """Runs the server and returns the exit code."""
    flags = read_flags(sys.argv[1:])
    try:
        settings = read_settings(os.environ, flags)
        check(settings)
        listener = take_port(settings)
        few = raise_descriptors(settings)
    except SettingsError as error:
        print("\n".join(error.mistakes), file=sys.stderr)
        return EXIT_WRONG
    announce(settings, listener, few)
    if settings.workers == 1:
        return serve(settings, listener)
    from services.model_server.events import EventLog

    return Parent(settings, listener, EventLog(), partial(serve, settings, listener)).run()
