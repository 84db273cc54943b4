"""The TLS certificate that the codec server shows, read again when its files change."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import structlog
from cryptography import x509

_log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0


class CertificateFailed(Exception):
    """The files are no certificate and its key; the sentence says which."""


class ShownCertificate:
    """A TLS context whose certificate follows its files: new connections get the new one, others go on."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Read both.

        Raises:
            CertificateFailed: they can't be read, or do not fit.
        """
        self._cert, self._key = cert, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._seen = self._stamps()
        self._load(self.context)
        self._name = _first_name(cert)

    @property
    def name(self) -> str | None:
        """The first DNS name of the certificate, as it was read first; None if it has none, or one for many (`*.`)."""
        return self._name

    async def follow(self) -> None:
        """Look every few seconds, for ever. Files that do not fit (one was written, one not yet) change nothing."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Read the files again if they changed."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        try:
            # First into a context of its own: a failure must not leave ours with a certificate and another's key.
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(self.context)
        except CertificateFailed as error:
            _log.warning("codec_server.certificate_not_changed", reason=str(error))
            return
        self._seen = stamps
        _log.info("codec_server.certificate_changed", file=str(self._cert))

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except ssl.SSLError as error:
            raise CertificateFailed(
                f"{self._cert} and {self._key} are not a certificate and its (unencrypted) private key in PEM: "
                f"{error.reason or 'they do not fit'}."
            ) from None
        except OSError as error:
            raise CertificateFailed(f"{self._cert} or {self._key} can't be read: {error.strerror}.") from None
        except ValueError:
            raise CertificateFailed(f"{self._key} is encrypted; give a key without a password.") from None

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        found: list[tuple[int, int, int] | None] = []
        for path in (self._cert, self._key):
            stamp = None
            with contextlib.suppress(OSError):
                status = path.stat()
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            found.append(stamp)
        return tuple(found)


def _no_password() -> str:
    # Else OpenSSL would ask on the terminal.
    raise ValueError("no password")


def _first_name(cert: Path) -> str | None:
    try:
        shown = x509.load_pem_x509_certificate(cert.read_bytes())
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    return next((name for name in names.get_values_for_type(x509.DNSName) if not name.startswith("*")), None)
