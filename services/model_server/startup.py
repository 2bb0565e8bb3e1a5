"""What is checked before the server starts, so that a wrong setting is a sentence and not a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket

from services.model_server.errors import SettingsError
from services.model_server.host.tls import Certificate
from services.model_server.keys import api_keys
from services.model_server.settings import Settings

EXIT_WRONG = 2
# Packages, the log, the registry's connections, the engine.
_OTHER_FILES = 256
# What of these there is on a quiet day.
_LEAST_OTHER_FILES = 48


def check(settings: Settings) -> None:
    """Makes the cache folder, and reads the files that settings name.

    Raises:
        SettingsError: one sentence for everything that is wrong.
    """
    mistakes: list[str] = []
    try:
        settings.cache.mkdir(parents=True, exist_ok=True)
        if not os.access(settings.cache, os.W_OK):
            number = errno.EROFS if os.statvfs(settings.cache).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(number, os.strerror(number))
    except OSError as error:
        reason = error.strerror or str(error)
        mistakes.append(
            f"MODEL_SERVER_CACHE is {str(settings.cache)!r}, which cannot be written: {reason}. "
            f"Set it to a folder that this server may write, on a disk with room."
        )
    try:
        api_keys(settings)
    except SettingsError as error:
        mistakes += error.mistakes
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            Certificate(settings.tls_cert, settings.tls_key)
        except SettingsError as error:
            mistakes += error.mistakes
    if mistakes:
        raise SettingsError(mistakes)


def raise_descriptors(settings: Settings) -> str | None:
    """Lets every process have a file descriptor for each of its connections, as far as the system allows it.

    Shells and services often start programs with 1024; a connection that finds none left is not even told so.

    Returns:
        What to do where the system allows fewer than one for each connection; None if there are enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it; then it is as before
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    if hard != resource.RLIM_INFINITY and hard < settings.connections + _LEAST_OTHER_FILES:
        needed = settings.connections + _LEAST_OTHER_FILES
        return (
            f"This process may have {hard} files open (ulimit -Hn), and "
            f"MODEL_SERVER_CONNECTIONS={settings.connections} takes {needed}: who comes when none is left waits. "
            f"Raise the limit, or set MODEL_SERVER_CONNECTIONS to {max(1, hard - _LEAST_OTHER_FILES)}."
        )
    return None


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
