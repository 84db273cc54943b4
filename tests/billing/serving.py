"""GetUsageByKind over real gRPC on a free port, with fixed usage behind it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.struct_pb2 import Struct
from temporalio.api.cloud.account.v1 import message_pb2 as account_pb
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb

from billing import UsageCount
from cloud.controlplane.usage_by_kind import GET_USAGE_BY_KIND, SERVICE, usage_by_kind_handler
from cloud.rpc import CallContext, Caller, CallerKind, RpcError

KEY = "the-api-key"


@dataclass
class FixedUsage:
    """A source of `rows`; it notes what was asked."""

    rows: Sequence[UsageCount] = ()
    asked: list[tuple[Sequence[str] | None, datetime, datetime]] = field(default_factory=list)

    async def read(
        self, *, namespaces: Sequence[str] | None, start: datetime, end: datetime
    ) -> Sequence[UsageCount]:
        self.asked.append((namespaces, start, end))
        return [
            row
            for row in self.rows
            if start <= row.hour < end and (namespaces is None or row.namespace in namespaces)
        ]


def context() -> CallContext:
    return CallContext(caller=Caller(kind=CallerKind.API_KEY, id="key-1"))


@contextlib.contextmanager
def serving(
    source: FixedUsage,
    visible: Sequence[str],
    tls: tuple[bytes, bytes] | None = None,
    *,
    account: str = "",
) -> Iterator[str]:
    """Serve in threads and give the address.

    With `tls` (key, certificate) the API key is asked for; with an `account` the service says that it is the
    key's.
    """
    handler = usage_by_kind_handler(source, lambda _: visible)

    def admit(call: Any) -> None:
        if tls and ("authorization", f"Bearer {KEY}") not in [
            tuple(pair) for pair in call.invocation_metadata()
        ]:
            call.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthenticated.")

    def answer(request: Struct, call: Any) -> Any:
        admit(call)
        try:
            return asyncio.run(handler(request, context()))  # type: ignore[arg-type]
        except RpcError as error:
            code = next(each for each in grpc.StatusCode if each.value[0] == error.code)
            call.abort(code, error.message)

    method = grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=Struct.FromString, response_serializer=Struct.SerializeToString
    )

    def own_account(_: pb.GetAccountRequest, call: Any) -> pb.GetAccountResponse:
        admit(call)
        return pb.GetAccountResponse(account=account_pb.Account(id=account))

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {GET_USAGE_BY_KIND.name: method}),)
    )
    if account:
        get_account = grpc.unary_unary_rpc_method_handler(
            own_account,
            request_deserializer=pb.GetAccountRequest.FromString,
            response_serializer=pb.GetAccountResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "temporal.api.cloud.cloudservice.v1.CloudService", {"GetAccount": get_account}
                ),
            )
        )
    if tls:
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([tls]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def self_signed() -> tuple[bytes, bytes]:
    """Key and certificate for 127.0.0.1, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "usage")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )
