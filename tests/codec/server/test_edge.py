"""The socket: what clients do that no request should, TLS, and a certificate that is renewed."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from codec.server import certificate, edge
from codec.server.allowances import Bounds
from codec.server.certificate import CertificateFailed, ShownCertificate
from codec.server.edge import CodecEdge
from codec.server.protocol import Answer, Request
from tests.codec.server.serving import ORDERS, PLAIN, Served, body_of, payloads_of
from tests.gateway.certificates import Pair, authority, leaf

PATH = f"/{ORDERS}/encode"


@asynccontextmanager
async def listening(served: Served, hosts: frozenset[str] | None = None) -> AsyncIterator[int]:
    one = CodecEdge(served.server.answer, hosts=hosts)
    port = await one.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await one.stop()
        await one.stop()


async def raw(port: int, sent: bytes, *, seconds: float = 5.0) -> bytes:
    """All that comes back before the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(seconds):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_round_trip_over_a_socket(served: Served) -> None:
    async with listening(served) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            async with client.post(PATH, data=body_of([PLAIN])) as answer:
                assert answer.status == 200
                assert answer.headers["content-security-policy"].startswith("default-src 'none'")
                [encoded] = payloads_of(await answer.read())
            async with client.post(f"/{ORDERS}/decode", data=body_of([encoded])) as answer:
                assert payloads_of(await answer.read()) == [PLAIN]
        async with client.options(PATH, headers={"Origin": "http://localhost:8233"}) as answer:
            assert answer.status == 204
        async with client.get("/healthz") as answer:
            assert await answer.text() == "ok\n"
        async with client.get("/healthz", headers={"Origin": "https://evil.example"}) as answer:
            assert answer.status == 403
    assert {line["remote"] for line in served.sink.lines} == {"127.0.0.1"}


async def test_bodies_that_are_too_large_or_compressed(tmp_path: Path) -> None:
    served = Served(tmp_path, bounds=Bounds(body_bytes_max=10_000))
    async with listening(served) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(5_000)

        async with client.post(PATH, data=bytes(10_001)) as answer:
            assert answer.status == 413
        async with client.post(PATH, data=bytes(10_000)) as answer:
            assert answer.status == 400
        # The connection is closed on it; whether the answer still arrives is the network's matter.
        with contextlib.suppress(aiohttp.ClientError):
            async with client.post(PATH, data=endless()) as answer:
                assert answer.status == 413
        async with client.post(PATH, data=b"{}", headers={"Content-Encoding": "gzip"}) as answer:
            assert answer.status == 400
        declared = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        assert b" 413 " in await raw(port, declared.encode())


async def test_a_web_page_whose_name_points_here_is_refused(served: Served) -> None:
    async with (
        listening(served, frozenset({"localhost", "127.0.0.1", "::1"})) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        for host, status in (
            (f"127.0.0.1:{port}", 200),
            (f"localhost:{port}", 200),
            ("LOCALHOST", 200),
            (f"[::1]:{port}", 200),
            (f"rebound.evil.example:{port}", 403),
            ("127.0.0.1.evil.example", 403),
            ("", 403),
        ):
            async with client.post(PATH, data=b"{}", headers={"Host": host}) as answer:
                assert answer.status == status, host


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
        b"POST /decode HTTP/1.1\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_request(served: Served, sent: bytes) -> None:
    async with listening(served) as port:
        answer = await raw(port, sent)
        assert not answer.startswith(b"HTTP/1.1 200")
        assert b"Traceback" not in answer
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
            client.get("/healthz") as fine,
        ):
            assert fine.status == 200


async def test_clients_that_are_slow(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HANDSHAKE_S_MAX",
        "HEADERS_S_MAX",
        "BODY_S_MAX",
        "WORK_S_MAX",
        "ANSWER_S_MAX",
        "IDLE_S_MAX",
    ):
        monkeypatch.setattr(edge, name, 0.2)
    async with listening(served) as port:
        silent, cut = b"", b"POST /decode HTTP/1.1\r\nHost"
        body = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()
        answers = await asyncio.gather(*(raw(port, sent) for sent in (silent, cut, body)))
        assert answers[:2] == [b"", b""]
        assert b" 408 " in answers[2]
        # An open connection that has had its answer, and begins another request without ever ending it.
        health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await raw(port, health + cut)).count(b"HTTP/1.1 200") == 1


async def test_connections_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "CONNECTIONS_MAX", 2)
    async with listening(served) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await raw(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        held[0][1].close()
        await asyncio.sleep(0.05)
        assert b"200" in await raw(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        held[1][1].close()


def write(folder: Path, pair: Pair) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(pair.pem)
    key.write_bytes(pair.key_pem)
    return cert, key


async def shown_by(port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True))
    writer.close()
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


async def test_tls_and_a_certificate_that_is_renewed(served: Served, tmp_path: Path) -> None:
    ca = authority("ca")
    files = write(tmp_path, leaf("first", ca))
    shown = ShownCertificate(*files)
    one = CodecEdge(served.server.answer)
    port = await one.start("127.0.0.1", 0, shown.context)
    try:
        assert await shown_by(port) == "first"
        files[0].write_bytes(leaf("second", ca).pem)
        shown.look()  # the key is not there yet
        assert await shown_by(port) == "first"
        write(tmp_path, leaf("third", ca))
        shown.look()
        assert await shown_by(port) == "third"
        assert await raw(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    finally:
        await one.stop()


def test_certificates_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = authority("ca")
    cert, key = write(tmp_path, leaf("one", ca))
    other = tmp_path / "other.key"
    other.write_bytes(leaf("two", ca).key_pem)
    for pair in ((cert, other), (key, cert), (tmp_path / "none", key), (cert, tmp_path)):
        with pytest.raises(CertificateFailed):
            ShownCertificate(*pair)
    assert certificate.LOOK_EVERY_S > 0


async def test_a_request_under_way_is_answered_when_it_stops() -> None:
    asked, ready = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Answer:
        asked.set()
        await ready.wait()
        return Answer(status=200, body=b"done")

    one = CodecEdge(answer)
    port = await one.start("127.0.0.1", 0)
    waiting = asyncio.create_task(raw(port, b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"))
    await asked.wait()
    stopping = asyncio.create_task(one.stop())
    await asyncio.sleep(0.05)
    ready.set()
    assert (await waiting).endswith(b"done")
    await stopping
