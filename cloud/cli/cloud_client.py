"""How commands speak to the control plane: CloudService over TLS with an API key, as the profile says.

`tacit signup` writes two profiles: the one that workers use, and one named ``cloud`` with the owner's API key, which the
commands about accounts, namespaces and money take unless another is named.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.struct_pb2 import Struct
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as cs
from temporalio.api.cloud.cloudservice.v1.service_pb2_grpc import CloudServiceStub
from temporalio.api.cloud.operation.v1 import AsyncOperation
from temporalio.service import TLSConfig

from cloud.cli.output import fail
from sdk.errors import ProfileError
from sdk.profile import Profile, default_config_file, load_profile

CLOUD_PROFILE = "cloud"
CALL_TIMEOUT_S = 30.0
OPERATION_TIMEOUT_S = 60.0
_POLL_S = 0.1

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and as whom to call."""

    address: str
    api_key: str | None = field(default=None, repr=False)
    server_ca_pem: bytes | None = None
    server_name: str | None = None


def cloud_profile_name(name: str | None) -> str | None:
    """The profile for commands about the account: the named one, TEMPORAL_PROFILE's, else ``cloud`` if it is there."""
    if name or os.environ.get("TEMPORAL_PROFILE"):
        return name
    try:
        load_profile(CLOUD_PROFILE)
    except ProfileError:
        return None
    return CLOUD_PROFILE


def target(
    *, address: str | None, api_key: str | None, server_ca: Path | None, profile: str | None
) -> Target:
    """Options first, then the profile. Ends the command with one sentence if something is missing."""
    try:
        known: Profile = load_profile(cloud_profile_name(profile))
        roots = server_ca.read_bytes() if server_ca else None
    except (ProfileError, OSError) as error:
        fail(str(error))
    tls = known.connection.tls.to_connect_tls_config() if known.connection.tls else None
    config = tls if isinstance(tls, TLSConfig) else TLSConfig()
    key = api_key or known.connection.api_key
    if not key:
        fail(
            f"no API key is known for the control plane (profile {known.name!r} of {default_config_file()}): "
            "give --api-key, set TEMPORAL_API_KEY, or sign up with `tacit signup`"
        )
    return Target(
        address=address or known.address,
        api_key=key,
        server_ca_pem=roots or config.server_root_ca_cert,
        server_name=config.domain,
    )


@contextmanager
def channel(where: Target) -> Iterator[grpc.Channel]:
    """A TLS channel; refusals become one sentence and exit code 1."""
    options = [("grpc.ssl_target_name_override", where.server_name)] if where.server_name else []
    opened = grpc.secure_channel(where.address, grpc.ssl_channel_credentials(where.server_ca_pem), options)
    try:
        yield opened
    except grpc.RpcError as error:
        fail(sentence(error, where.address))
    finally:
        opened.close()


def without_tls(error: grpc.RpcError, address: str) -> str | None:
    """The sentence for a call with TLS to a port that has none; None if that is not what went wrong."""
    if "WRONG_VERSION_NUMBER" not in (error.details() or ""):
        return None
    return f"what listens at {address} has no TLS: give the service's address for API keys with --address"


def sentence(error: grpc.RpcError, address: str) -> str:
    """What went wrong, to what, and what to do."""
    if told := without_tls(error, address):
        return told
    code, details = error.code(), error.details() or "no reason given"
    advice = {
        grpc.StatusCode.UNAVAILABLE: "is the service running, the address right (the API-key port), "
        "and --server-ca the service's own CA?",
        grpc.StatusCode.UNAUTHENTICATED: "the API key is wrong, expired or revoked: make another, or sign up",
        grpc.StatusCode.PERMISSION_DENIED: "the key's owner has no right to this, or it does not exist",
        grpc.StatusCode.ABORTED: "somebody changed it meanwhile: look at it and try again",
    }.get(code)
    told = f"{address} answered {code.name}: {details}"
    return f"{told} ({advice})" if advice else told


class CloudClient:
    """The calls of CloudService that commands need."""

    def __init__(self, opened: grpc.Channel, where: Target) -> None:
        self._stub: Any = CloudServiceStub(opened)
        self._metadata = (("authorization", f"Bearer {where.api_key}"),)

    def call(self, name: str, request: Any) -> Any:
        """Call method `name`."""
        return getattr(self._stub, name)(request, timeout=CALL_TIMEOUT_S, metadata=self._metadata)

    def finish(self, operation: AsyncOperation) -> None:
        """Wait until an operation is done; a failed one ends the command with its reason."""
        deadline = time.monotonic() + OPERATION_TIMEOUT_S
        while True:
            state = AsyncOperation.State.Name(operation.state).removeprefix("STATE_").lower()
            if state == "fulfilled":
                return
            if state in ("failed", "cancelled", "rejected"):
                fail(f"operation {operation.id} {state}: {operation.failure_reason or 'no reason given'}")
            if time.monotonic() > deadline:
                fail(
                    f"operation {operation.id} is still {state} after {OPERATION_TIMEOUT_S:.0f} s: it goes on; look again later"
                )
            time.sleep(_POLL_S)
            found = self.call(
                "GetAsyncOperation", cs.GetAsyncOperationRequest(async_operation_id=operation.id)
            )
            operation = found.async_operation

    def pages(self, name: str, request: Any, rows: Callable[[Any], list[T]]) -> list[T]:
        """All rows of a paged list."""
        found: list[T] = []
        while True:
            reply = self.call(name, request)
            found += rows(reply)
            if not reply.next_page_token:
                return found
            request.page_token = reply.next_page_token


def call_struct(opened: grpc.Channel, path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Call one of our own methods, whose messages are Structs."""
    message = Struct()
    message.update(request)
    method = opened.unary_unary(
        path, request_serializer=Struct.SerializeToString, response_deserializer=Struct.FromString
    )
    return dict(method(message, timeout=CALL_TIMEOUT_S))
