"""The transport's sockets: TLS, handshakes that fail or hang, slow readers, stopping, addresses."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import structlog
from structlog.typing import EventDict
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse

from cloud.gateway import OwnCertificate
from cloud.transport.calls import ListenerKind, TlsMaterial
from cloud.transport.grpc_status import PortUnavailable
from cloud.transport.http2 import accepting, frames, server
from cloud.transport.http2.accepting import REFUSALS_INTERVAL_S, REFUSALS_LOGGED_MAX, Refusals, listen
from cloud.transport.http2.edge import peer_name
from cloud.transport.http2.frames import frame
from cloud.transport.http2.messages import framed
from cloud.transport.http2.sending import BATCH_BYTES
from cloud.transport.http2.server import Http2Server
from tests.gateway.certificates import Pair, authority, leaf
from tests.transport.loops import event_loop_policy  # noqa: F401 # a fixture
from tests.transport.peer import split
from tests.transport.wire import HEADERS, PlainGateway

GREETING = frames.PREFACE + frames.settings_frame({frames.Setting.INITIAL_WINDOW_SIZE: 2**31 - 1})

Serve = Callable[..., Awaitable[int]]


@pytest.fixture
def gateway() -> PlainGateway:
    return PlainGateway()


@pytest.fixture
async def serve(gateway: PlainGateway) -> AsyncIterator[Serve]:
    started: list[Http2Server] = []

    async def go(material: Callable[[], TlsMaterial] | None = None, address: str = "127.0.0.1:0") -> int:
        kind = ListenerKind.DEVELOPMENT if material is None else ListenerKind.MTLS
        started.append(Http2Server(gateway, kind, material))
        return await started[-1].start(address)

    go.started = started  # type: ignore[attr-defined]
    yield go
    for each in started:
        await each.stop(0)


class Authority:
    """A namespace's CA, and the material of a server that trusts it."""

    def __init__(self, certificate: OwnCertificate) -> None:
        self.certificate = certificate
        self.ca = authority("CA of a tenant")
        self.version = 0

    def material(self) -> TlsMaterial:
        shown = self.certificate.current()
        return TlsMaterial(
            version=self.version,
            chain_pem=shown.chain_pem,
            key_pem=shown.key_pem,
            client_roots_pem=self.ca.pem,
        )

    def client(self, tmp_path: object, shown: Pair | None, *, alpn: str | None = "h2") -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.certificate.ca_pem.decode())
        if alpn:
            context.set_alpn_protocols([alpn])
        if shown is not None:
            file = tmp_path / "client.pem"  # type: ignore[operator]
            file.write_bytes(shown.key_pem + shown.pem)
            context.load_cert_chain(file)
        return context


@pytest.fixture
def tls(certificate: OwnCertificate) -> Authority:
    return Authority(certificate)


@pytest.fixture
def logs() -> AsyncIterator[list[EventDict]]:
    with structlog.testing.capture_logs() as captured:
        yield captured  # type: ignore[misc]


async def refused(logs: list[EventDict], count: int = 1) -> list[EventDict]:
    async with asyncio.timeout(20):
        while True:
            found = [log for log in logs if log["event"] == "grpc.connection_refused"]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def closed(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server closes."""
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""


def request(stream: int, *fields: tuple[str, str]) -> bytes:
    import hpack

    block = hpack.Encoder().encode([*HEADERS, *fields])
    return frame(frames.HEADERS, 4, stream, bytes(block)) + frame(frames.DATA, 1, stream, framed(b""))


class TestTls:
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_the_chain_reaches_the_gateway_on_every_connection(
        self, serve: Serve, tls: Authority, gateway: PlainGateway, tmp_path: object, version: ssl.TLSVersion
    ) -> None:
        between = authority("workshop", tls.ca)
        worker = leaf("worker", between)
        context = tls.client(tmp_path, worker)
        context.maximum_version = version
        port = await serve(tls.material)
        session: ssl.SSLSession | None = None
        for number in range(2):
            # By hand, so that the second one may resume the first one's session.
            def talk(session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
                with (
                    socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
                    context.wrap_socket(plain, server_hostname="localhost", session=session) as client,
                ):
                    client.sendall(GREETING + request(1))
                    answer = b""
                    while b"grpc-status" not in answer:
                        answer += client.recv(65_536)
                    return answer, client.session

            _, session = await asyncio.to_thread(talk, session)
            parts = gateway.calls[number][2]
            assert parts.leaf_pem is not None
            assert [parts.leaf_pem, *parts.intermediates_pem] == [
                block + b"-----END CERTIFICATE-----\n"
                for block in worker.pem.split(b"-----END CERTIFICATE-----\n")
                if block.strip()
            ]

    async def test_a_refused_handshake_is_logged_once(
        self, serve: Serve, tls: Authority, tmp_path: object, logs: list[EventDict]
    ) -> None:
        port = await serve(tls.material)
        for shown, reason in ((None, "CERTIFICATE"), (leaf("x", authority("nobody")), "VERIFY")):
            logs.clear()
            context = tls.client(tmp_path, shown)
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname="localhost"
                )
                assert await closed(reader) == b""
                writer.close()
            except (ssl.SSLError, ConnectionError):
                pass
            [log] = await refused(logs)
            assert reason in log["reason"]
            assert log["peer"].startswith("ipv4:127.0.0.1:")

    async def test_nothing_is_left_of_handshakes_that_fail(self, serve: Serve, tls: Authority) -> None:
        port = await serve(tls.material)
        [opened] = [each._open for each in serve.started]  # type: ignore[attr-defined]
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"no TLS")
            await closed(reader)
            writer.close()
        async with asyncio.timeout(20):
            while opened._acceptor.half_open:
                await asyncio.sleep(0.01)
        assert opened._edges == set()

    async def test_a_client_that_does_not_trust_the_server_is_logged(
        self, serve: Serve, tls: Authority, logs: list[EventDict]
    ) -> None:
        port = await serve(tls.material)

        def distrust() -> None:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
                pytest.raises(ssl.SSLError),
            ):
                ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")

        await asyncio.to_thread(distrust)
        [log] = await refused(logs)
        assert "UNKNOWN_CA" in log["reason"]

    @pytest.mark.parametrize("alpn", [None, "http/1.1"])
    async def test_without_h2_nothing_is_served(
        self, serve: Serve, tls: Authority, tmp_path: object, logs: list[EventDict], alpn: str | None
    ) -> None:
        port = await serve(tls.material)
        context = tls.client(tmp_path, leaf("x", tls.ca), alpn=alpn)
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost"
            )
            writer.write(GREETING)
            assert await closed(reader) == b""
            writer.close()
        except (ssl.SSLError, ConnectionError):
            pass
        [log] = await refused(logs)
        assert "ALPN" in log["reason"]

    async def test_plaintext_on_a_tls_port(self, serve: Serve, tls: Authority, logs: list[EventDict]) -> None:
        port = await serve(tls.material)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GREETING)
        await closed(reader)
        writer.close()
        [log] = await refused(logs)
        assert log["reason"]

    async def test_a_handshake_that_hangs(
        self, serve: Serve, tls: Authority, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accepting, "HANDSHAKE_S_MAX", 0.2)
        port = await serve(tls.material)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        start = time.monotonic()
        assert await closed(reader) == b""
        assert 0.1 < time.monotonic() - start < 5
        [log] = await refused(logs)
        assert "took more than 0.2 s" in log["reason"]
        [opened] = [each._open for each in serve.started]  # type: ignore[attr-defined]
        assert opened._acceptor.half_open == 0
        writer.close()

    async def test_material_that_is_of_no_use_stops_the_start_and_not_the_service(
        self, serve: Serve, tls: Authority, gateway: PlainGateway, tmp_path: object, logs: list[EventDict]
    ) -> None:
        good = tls.material

        def bad() -> TlsMaterial:
            raise OSError("no such file")

        with pytest.raises(OSError, match="no such file"):
            await serve(bad)
        serve.started.clear()  # type: ignore[attr-defined]
        now = [good]
        port = await serve(lambda: now[0]())
        now[0] = bad
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls.client(tmp_path, leaf("x", tls.ca)), server_hostname="localhost"
        )
        writer.write(GREETING + request(1))
        assert await asyncio.wait_for(reader.readuntil(b"grpc-status"), 20)
        writer.close()
        assert "grpc.tls_reload_failed" in [log["event"] for log in logs]

    async def test_the_key_is_never_on_disk(self, tls: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        import tempfile

        from cloud.transport.http2.tls import server_context

        def forbidden(*_: object, **__: object) -> None:
            raise AssertionError("a file")

        monkeypatch.setattr(tempfile, "NamedTemporaryFile", forbidden)
        assert server_context(tls.material()).verify_mode is ssl.CERT_REQUIRED


class TestStrangers:
    async def test_who_says_nothing_is_closed(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "TICK_S", 0.02)
        reader, writer = await asyncio.open_connection("127.0.0.1", await serve())
        writer.write(frames.PREFACE[:5])
        await closed(reader)
        writer.close()

    @pytest.mark.parametrize("with_tls", [False, True])
    async def test_of_too_many_the_oldest_goes(
        self, serve: Serve, tls: Authority, monkeypatch: pytest.MonkeyPatch, with_tls: bool
    ) -> None:
        monkeypatch.setattr(accepting, "HALF_OPEN_MAX", 3)
        port = await serve(tls.material if with_tls else None)
        strangers = []
        for _ in range(4):
            strangers.append(await asyncio.open_connection("127.0.0.1", port))
            await asyncio.sleep(0.05)
        await closed(strangers[0][0])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(strangers[1][0].read(), 0.2)
        for _, writer in strangers:
            writer.close()

    async def test_who_has_greeted_is_no_stranger(
        self, serve: Serve, gateway: PlainGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accepting, "HALF_OPEN_MAX", 1)
        port = await serve()
        clients = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GREETING)
            await asyncio.sleep(0.05)
            clients.append((reader, writer))
        for reader, writer in clients:
            writer.write(request(1))
            assert await asyncio.wait_for(reader.readuntil(b"grpc-status"), 20)
            writer.close()

    @pytest.mark.parametrize(
        ("share", "reason"), [(1.0, "3 connections are open"), (0.5, "from its address")]
    )
    async def test_connections_have_bounds(
        self,
        serve: Serve,
        logs: list[EventDict],
        monkeypatch: pytest.MonkeyPatch,
        share: float,
        reason: str,
    ) -> None:
        most = 3
        monkeypatch.setattr(accepting, "CONNECTIONS_MAX", most / share if share < 1 else most)
        monkeypatch.setattr(accepting, "PEER_SHARE", share)
        port = await serve()
        clients = []
        for _ in range(most):
            clients.append(await asyncio.open_connection("127.0.0.1", port))
            clients[-1][1].write(GREETING + request(1))
            assert await asyncio.wait_for(clients[-1][0].readuntil(b"grpc-status"), 20)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await closed(reader) == b""
        writer.close()
        [log] = await refused(logs)
        assert reason in log["reason"]
        clients.pop()[1].close()
        [opened] = [each._open for each in serve.started]  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while len(opened._acceptor._hosts) == most:
                await asyncio.sleep(0.01)
        clients.append(await asyncio.open_connection("127.0.0.1", port))
        clients[-1][1].write(GREETING + request(1))
        assert await asyncio.wait_for(clients[-1][0].readuntil(b"grpc-status"), 20)
        for _, writer in clients:
            writer.close()
        async with asyncio.timeout(20):
            while opened._acceptor._hosts:
                await asyncio.sleep(0.01)
        assert opened._acceptor._per_host == {}

    async def test_a_defect_at_a_connection_is_logged_and_the_next_is_served(
        self, serve: Serve, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = await serve()
        [opened] = [each._open for each in serve.started]  # type: ignore[attr-defined]
        acceptor = opened._acceptor
        make, shake = acceptor._make, acceptor._shake_hands

        def broken(*_: object) -> None:
            raise ValueError("a defect")

        async def broken_later(*_: object) -> None:
            raise ValueError("a defect")

        for name, replaced in (("_make", broken), ("_shake_hands", broken_later)):
            monkeypatch.setattr(acceptor, name, replaced)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await closed(reader) == b""
            writer.close()
            monkeypatch.setattr(acceptor, "_make", make)
        assert [log["event"] for log in logs] == ["grpc.accept_failed", "grpc.handshake_failed"]
        assert (acceptor.half_open, acceptor._hosts) == (0, {})
        monkeypatch.setattr(acceptor, "_shake_hands", shake)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GREETING + request(1))
        assert await asyncio.wait_for(reader.readuntil(b"grpc-status"), 20)
        writer.close()

    async def test_http_1_is_told_what_this_is(self, serve: Serve) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", await serve())
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        *_, (kind, _, _, payload) = split(await closed(reader))
        assert kind == frames.GOAWAY
        assert b"speaks HTTP/2" in payload
        writer.close()

    def test_refusals_are_logged_at_a_bounded_rate(self, logs: list[EventDict]) -> None:
        now = [0.0]
        refusals = Refusals(lambda: now[0])
        for number in range(REFUSALS_LOGGED_MAX + 7):
            refusals.add(f"peer {number}", "why")
        assert len(logs) == REFUSALS_LOGGED_MAX
        now[0] = REFUSALS_INTERVAL_S
        refusals.add("another", "why")
        assert logs[-1]["unlogged_before"] == 7
        refusals.add("another", "why")
        assert "unlogged_before" not in logs[-1]


async def test_a_slow_reader_of_large_answers_costs_little(serve: Serve, gateway: PlainGateway) -> None:
    gateway.response = GetSystemInfoResponse(server_version="x" * 10_000_000)
    port = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    writer.write(GREETING + frames.window_update(0, 2**30) + request(1) + request(3))
    [opened] = [each._open for each in serve.started]  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while len(gateway.calls) < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    [edge] = opened._edges
    assert edge.connection.sending.held
    assert edge._transport.get_write_buffer_size() < 2 * BATCH_BYTES
    received = 0
    async with asyncio.timeout(60):
        while received < 20_000_000:
            received += len(await reader.read(2**20))
    assert edge.connection.sending.backlog_bytes == 0
    writer.close()


async def test_stopping_says_goaway_and_closes(serve: Serve) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", await serve())
    writer.write(GREETING + request(1))
    await asyncio.wait_for(reader.readuntil(b"grpc-status"), 20)
    await serve.started[0].stop(1)  # type: ignore[attr-defined]
    said = await closed(reader)
    assert said.endswith(frames.goaway(1, frames.ErrorCode.NO_ERROR, "the service is stopping"))
    writer.close()


class TestAddresses:
    @pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0", "0.0.0.0:0", "[::]:0"])
    async def test_addresses(self, serve: Serve, gateway: PlainGateway, address: str) -> None:
        port = await serve(address=address)
        one = {"127.0.0.1:0": ["127.0.0.1"], "localhost:0": ["127.0.0.1"], "[::1]:0": ["::1"]}
        hosts = one.get(address, ["127.0.0.1", "::1"])
        for host in hosts:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(GREETING + request(1))
            await asyncio.wait_for(reader.readuntil(b"grpc-status"), 20)
            writer.close()
        peers = [parts.peer.rpartition(":")[0] for _, _, parts in gateway.calls]
        assert peers == [{"::1": "ipv6:%5B::1%5D"}.get(host, "ipv4:127.0.0.1") for host in hosts]

    def test_a_port_that_is_taken(self) -> None:
        [taken] = listen("127.0.0.1:0")
        with taken, pytest.raises(PortUnavailable):
            listen(f"127.0.0.1:{taken.getsockname()[1]}")

    @pytest.mark.parametrize(
        ("address", "name"),
        [
            (("10.0.0.1", 5), "ipv4:10.0.0.1:5"),
            (("::ffff:10.0.0.1", 5, 0, 0), "ipv4:10.0.0.1:5"),
            (("2001:db8::1", 5, 0, 0), "ipv6:%5B2001:db8::1%5D:5"),
            ("", "unknown"),
        ],
    )
    def test_peers(self, address: object, name: str) -> None:
        assert peer_name(address) == name
