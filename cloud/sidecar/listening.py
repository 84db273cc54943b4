"""Where workers connect: a loopback port, or one with TLS for others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloud.sidecar.sidecar import Sidecar
from cloud.transport.calls import ListenerKind, TlsMaterial
from cloud.transport.http2.server import Http2Server
from codec.compression import EXPANSION_MAX_BYTES
from sdk.loopback import is_loopback

MESSAGE_BYTES_MAX = EXPANSION_MAX_BYTES
"""A request may be larger than what the service takes: its payloads are compressed or offloaded on the way."""


class CannotListen(Exception):
    """The proxy can't be reached as asked; the sentence says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """PEM files: the certificate shown, its key, and the CAs of clients, if they are to show one."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def material(self) -> Callable[[], TlsMaterial]:
        """What each handshake asks: the files as they are now.

        Raises:
            CannotListen: they can't be read.
        """
        lock = threading.Lock()
        paths = [path for path in (self.cert, self.key, self.client_ca) if path is not None]
        known: TlsMaterial | None = None

        def read() -> TlsMaterial:
            nonlocal known
            with lock:
                stamps = tuple((path.stat().st_ino, path.stat().st_mtime_ns) for path in paths)
                if known is None or known.version != stamps:
                    known = TlsMaterial(
                        version=stamps,
                        chain_pem=self.cert.read_bytes(),
                        key_pem=self.key.read_bytes(),
                        client_roots_pem=None if self.client_ca is None else self.client_ca.read_bytes(),
                    )
                return known

        try:
            read()
        except OSError as error:
            raise CannotListen(f"{error.filename} can't be read: {error.strerror}.") from None
        return read


def server(sidecar: Sidecar, *, host: str, tls: Tls | None) -> Http2Server:
    """The server to start.

    Raises:
        CannotListen: `host` is not this machine alone, and there is no TLS (payloads would travel readable), or nobody is
            asked who they are.
    """
    if tls is None and not is_loopback(host):
        raise CannotListen(
            f"Workers send payloads unencrypted to the proxy, so it listens on loopback alone, not on {host}. For workers "
            "on other machines give --tls-cert and --tls-key, and --client-ca or --token-file."
        )
    if not is_loopback(host) and not sidecar.asks_token and (tls is None or tls.client_ca is None):
        raise CannotListen(
            f"Whoever reaches the proxy on {host} could have everything decrypted. Say who may connect: --client-ca (workers "
            "with a certificate), --token-file (workers with a token), or both."
        )
    if tls is None:
        kind = ListenerKind.DEVELOPMENT
    else:
        kind = ListenerKind.API_KEY if tls.client_ca is None else ListenerKind.MTLS
    material = None if tls is None else tls.material()
    return Http2Server(sidecar, kind, material, message_bytes_max=MESSAGE_BYTES_MAX)
