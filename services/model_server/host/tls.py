"""TLS on the listening socket: the certificate is read again when its files change, for connections from then on."""

from __future__ import annotations

import ssl
from pathlib import Path

from services.model_server.errors import SettingsError


class Certificate:
    """A certificate with its key, and the context that uses them.

    Attributes:
        context: For every accepted socket; a renewed certificate is loaded into the same one.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        """Reads the files.

        Raises:
            SettingsError: a file cannot be read, is not in PEM, or the key belongs to another certificate.
        """
        self._cert, self._key = cert, key
        self.context = _context(cert, key)
        self._seen = self._marks()

    def renew(self) -> str | None:
        """Reads the files again if they changed. Wrong ones change nothing.

        Returns:
            None if nothing changed, "" if a new certificate is used, else why the changed files are not.
        """
        marks = self._marks()
        if marks == self._seen:
            return None
        self._seen = marks
        try:
            _context(self._cert, self._key)  # tried on another context: a half-loaded one would refuse everybody
            self.context.load_cert_chain(self._cert, self._key, password=_no_password)
        except SettingsError as error:
            return str(error)
        except (OSError, ssl.SSLError) as error:
            return f"{type(error).__name__} while it was read"
        return ""

    def _marks(self) -> list[tuple[int, int, int]]:
        marks = []
        for path in (self._cert, self._key):
            try:
                facts = path.stat()  # through the links by which Kubernetes changes its secrets
                marks.append((facts.st_mtime_ns, facts.st_size, facts.st_ino))
            except OSError:
                marks.append((0, 0, 0))
        return marks


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for variable, path in (("CERT", cert), ("KEY", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise SettingsError(
                [f"MODEL_SERVER_TLS_{variable} is {str(path)!r}, which cannot be read: {error.strerror or error}."]
            ) from None
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            reason = "the key belongs to another certificate"
        else:
            reason = "one of them is not PEM, or the key has a password"
        raise SettingsError(
            [f"MODEL_SERVER_TLS_CERT {str(cert)!r} and MODEL_SERVER_TLS_KEY {str(key)!r} do not go together: {reason}."]
        ) from None
    return context


def _no_password() -> str:
    return ""  # OpenSSL would ask on the terminal otherwise, and wait
