"""How commands read usage from a service: Temporal's own profiles and variables, overridden by options."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import grpc
from google.protobuf.struct_pb2 import Struct
from temporalio.service import TLSConfig

from billing import UsageCount
from cloud.cli.cloud_client import CLOUD_PROFILE, cloud_profile_name, without_tls
from cloud.controlplane.usage_by_kind import GET_USAGE_BY_KIND, decode_response, encode_request
from sdk.errors import ProfileError
from sdk.loopback import is_loopback_address
from sdk.profile import load_profile

CALL_TIMEOUT_S = 30.0
CALL_SPAN = timedelta(days=1)
"""A call reads a day, so that no answer grows with the period that is asked for."""
OTHER_LISTENER = "not served on this listener"
"""What a gateway says of a call on an address that is for other callers."""
RESPONSE_BYTES_MAX = 64 * 1024 * 1024


class UsageUnavailable(Exception):
    """Usage could not be read. The sentence says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where and as whom to ask. `tls` None: without TLS."""

    address: str
    api_key: str | None = field(default=None, repr=False)
    tls: TLSConfig | None = field(default=None, repr=False)


def connection_from(
    *, address: str | None, api_key: str | None, server_ca: Path | None, profile: str | None
) -> Connection:
    """Options first, then ``TEMPORAL_*`` variables, then the profile of ``temporal.toml``.

    TLS is used wherever a key or a certificate is, and for every address but loopback ones.

    Raises:
        UsageUnavailable: the profile or a file cannot be read, or a key would be sent without TLS.
    """
    try:
        known = load_profile(cloud_profile_name(profile))
        wanted = known.connection.tls
        found = wanted.to_connect_tls_config() if wanted else False
        roots = server_ca.read_bytes() if server_ca else None
    except OSError as error:
        name = error.filename or server_ca
        raise UsageUnavailable(f"{name} cannot be read: {error.strerror}; check the path") from None
    except ProfileError as error:
        raise UsageUnavailable(str(error)) from None
    address = address or known.address
    api_key = api_key or known.connection.api_key
    switched_off = wanted is not None and wanted.disabled is True and roots is None
    if switched_off and api_key:
        raise UsageUnavailable(
            f"the profile switches TLS off, and an API key is not sent to {address} in the clear: "
            "use a profile with TLS, or give --server-ca"
        )
    if switched_off or not (api_key or roots or found or not is_loopback_address(address)):
        return Connection(address=address)
    tls = found if isinstance(found, TLSConfig) else TLSConfig()
    return Connection(
        address=address,
        api_key=api_key,
        tls=TLSConfig(
            server_root_ca_cert=roots or tls.server_root_ca_cert,
            domain=tls.domain,
            client_cert=tls.client_cert,
            client_private_key=tls.client_private_key,
        ),
    )


def read_usage(
    connection: Connection, *, start: datetime, end: datetime, namespaces: Sequence[str] = ()
) -> list[UsageCount]:
    """All usage in [`start`, `end`) that the caller may see, of `namespaces` if any are named.

    Raises:
        UsageUnavailable: the service cannot be reached, refuses, or answers in another form.
    """
    rows: list[UsageCount] = []
    metadata = (("authorization", f"Bearer {connection.api_key}"),) if connection.api_key else ()
    with _channel(connection) as channel:
        call = channel.unary_unary(
            GET_USAGE_BY_KIND.path,
            request_serializer=Struct.SerializeToString,
            response_deserializer=Struct.FromString,
        )
        while start < end:
            until = min(end, start + CALL_SPAN)
            request = encode_request(start=start, end=until, namespaces=namespaces)
            try:
                rows += decode_response(call(request, timeout=CALL_TIMEOUT_S, metadata=metadata))
            except grpc.RpcError as error:
                raise UsageUnavailable(_sentence(error, connection.address)) from None
            except ValueError as error:
                raise UsageUnavailable(f"{connection.address}: {error}") from None
            start = until
    return rows


@contextlib.contextmanager
def _channel(connection: Connection) -> Iterator[grpc.Channel]:
    options: list[tuple[str, str | int]] = [("grpc.max_receive_message_length", RESPONSE_BYTES_MAX)]
    tls = connection.tls
    if tls is None:
        channel = grpc.insecure_channel(connection.address, options)
    else:
        if tls.domain:
            options.append(("grpc.ssl_target_name_override", tls.domain))
        credentials = grpc.ssl_channel_credentials(
            tls.server_root_ca_cert, tls.client_private_key, tls.client_cert
        )
        channel = grpc.secure_channel(connection.address, credentials, options)
    try:
        yield channel
    finally:
        channel.close()


def _sentence(error: grpc.RpcError, address: str) -> str:
    if told := without_tls(error, address):
        return told
    code, details = error.code(), error.details() or "no reason given"
    if code is grpc.StatusCode.PERMISSION_DENIED and OTHER_LISTENER in details:
        return (
            f"usage could not be read from {address}: this is the service's address for certificates, and usage is answered "
            f"on the one for API keys; give a profile with an API key (--profile {CLOUD_PROFILE}), or that --address and --api-key"
        )
    advice = {
        grpc.StatusCode.UNAVAILABLE: (
            "is the service running, the address right (the one for API keys, not the one for certificates), "
            "and the CA the service's (--server-ca)?"
        ),
        grpc.StatusCode.DEADLINE_EXCEEDED: "try again, or ask for a shorter period",
        grpc.StatusCode.UNAUTHENTICATED: "give a valid API key (--api-key or TEMPORAL_API_KEY), or another --profile",
        grpc.StatusCode.PERMISSION_DENIED: "check the names given with --namespace, and the key's rights",
        grpc.StatusCode.UNIMPLEMENTED: "usage by kind is answered by Tacit only: is this its address for API keys?",
    }.get(code, "")
    return f"usage could not be read from {address}: {code.name}, {details}" + (
        f"; {advice}" if advice else ""
    )
