"""The way to the service: one connection for each profile, with its credentials, which workers do not have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from temporalio.service import TLSConfig

from cloud.rpc import Code
from cloud.transport.grpc_status import Ended, FinalStatus
from sdk import Profile, ProfileError
from sdk.profile import refuse_key_in_the_clear

KEEPALIVE_AFTER_S = 30
KEEPALIVE_WITHIN_S = 15
"""As the SDKs' own: a connection that is silent for so long is asked for a sign of life."""

_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", KEEPALIVE_AFTER_S * 1_000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_WITHIN_S * 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Retries are the SDK's: it knows which calls may be repeated.
    ("grpc.enable_retries", 0),
)
_DETAILS = "grpc-status-details-bin"


class Upstream:
    """The service of one profile. To be made on the event loop that uses it."""

    def __init__(self, profile: Profile) -> None:
        """Raises:
        ProfileError: a certificate can't be read, or an API key would travel unencrypted.
        """
        try:
            connection = profile.connection.to_client_connect_config()
        except OSError as error:
            raise ProfileError(
                f"Profile {profile.name!r} names the file {error.filename}, which cannot be read: {error.strerror}."
            ) from error
        tls = connection.get("tls", False)
        api_key = connection.get("api_key")
        if api_key is not None and tls is False:
            refuse_key_in_the_clear(profile.address)
        self.address = profile.address
        self.metadata: tuple[tuple[str, str], ...] = tuple(
            (key.lower(), str(value)) for key, value in connection.get("rpc_metadata", {}).items()
        )
        if api_key is not None:
            self.metadata = (*self.metadata, ("authorization", f"Bearer {api_key}"))
        self._channel = _channel(profile.address, tls)
        self._calls: dict[str, Any] = {}

    async def call(
        self, path: str, message: bytes, metadata: Sequence[tuple[str, str]], timeout_s: float | None
    ) -> bytes:
        """Make one call; who gives up waiting cancels it.

        Raises:
            Ended: it did not end well; with the service's own status.
        """
        call = self._calls.get(path)
        if call is None:
            call = self._calls[path] = self._channel.unary_unary(path)
        try:
            answer: bytes = await call(message, timeout=timeout_s, metadata=(*metadata, *self.metadata))
        except grpc.aio.AioRpcError as error:
            raise Ended(_status(error)) from None
        return answer

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()


def _channel(address: str, tls: Any) -> grpc.aio.Channel:
    if tls is False:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    options = list(_OPTIONS)
    config = tls if isinstance(tls, TLSConfig) else TLSConfig()
    if config.domain:
        options.append(("grpc.ssl_target_name_override", config.domain))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=config.server_root_ca_cert or _system_roots(),
        private_key=config.client_private_key,
        certificate_chain=config.client_cert,
    )
    return grpc.aio.secure_channel(address, credentials, options=options)


def _system_roots() -> bytes | None:
    """The machine's own CAs, as the SDKs use them; None for gRPC's."""
    import ssl

    paths = ssl.get_default_verify_paths()
    file = Path(paths.cafile) if paths.cafile else None
    return file.read_bytes() if file is not None and file.exists() else None


def _status(error: grpc.aio.AioRpcError) -> FinalStatus:
    details: bytes | None = None
    others: list[tuple[str, str]] = []
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            details = value if isinstance(value, bytes) else value.encode("latin-1")
        elif isinstance(value, str) and not key.startswith("grpc-"):
            others.append((key, value))
    return FinalStatus(Code(error.code().value[0]), error.details() or "", details, tuple(others))
