"""How commands call the control plane: compiled stubs over a TLS channel with the API key of a profile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.message import Message
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.operation.v1 import message_pb2 as operation_pb

from cloud.cli.cloud_client import CLOUD_PROFILE, without_tls
from cloud.cli.output import fail
from cloud.cli.usage_client import Connection, UsageUnavailable, connection_from
from cloud.rpc import Method

CALL_TIMEOUT_S = 30.0
OPERATION_TIMEOUT_S = 120.0
_CHECK_S = 0.5
_CLOUD_SERVICE = "/temporal.api.cloud.cloudservice.v1.CloudService"

AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="HOST:PORT for API keys; else TEMPORAL_ADDRESS or the profile's."),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", help="API key; better in TEMPORAL_API_KEY, where other users' `ps` does not show it."
    ),
]
ServerCaOption = Annotated[
    Path | None, typer.Option("--server-ca", help="PEM file of the CA that signed the service's certificate.")
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="Profile to call the control plane with.", show_default=CLOUD_PROFILE),
]


class CallFailed(Exception):
    """A call was refused, or never got there. The sentence says why and what to do."""

    def __init__(self, sentence: str, code: grpc.StatusCode) -> None:
        super().__init__(sentence)
        self.code = code


class AccountClient:
    """Calls CloudService by its methods' names."""

    def __init__(self, channel: grpc.Channel, connection: Connection) -> None:
        self._channel = channel
        self.connection = connection

    def call(self, name: str, request: Message) -> Any:
        """Call the method `name`, whose response's type follows from its name.

        Raises:
            CallFailed: refused or not answered.
        """
        response_type = getattr(pb, f"{name}Response")
        return self._call(f"{_CLOUD_SERVICE}/{name}", request, response_type)

    def call_method(self, method: Method, request: Message) -> Any:
        """Call a method that CloudService lacks.

        Raises:
            CallFailed: refused or not answered.
        """
        return self._call(method.path, request, method.response_type)

    def finished(self, operation: operation_pb.AsyncOperation) -> None:
        """Wait until an operation is done.

        Raises:
            CallFailed: it failed, or takes longer than two minutes (it goes on in the service).
        """
        give_up = time.monotonic() + OPERATION_TIMEOUT_S
        pending = (operation_pb.AsyncOperation.STATE_PENDING, operation_pb.AsyncOperation.STATE_IN_PROGRESS)
        while operation.state in pending:
            if time.monotonic() > give_up:
                sentence = f"operation {operation.id} is still under way; it goes on, look again in a while"
                raise CallFailed(sentence, grpc.StatusCode.DEADLINE_EXCEEDED)
            time.sleep(_CHECK_S)
            request = pb.GetAsyncOperationRequest(async_operation_id=operation.id)
            operation = self.call("GetAsyncOperation", request).async_operation
        if operation.state != operation_pb.AsyncOperation.STATE_FULFILLED:
            reason = operation.failure_reason or "no reason given"
            raise CallFailed(f"operation {operation.id} failed: {reason}", grpc.StatusCode.ABORTED)

    def full_name(self, namespace: str) -> str:
        """The full name of a namespace that may be given without its account."""
        if "." in namespace:
            return namespace
        account = self.call("GetAccount", pb.GetAccountRequest()).account.id
        return f"{namespace}.{account}"

    def _call(self, path: str, request: Message, response_type: type[Message]) -> Any:
        call = self._channel.unary_unary(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_type.FromString,
        )
        key = self.connection.api_key
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        try:
            return call(request, timeout=CALL_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            raise CallFailed(_sentence(error, self.connection.address), error.code()) from None


@contextlib.contextmanager
def control_plane(
    address: str | None, api_key: str | None, server_ca: Path | None, profile: str | None
) -> Iterator[AccountClient]:
    """A client of the control plane for one command; a failed call ends the command with its sentence."""
    try:
        connection = connection_from(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    except UsageUnavailable as error:
        fail(str(error))
    if not connection.api_key:
        fail(
            "no API key is at hand; run `tacit signup`, or give one in TEMPORAL_API_KEY or with --api-key "
            "(and the service's --address)"
        )
    with channel_to(connection) as channel:
        try:
            yield AccountClient(channel, connection)
        except CallFailed as error:
            fail(str(error))


@contextlib.contextmanager
def channel_to(connection: Connection) -> Iterator[grpc.Channel]:
    """A channel for one command."""
    tls = connection.tls
    if tls is None:
        channel = grpc.insecure_channel(connection.address)
    else:
        options = [("grpc.ssl_target_name_override", tls.domain)] if tls.domain else []
        credentials = grpc.ssl_channel_credentials(tls.server_root_ca_cert)
        channel = grpc.secure_channel(connection.address, credentials, options)
    try:
        yield channel
    finally:
        channel.close()


# What to do where the service's own sentence does not say it.
_ADVICE = {
    grpc.StatusCode.UNAVAILABLE: (
        "is it running, the address right (the one for API keys, not the one for certificates), and --server-ca the CA "
        "of its certificate?"
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: "try again in a moment",
    grpc.StatusCode.UNIMPLEMENTED: "is this its address for API keys?",
    grpc.StatusCode.INTERNAL: "this is a defect of the service; tell its operator the id",
}


def _sentence(error: grpc.RpcError, address: str) -> str:
    if told := without_tls(error, address):
        return told
    code = error.code()
    details = (error.details() or "no reason given").rstrip(".")
    if code in _ADVICE:
        return f"{address} answered {code.name}: {details}; {_ADVICE[code]}"
    return details
