"""The way to the service: a channel for each profile, with its credentials, which workers do not have."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from temporalio.service import TLSConfig

from cloud.transport.http2.calling import Channel
from cloud.transport.http2.tls import as_file
from sdk import Profile, ProfileError
from sdk.profile import refuse_key_in_the_clear

USER_AGENT = "tacit-codec-proxy"


class Upstream:
    """The service of one profile. To be used on one event loop."""

    def __init__(self, profile: Profile) -> None:
        """Raises:
        ProfileError: a certificate can't be read or used, or an API key would travel unencrypted.
        """
        try:
            connection: Mapping[str, Any] = profile.connection.to_client_connect_config()
        except OSError as error:
            raise ProfileError(
                f"Profile {profile.name!r} names the file {error.filename}, which cannot be read: {error.strerror}."
            ) from error
        tls = connection.get("tls", False)
        api_key = connection.get("api_key")
        if api_key is not None and tls is False:
            refuse_key_in_the_clear(profile.address)
        self.address = profile.address
        metadata = {key.lower(): str(value) for key, value in connection.get("rpc_metadata", {}).items()}
        if api_key is not None:
            metadata["authorization"] = f"Bearer {api_key}"
        self._metadata = tuple(metadata.items())
        host, _, port = profile.address.rpartition(":")
        if not host or not port.isdecimal():
            raise ProfileError(
                f"Profile {profile.name!r} has the address {profile.address!r}, which is not HOST:PORT."
            )
        config = tls if isinstance(tls, TLSConfig) else TLSConfig() if tls else None
        self._channel = Channel(
            host.strip("[]"),
            int(port),
            tls=None if config is None else _context(profile, config),
            server_name=None if config is None else config.domain or None,
            user_agent=USER_AGENT,
        )

    async def call(
        self,
        path: str,
        message: bytes,
        metadata: tuple[tuple[str, str], ...],
        timeout_s: float | None,
        *,
        timed: bool = False,
    ) -> bytes:
        """Make one call; who gives up waiting cancels it. `timed`: that happens after `timeout_s` at the latest.

        Raises:
            Ended: it did not end well; with the service's own status.
        """
        return await self._channel.call(
            path,
            message,
            (*metadata, *self._metadata) if self._metadata else metadata,
            timeout_s,
            timed=timed,
        )

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()


def _context(profile: Profile, config: TLSConfig) -> ssl.SSLContext:
    roots = config.server_root_ca_cert
    try:
        context = ssl.create_default_context(cadata=None if roots is None else roots.decode("ascii"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        if config.client_cert is not None and config.client_private_key is not None:
            with as_file(config.client_private_key + b"\n" + config.client_cert) as path:
                context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise ProfileError(
            f"Profile {profile.name!r} names a certificate, key or CA that is no PEM, or they do not fit: {error}."
        ) from None
    return context
