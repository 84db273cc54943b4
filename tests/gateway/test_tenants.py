"""The certificate and API-key listeners over real TLS, with certificates of two namespaces."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from temporalio.api.cloud.cloudservice.v1 import GetCurrentIdentityRequest, GetCurrentIdentityResponse
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.errordetails.v1 import PermissionDeniedFailure
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    ExecuteMultiOperationRequest,
    GetSystemInfoRequest,
    GetWorkflowExecutionHistoryRequest,
    ListNamespacesRequest,
    ListWorkflowExecutionsRequest,
    PollWorkflowTaskQueueRequest,
    RegisterNamespaceRequest,
    StartWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from cloud.gateway import (
    METHOD_TABLE,
    CallParts,
    Gateway,
    Identities,
    Limits,
    ListenerKind,
    OwnCertificate,
    Poll,
    api_key_listener,
    mtls_listener,
)
from cloud.gateway.method_table import account_row
from cloud.rpc import (
    ACCOUNT_HEADER,
    CREDENTIAL_HEADER,
    PRINCIPAL_KIND_HEADER,
    CallContext,
    CallerKind,
    RpcError,
)
from cloud.settings import Transport
from tenancy.access import GuardMode, Permission
from tests.gateway.certificates import Pair, authority, leaf
from tests.gateway.conftest import Start
from tests.gateway.doubles import EchoCell, MemoryDirectory

ORDERS, STOCK = "orders.acme", "stock.rival"
StartPort = Callable[[], Awaitable[int]]


class Tenants:
    """Two namespaces, each with a CA of its own and a certificate by it."""

    def __init__(self, directory: MemoryDirectory) -> None:
        self.directory = directory
        self.ca = {name: authority(f"CA of {name}") for name in (ORDERS, STOCK)}
        self.worker = {name: leaf(f"worker.{name}", ca) for name, ca in self.ca.items()}
        for name, ca in self.ca.items():
            directory.add(name, bundle=ca.pem)


@pytest.fixture
def tenants(directory: MemoryDirectory) -> Tenants:
    return Tenants(directory)


def channel(port: int, server: OwnCertificate, shown: Pair | None = None) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        server.ca_pem,
        shown.key_pem if shown else None,
        shown.pem if shown else None,
    )
    # Channels of one process share connections by address and credentials; each test caller has its own.
    return grpc.aio.secure_channel(
        f"localhost:{port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)]
    )


async def call(channel: grpc.aio.Channel, request: Message, **metadata: str) -> Any:
    """Call the method whose request this is."""
    [row] = [r for r in METHOD_TABLE.values() if r.method and r.method.request_type is type(request)]
    assert row.method is not None
    return await channel.unary_unary(
        row.path,
        request_serializer=row.method.request_type.SerializeToString,
        response_deserializer=row.method.response_type.FromString,
    )(request, timeout=10, metadata=[(key.replace("_", "-"), value) for key, value in metadata.items()])


def start_of(namespace: str) -> StartWorkflowExecutionRequest:
    return StartWorkflowExecutionRequest(namespace=namespace, workflow_id="w")


async def refusal(awaitable: Awaitable[Any]) -> tuple[grpc.StatusCode, str, list[Any]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    packed = dict(caught.value.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(packed, bytes)
    return caught.value.code(), caught.value.details() or "", list(Status.FromString(packed).details)


def assert_unauthorised(seen: tuple[grpc.StatusCode, str, list[Any]]) -> None:
    code, sentence, details = seen
    assert code is grpc.StatusCode.PERMISSION_DENIED
    first, hint = sentence.split(". ", 1)
    assert first == "Request unauthorized"
    assert "<name>.<account>" in hint
    assert not any(name in hint for name in (ORDERS, STOCK, "acme"))
    assert [detail.Is(PermissionDeniedFailure.DESCRIPTOR) for detail in details] == [True]


class TestCertificates:
    async def test_a_worker_works_in_its_namespace(
        self, tenants: Tenants, start_mtls: StartPort, certificate: OwnCertificate, cell: EchoCell
    ) -> None:
        async with channel(await start_mtls(), certificate, tenants.worker[ORDERS]) as own:
            await call(own, start_of(ORDERS))
        _, _, context = cell.calls[0]
        assert context.caller.kind is CallerKind.CERTIFICATE
        assert context.caller.id == f"certificate of {ORDERS}"

    async def test_another_namespace_and_an_unknown_one_answer_alike(
        self, tenants: Tenants, start_mtls: StartPort, certificate: OwnCertificate, cell: EchoCell
    ) -> None:
        async with channel(await start_mtls(), certificate, tenants.worker[ORDERS]) as own:
            seen = [await refusal(call(own, start_of(name))) for name in (STOCK, "nothing.acme")]
        for one in seen:
            assert_unauthorised(one)
        assert seen[0] == seen[1]
        assert "a client certificate" in seen[0][1]
        assert "its CAs" in seen[0][1]
        assert cell.calls == []

    async def test_a_right_certificate_by_another_account_does_not_help(
        self, tenants: Tenants, start_mtls: StartPort, certificate: OwnCertificate
    ) -> None:
        port = await start_mtls()
        # The same connection is good for one namespace and not for the other, on every call anew.
        async with channel(port, certificate, tenants.worker[STOCK]) as rival:
            await call(rival, start_of(STOCK))
            assert_unauthorised(await refusal(call(rival, start_of(ORDERS))))
            await call(rival, start_of(STOCK))

    @pytest.mark.parametrize("which", ["none", "expired", "self-signed", "unknown-ca", "forged-ca-name"])
    async def test_the_handshake_refuses(
        self, tenants: Tenants, start_mtls: StartPort, certificate: OwnCertificate, cell: EchoCell, which: str
    ) -> None:
        shown = {
            "none": lambda: None,
            "expired": lambda: leaf("old", tenants.ca[ORDERS], lifetime=timedelta(minutes=-1)),
            "self-signed": lambda: authority("me"),
            "unknown-ca": lambda: leaf("x", authority("CA of nobody")),
            "forged-ca-name": lambda: leaf("x", authority(f"CA of {ORDERS}")),
        }[which]()
        async with channel(await start_mtls(), certificate, shown) as stranger:
            code, _, _ = await refusal(call(stranger, start_of(ORDERS)))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert cell.calls == []

    async def test_a_chain_with_an_intermediate(
        self, tenants: Tenants, start_mtls: StartPort, certificate: OwnCertificate, cell: EchoCell
    ) -> None:
        between = authority("workshop", tenants.ca[ORDERS])
        worker = leaf("worker", between)
        assert worker.pem.count(b"BEGIN") == 2
        async with channel(await start_mtls(), certificate, worker) as own:
            await call(own, start_of(ORDERS))
            assert_unauthorised(await refusal(call(own, start_of(STOCK))))
        assert len(cell.calls) == 1

    async def test_new_roots_count_without_a_restart(
        self,
        tenants: Tenants,
        directory: MemoryDirectory,
        start_mtls: StartPort,
        certificate: OwnCertificate,
    ) -> None:
        port = await start_mtls()
        ca = authority("CA of later")
        worker = leaf("worker.later", ca)
        async with channel(port, certificate, worker) as early:
            code, _, _ = await refusal(call(early, start_of("later.acme")))
            assert code is grpc.StatusCode.UNAVAILABLE
        directory.add("later.acme", bundle=ca.pem)
        async with channel(port, certificate, worker) as late:
            await call(late, start_of("later.acme"))

    async def test_a_ca_that_is_taken_away_ends_open_connections_too(
        self,
        tenants: Tenants,
        directory: MemoryDirectory,
        start_mtls: StartPort,
        certificate: OwnCertificate,
    ) -> None:
        port = await start_mtls()
        async with channel(port, certificate, tenants.worker[ORDERS]) as own:
            await call(own, start_of(ORDERS))
            directory.add(ORDERS, bundle=authority("CA, second of its name").pem)
            assert_unauthorised(await refusal(call(own, start_of(ORDERS))))
        async with channel(port, certificate, tenants.worker[ORDERS]) as again:
            code, _, _ = await refusal(call(again, start_of(ORDERS)))
            assert code is grpc.StatusCode.UNAVAILABLE

    async def test_a_certificate_that_ends_while_connected(
        self,
        tenants: Tenants,
        directory: MemoryDirectory,
        cell: EchoCell,
        certificate: OwnCertificate,
        start: Start,
        transport: Transport,
    ) -> None:
        passed = [timedelta()]
        identities = Identities(
            directory,
            clock=lambda: passed[0].total_seconds(),
            wall_clock=lambda: datetime.now(UTC) + passed[0],
        )
        gateway = Gateway(
            directory, {"native": cell}.__getitem__, {}, default_cell="native", identities=identities
        )
        port = await start(
            mtls_listener(gateway, directory, certificate, host="127.0.0.1", port=0, transport=transport)
        )
        async with channel(port, certificate, tenants.worker[ORDERS]) as own:
            await call(own, start_of(ORDERS))
            passed[0] = timedelta(days=2)
            assert_unauthorised(await refusal(call(own, start_of(ORDERS))))

    def test_only_changes_of_roots_make_tls_look_again(
        self, directory: MemoryDirectory, certificate: OwnCertificate, cell: EchoCell
    ) -> None:
        gateway = Gateway(directory, {"native": cell}.__getitem__, {}, default_cell="native")
        tls = mtls_listener(gateway, directory, certificate, host="127.0.0.1", port=0)._tls
        assert tls is not None
        before = tls()
        directory.version += 1
        assert tls() is before
        directory.add("later.acme", bundle=authority("CA of a new tenant").pem)
        assert tls().version != before.version

    async def test_a_service_without_any_namespace_lets_nobody_in(
        self, start_mtls: StartPort, certificate: OwnCertificate
    ) -> None:
        async with channel(await start_mtls(), certificate, leaf("x", authority("y"))) as stranger:
            code, _, _ = await refusal(call(stranger, GetSystemInfoRequest()))
        assert code is grpc.StatusCode.UNAVAILABLE

    async def test_the_system_answers_before_a_namespace_is_named(
        self, tenants: Tenants, start_mtls: StartPort, certificate: OwnCertificate, cell: EchoCell
    ) -> None:
        async with channel(await start_mtls(), certificate, tenants.worker[ORDERS]) as own:
            await call(own, GetSystemInfoRequest())
            await call(own, GetSystemInfoRequest(), temporal_namespace=ORDERS)
            assert_unauthorised(await refusal(call(own, GetSystemInfoRequest(), temporal_namespace=STOCK)))
        assert len(cell.calls) == 2

    async def test_a_certificate_is_no_key_to_the_control_plane(
        self, tenants: Tenants, start_mtls: StartPort, certificate: OwnCertificate
    ) -> None:
        async with channel(await start_mtls(), certificate, tenants.worker[ORDERS]) as own:
            code, sentence, _ = await refusal(call(own, GetCurrentIdentityRequest()))
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert "use an API key" in sentence
            for request in (
                RegisterNamespaceRequest(namespace=ORDERS),
                ListNamespacesRequest(),
                UpdateNamespaceRequest(namespace=ORDERS),
            ):
                code, sentence, _ = await refusal(call(own, request))
                assert code is grpc.StatusCode.PERMISSION_DENIED
                assert "belong to the control plane" in sentence

    async def test_the_sdk_connects_and_is_told_why_it_may_not(
        self, tenants: Tenants, start_mtls: StartPort, certificate: OwnCertificate, cell: EchoCell
    ) -> None:
        port = await start_mtls()
        shown = tenants.worker[ORDERS]
        tls = TLSConfig(
            server_root_ca_cert=certificate.ca_pem,
            client_cert=shown.pem,
            client_private_key=shown.key_pem,
            domain="localhost",
        )
        own = await Client.connect(f"localhost:{port}", namespace=ORDERS, tls=tls)
        await own.start_workflow("W", id="w", task_queue="q")
        assert [method.name for method, _, _ in cell.calls][-1] == "StartWorkflowExecution"
        other = await Client.connect(f"localhost:{port}", namespace=STOCK, tls=tls, lazy=True)
        with pytest.raises(RPCError) as caught:
            await other.start_workflow("W", id="w", task_queue="q")
        assert caught.value.status is RPCStatusCode.PERMISSION_DENIED
        assert caught.value.message.startswith("Request unauthorized. The caller showed a client certificate")
        assert caught.value.grpc_status.details[0].Is(PermissionDeniedFailure.DESCRIPTOR)

    async def test_the_handshake_works_with_many_tenants_and_names_none(
        self,
        tenants: Tenants,
        directory: MemoryDirectory,
        start_mtls: StartPort,
        certificate: OwnCertificate,
    ) -> None:
        many = b"".join(authority(f"CA of customer {n}").pem for n in range(300))
        directory.add("many.acme", bundle=many)
        port = await start_mtls()
        async with channel(port, certificate, tenants.worker[ORDERS]) as own:
            await call(own, start_of(ORDERS))
        # Up to TLS 1.2 a server's certificate request is readable on the wire; it could list all CAs.
        seen = await asyncio.to_thread(_server_handshake_bytes, port, certificate)
        assert b"Tacit service CA" in seen
        assert b"CA of" not in seen

    async def test_a_ca_by_the_name_of_an_earlier_one_does_not_shut_it_out(
        self,
        tenants: Tenants,
        directory: MemoryDirectory,
        start_mtls: StartPort,
        certificate: OwnCertificate,
    ) -> None:
        directory.add("thief.rival", bundle=authority(f"CA of {ORDERS}").pem)
        async with channel(await start_mtls(), certificate, tenants.worker[ORDERS]) as own:
            await call(own, start_of(ORDERS))
            assert_unauthorised(await refusal(call(own, start_of("thief.rival"))))

    async def test_a_ca_made_again_under_its_old_name_lets_old_and_new_certificates_in(
        self,
        tenants: Tenants,
        directory: MemoryDirectory,
        start_mtls: StartPort,
        certificate: OwnCertificate,
    ) -> None:
        again = authority(f"CA of {ORDERS}")
        directory.add(ORDERS, bundle=tenants.ca[ORDERS].pem + again.pem)
        port = await start_mtls()
        # By the key identifiers, which all of these have; what else tenancy lets in depends on them.
        for shown in (tenants.worker[ORDERS], leaf("worker.new", again)):
            async with channel(port, certificate, shown) as own:
                await call(own, start_of(ORDERS))


def _server_handshake_bytes(port: int, certificate: OwnCertificate) -> bytes:
    """What the server says in a TLS 1.2 handshake up to its request for the client's certificate."""
    context = ssl.create_default_context(cadata=certificate.ca_pem.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    seen = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(2):
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
            if seen:
                return seen
            # Until the server's flight is whole: certificate, key exchange, certificate request, done.
            while not seen.endswith(b"\x0e\x00\x00\x00"):
                data = connection.recv(65536)
                if not data:
                    raise AssertionError("the server closed the connection in its own flight")
                seen += data
            incoming.write(seen)
    return seen


class TestApiKeys:
    @pytest.fixture
    def keys(self, directory: MemoryDirectory) -> MemoryDirectory:
        directory.add(ORDERS)
        directory.add(STOCK)
        directory.add_key("reader", {ORDERS: Permission.READ})
        directory.add_key("writer", {ORDERS: Permission.WRITE})
        directory.add_key("admin", {ORDERS: Permission.ADMIN})
        return directory

    async def test_rights_are_those_of_the_table(
        self, keys: MemoryDirectory, start_api_key: StartPort, certificate: OwnCertificate, cell: EchoCell
    ) -> None:
        async with channel(await start_api_key(), certificate) as port:
            describe = DescribeWorkflowExecutionRequest(namespace=ORDERS)
            await call(port, describe, authorization="Bearer reader")
            assert_unauthorised(await refusal(call(port, start_of(ORDERS), authorization="Bearer reader")))
            await call(port, start_of(ORDERS), authorization="bearer writer")
            seen = [
                await refusal(call(port, start_of(name), authorization=f"Bearer {key}"))
                for name, key in ((STOCK, "writer"), ("nothing.acme", "writer"), (ORDERS, "reader"))
            ]
            for one in seen:
                assert_unauthorised(one)
                assert one == seen[0]
            assert "an API key" in seen[0][1]
            assert "whoami" in seen[0][1]
            code, _, _ = await refusal(
                call(port, UpdateNamespaceRequest(namespace=ORDERS), authorization="Bearer admin")
            )
            assert code is grpc.StatusCode.PERMISSION_DENIED
        assert [context.caller.id for _, _, context in cell.calls] == ["robot-0", "robot-1"]
        assert all(context.caller.kind is CallerKind.API_KEY for _, _, context in cell.calls)
        assert "authorization" not in cell.calls[0][2].metadata

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer ", "Bearer forged", "Basic d3JpdGVy", "writer"]
    )
    async def test_a_missing_or_bad_key(
        self,
        keys: MemoryDirectory,
        start_api_key: StartPort,
        certificate: OwnCertificate,
        cell: EchoCell,
        header: str | None,
    ) -> None:
        metadata = {} if header is None else {"authorization": header}
        async with channel(await start_api_key(), certificate) as port:
            for request in (start_of(ORDERS), start_of("nothing.acme"), GetSystemInfoRequest()):
                code, sentence, _ = await refusal(call(port, request, **metadata))
                assert code is grpc.StatusCode.UNAUTHENTICATED
                assert "forged" not in sentence
                assert "other port" in sentence or "tacit apikey create" in sentence
        assert cell.calls == []

    async def test_the_transport_is_told_once_a_caller_has_proved_who_it_is(
        self, keys: MemoryDirectory, directory: MemoryDirectory, cell: EchoCell
    ) -> None:
        start, describe_path = (
            f"/temporal.api.workflowservice.v1.WorkflowService/{name}WorkflowExecution"
            for name in ("Start", "Describe")
        )
        signup, described = METHOD_TABLE[start].method, METHOD_TABLE[describe_path].method
        assert signup is not None
        assert described is not None
        gateway = Gateway(
            directory,
            {"native": cell}.__getitem__,
            {start: lambda request, context: cell.call(signup, request, context)},
            default_cell="native",
            table={**METHOD_TABLE, start: account_row(signup, public=True)},
        )
        told: list[int] = []

        async def describe(authorization: str | None, namespace: str = ORDERS) -> None:
            parts = CallParts(
                listener=ListenerKind.API_KEY, authorization=authorization, proved=lambda: told.append(1)
            )
            await gateway.call(described, DescribeWorkflowExecutionRequest(namespace=namespace), parts)

        for header, namespace in ((None, ORDERS), ("Bearer forged", ORDERS), ("Bearer reader", STOCK)):
            with pytest.raises(RpcError):
                await describe(header, namespace)
        parts = CallParts(listener=ListenerKind.API_KEY, proved=lambda: told.append(1))
        await gateway.call(signup, start_of(ORDERS), parts)
        assert told == []
        await describe("Bearer reader")
        assert told == [1]

    async def test_a_key_that_is_taken_away_ends_at_once(
        self, keys: MemoryDirectory, start_api_key: StartPort, certificate: OwnCertificate
    ) -> None:
        async with channel(await start_api_key(), certificate) as port:
            await call(port, start_of(ORDERS), authorization="Bearer writer")
            del keys.keys["writer"]
            keys.version += 1
            code, _, _ = await refusal(call(port, start_of(ORDERS), authorization="Bearer writer"))
            assert code is grpc.StatusCode.UNAUTHENTICATED

    async def test_the_sdk_works_with_a_key(
        self, keys: MemoryDirectory, start_api_key: StartPort, certificate: OwnCertificate, cell: EchoCell
    ) -> None:
        port = await start_api_key()
        tls = TLSConfig(server_root_ca_cert=certificate.ca_pem, domain="localhost")
        client = await Client.connect(f"localhost:{port}", namespace=ORDERS, api_key="writer", tls=tls)
        await client.start_workflow("W", id="w", task_queue="q")
        assert cell.calls[-1][0].name == "StartWorkflowExecution"
        with pytest.raises(RuntimeError, match="not valid"):
            await Client.connect(f"localhost:{port}", namespace=ORDERS, api_key="forged", tls=tls)

    async def test_the_control_plane_is_told_who_calls_and_no_client_can_lie(
        self,
        keys: MemoryDirectory,
        cell: EchoCell,
        certificate: OwnCertificate,
        start: Start,
        transport: Transport,
    ) -> None:
        seen: list[CallContext] = []

        async def identity(request: Message, context: CallContext) -> Message:
            seen.append(context)
            return GetCurrentIdentityResponse()

        gateway = Gateway(
            keys,
            {"native": cell}.__getitem__,
            {"/temporal.api.cloud.cloudservice.v1.CloudService/GetCurrentIdentity": identity},
            default_cell="native",
        )
        port = await start(
            api_key_listener(gateway, certificate, host="127.0.0.1", port=0, transport=transport)
        )
        async with channel(port, certificate) as own:
            await call(
                own, GetCurrentIdentityRequest(), authorization="Bearer writer", tacit_account_id="rival"
            )
            code, _, _ = await refusal(call(own, GetCurrentIdentityRequest()))
            assert code is grpc.StatusCode.UNAUTHENTICATED
        [context] = seen
        assert context.metadata[ACCOUNT_HEADER] == "acme"
        assert context.metadata[PRINCIPAL_KIND_HEADER] == "service-account"
        assert context.metadata[CREDENTIAL_HEADER] == "key-1"
        assert cell.calls == []

    async def test_what_is_refused_is_logged_once_and_without_secrets(
        self, keys: MemoryDirectory, start_api_key: StartPort, certificate: OwnCertificate
    ) -> None:
        async with channel(await start_api_key(), certificate) as port:
            with structlog.testing.capture_logs() as logs:
                await refusal(call(port, start_of(STOCK), authorization="Bearer writer"))
                await refusal(call(port, start_of("n" * 10_000), authorization="Bearer writer"))
                await refusal(call(port, start_of(ORDERS), authorization="Bearer forged"))
        assert [log["event"] for log in logs] == [
            "gateway.unauthorised",
            "gateway.unauthorised",
            "gateway.unauthenticated",
        ]
        assert logs[0]["namespace"] == STOCK
        assert len(logs[1]["namespace"]) == 255
        assert "writer" not in repr(logs)
        assert "forged" not in repr(logs)


class TestRequests:
    """What both tenants' listeners ask of a request, shown on the quicker one."""

    @pytest.fixture
    async def port(
        self, directory: MemoryDirectory, start_api_key: StartPort, certificate: OwnCertificate
    ) -> Any:
        directory.add(ORDERS)
        directory.add(STOCK)
        directory.add_key("k", {ORDERS: Permission.WRITE, STOCK: Permission.WRITE})
        async with channel(await start_api_key(), certificate) as port:
            yield port

    async def test_an_empty_namespace(self, port: grpc.aio.Channel) -> None:
        for request in (start_of(""), DescribeNamespaceRequest(id="some-id")):
            code, sentence, _ = await refusal(call(port, request, authorization="Bearer k"))
            assert (code, sentence) == (grpc.StatusCode.INVALID_ARGUMENT, "Namespace is empty.")

    async def test_header_and_request_must_agree(self, port: grpc.aio.Channel, cell: EchoCell) -> None:
        await call(port, start_of(ORDERS), authorization="Bearer k", temporal_namespace=ORDERS)
        code, _, _ = await refusal(
            call(port, start_of(ORDERS), authorization="Bearer k", temporal_namespace=STOCK)
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert len(cell.calls) == 1

    async def test_a_namespace_by_name_and_id(self, port: grpc.aio.Channel, cell: EchoCell) -> None:
        request = DescribeNamespaceRequest(namespace=ORDERS, id="the id of another")
        code, _, _ = await refusal(call(port, request, authorization="Bearer k"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert cell.calls == []

    async def test_operations_of_one_call_are_about_one_namespace(
        self, port: grpc.aio.Channel, cell: EchoCell
    ) -> None:
        request = ExecuteMultiOperationRequest(namespace=ORDERS)
        request.operations.add().start_workflow.namespace = ORDERS
        request.operations.add().update_workflow.namespace = ORDERS
        await call(port, request, authorization="Bearer k")
        request.operations[1].update_workflow.namespace = STOCK
        code, sentence, _ = await refusal(call(port, request, authorization="Bearer k"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "operations[1].update_workflow.namespace" in sentence
        assert len(cell.calls) == 1

    async def test_the_guard_is_the_namespaces(
        self, port: grpc.aio.Channel, directory: MemoryDirectory, cell: EchoCell
    ) -> None:
        request = start_of(ORDERS)
        request.input.CopyFrom(
            Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"secret"')])
        )
        await call(port, request, authorization="Bearer k")
        directory.add(ORDERS, guard=GuardMode.ENFORCE)
        with structlog.testing.capture_logs() as logs:
            code, sentence, _ = await refusal(call(port, request, authorization="Bearer k"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert sentence.startswith("StartWorkflowExecution: input.payloads[0] is not encrypted")
        assert [(log["event"], log["field"]) for log in logs] == [
            ("gateway.plaintext_refused", "input.payloads")
        ]
        assert "secret" not in repr(logs)
        assert len(cell.calls) == 1

    async def test_a_flood_is_refused_with_its_cause(
        self, port: grpc.aio.Channel, directory: MemoryDirectory, cell: EchoCell
    ) -> None:
        directory.add(ORDERS, requests_per_second_max=2)
        answers = await asyncio.gather(
            *(call(port, start_of(ORDERS), authorization="Bearer k") for _ in range(20)),
            return_exceptions=True,
        )
        errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert len(errors) >= 15
        assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert "limit of 2 requests per second" in (errors[0].details() or "")
        # The neighbour feels nothing.
        await call(port, start_of(STOCK), authorization="Bearer k")

    async def test_visibility_and_history_waits_are_classed(
        self, port: grpc.aio.Channel, directory: MemoryDirectory
    ) -> None:
        directory.add(ORDERS, requests_per_second_max=10)
        for _ in range(6):
            await call(
                port,
                GetWorkflowExecutionHistoryRequest(namespace=ORDERS, wait_new_event=True),
                authorization="Bearer k",
            )
        code, sentence, _ = await refusal(
            call(
                port,
                GetWorkflowExecutionHistoryRequest(namespace=ORDERS, wait_new_event=True),
                authorization="Bearer k",
            )
        )
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "class P5" in sentence
        await call(port, GetWorkflowExecutionHistoryRequest(namespace=ORDERS), authorization="Bearer k")
        await call(port, ListWorkflowExecutionsRequest(namespace=ORDERS), authorization="Bearer k")

    async def test_a_poll_holds_its_place_until_it_ends(
        self,
        directory: MemoryDirectory,
        cell: EchoCell,
        certificate: OwnCertificate,
        start: Start,
        transport: Transport,
    ) -> None:
        directory.add(ORDERS)
        directory.add_key("k", {ORDERS: Permission.WRITE})
        limits = Limits(asyncio.get_running_loop().time, polls_max=1)
        gateway = Gateway(directory, {"native": cell}.__getitem__, {}, default_cell="native", limits=limits)
        port = await start(
            api_key_listener(gateway, certificate, host="127.0.0.1", port=0, transport=transport)
        )
        cell.answer = cell.forever
        poll = PollWorkflowTaskQueueRequest(namespace=ORDERS)
        async with channel(port, certificate) as own:
            waiting = asyncio.ensure_future(call(own, poll, authorization="Bearer k"))
            await asyncio.wait_for(cell.entered.wait(), 5)
            assert limits.statistics().polls == {(ORDERS, Poll.WORKFLOW): 1}
            code, sentence, _ = await refusal(call(own, poll, authorization="Bearer k"))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "1 waiting workflow polls" in sentence
            waiting.cancel()
            await asyncio.wait_for(cell.cancelled.wait(), 5)
            await asyncio.sleep(0)
        assert limits.statistics().polls == {}

    async def test_a_cell_that_is_gone(self, directory: MemoryDirectory, port: grpc.aio.Channel) -> None:
        directory.add(ORDERS, cell="elsewhere")
        code, _, _ = await refusal(call(port, start_of(ORDERS), authorization="Bearer k"))
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_the_server_speaks_modern_tls_only(
    directory: MemoryDirectory, start_api_key: StartPort, certificate: OwnCertificate
) -> None:
    port = await start_api_key()
    context = ssl.create_default_context(cadata=certificate.ca_pem.decode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("localhost", port, ssl=context)
