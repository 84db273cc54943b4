"""TLS: a context for what the material is now, and what the client showed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from cloud.transport.calls import TlsMaterial

_log = structlog.get_logger(__name__)


class Contexts:
    """The context for each handshake: new material counts from the next one on, without a restart.

    Material is asked for, and contexts are made, in a thread: it may be read from disk, and many roots take a while.
    """

    def __init__(self, material: Callable[[], TlsMaterial]) -> None:
        self._material = material
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tls")
        self._version: object = None
        self._context: ssl.SSLContext | None = None

    async def current(self) -> ssl.SSLContext:
        """The context to use now. New material that is of no use is logged, and the last that was goes on.

        Raises:
            Exception: there is no such last one.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._current)

    def close(self) -> None:
        """Give the thread back."""
        self._thread.shutdown(wait=False)

    def _current(self) -> ssl.SSLContext:
        try:
            material = self._material()
            if self._context is None or material.version != self._version:
                self._context, self._version = server_context(material), material.version
        except Exception:
            if self._context is None:
                raise
            _log.exception("grpc.tls_reload_failed")
        return self._context


def server_context(material: TlsMaterial) -> ssl.SSLContext:
    """A context that shows the material's certificate, and asks for one by its roots if it has any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    # A resumed session knows the client's leaf only, not the certificates between it and its CA.
    context.num_tickets = 0
    with as_file(material.key_pem + b"\n" + material.chain_pem) as path:
        context.load_cert_chain(path)
    if material.client_roots_pem is not None:
        context.load_verify_locations(cadata=material.client_roots_pem.decode("ascii"))
        context.verify_mode = ssl.CERT_REQUIRED
        # A tenant's CA is trusted as it is, whoever signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    return context


@contextlib.contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """`ssl` reads keys from files only: one in memory where the system has them, else a private one for a moment."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tls")
        try:
            with open(descriptor, "wb", closefd=False) as file:  # it has no path
                file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def presented_chain(tls: ssl.SSLObject) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The leaf and the rest of the chain that the client presented, each as one PEM block."""
    blocks = [ssl.DER_cert_to_PEM_cert(der).encode() for der in _unverified_chain(tls)]
    if not blocks:
        return None, ()
    return blocks[0], tuple(block for block in blocks[1:] if block != blocks[0])


def _unverified_chain(tls: Any) -> list[bytes]:
    """What the client sent, DER, leaf first; the handshake has verified it as far as roots go.

    Python has a public method for it from 3.13 on. Before, the object underneath has it (3.10 to 3.12), and gives
    certificates, not bytes.
    """
    if hasattr(tls, "get_unverified_chain"):
        chain: list[bytes] = tls.get_unverified_chain()
        return chain
    certificates = tls._sslobj.get_unverified_chain() or []  # noqa: SLF001
    return [certificate.public_bytes(_ENCODING_DER) for certificate in certificates]


_ENCODING_DER = 2  # _ssl.ENCODING_DER
