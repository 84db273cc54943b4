"""The one way out: where it goes, where it does not, and how much of an answer it reads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cloud.engine.runtime.outbound import (
    Outbound,
    OutboundFailed,
    OutboundPolicy,
    OutboundRefused,
    is_public,
)

OPEN = OutboundPolicy(private_addresses=True, plaintext=True)


@asynccontextmanager
async def outbound(policy: OutboundPolicy) -> AsyncIterator[Outbound]:
    made = Outbound(policy)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def server(answer: Callable[[web.BaseRequest], web.Response]) -> AsyncIterator[int]:
    async def handle(request: web.BaseRequest) -> web.Response:
        return answer(request)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def post(out: Outbound, url: str, *, size_max: int = 1000, timeout_s: float = 5) -> bytes:
    return (await out.post(url, {}, b"", timeout_s=timeout_s, size_max=size_max)).body


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",  # noqa: S104
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "no address",
    ],
)  # fmt: skip
def test_addresses_inside(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"])
def test_addresses_outside(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_hides_nothing(address: object) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))


async def test_an_inner_address_is_not_connected_to_whatever_names_it() -> None:
    def never(request: web.BaseRequest) -> web.Response:
        raise AssertionError("it was called")

    async with server(never) as port, outbound(OutboundPolicy(plaintext=True)) as out:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"):
            with pytest.raises(OutboundFailed):
                await post(out, f"http://{host}:{port}/")
        with pytest.raises(OutboundRefused):
            await post(out, f"http://127.0.0.1:{port}/")
        with pytest.raises(OutboundRefused):
            await post(out, f"http://localhost:{port}/")


async def test_a_name_that_changes_its_meaning_is_looked_at_when_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check before the connection would have seen the first answer, the connection the second."""
    resolved = []

    async def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
        address = "93.184.216.34" if not resolved else "127.0.0.1"
        resolved.append(address)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 9))]

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    resolved.append("93.184.216.34")
    async with outbound(OutboundPolicy(plaintext=True)) as out:
        with pytest.raises(OutboundRefused):
            await post(out, "http://turncoat.example/")
    assert resolved == ["93.184.216.34", "127.0.0.1"]


@pytest.mark.parametrize(
    "url", ["http://example.com/", "ftp://example.com/", "https:///x", "https://me:secret@example.com/", "//x", ""]
)  # fmt: skip
async def test_urls_that_are_not_called(url: str) -> None:
    async with outbound(OutboundPolicy()) as out:
        with pytest.raises(OutboundRefused):
            await post(out, url)


async def test_redirects_are_answers() -> None:
    def redirect(request: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"location": "http://127.0.0.1:1/"})

    async with server(redirect) as port, outbound(OPEN) as out:
        reply = await out.post(f"http://127.0.0.1:{port}/", {}, b"", timeout_s=5, size_max=10)
        assert reply.status == 307


async def test_answers_are_bounded() -> None:
    async with server(lambda _: web.Response(body=b"x" * 1001)) as port, outbound(OPEN) as out:
        url = f"http://127.0.0.1:{port}/"
        assert len(await post(out, url, size_max=1001)) == 1001
        with pytest.raises(OutboundFailed, match="too large"):
            await post(out, url, size_max=1000)


async def test_compressed_answers_are_not_blown_up() -> None:
    def bomb(request: web.BaseRequest) -> web.Response:
        assert "accept-encoding" not in request.headers
        response = web.Response(body=b"\0" * 10_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with server(bomb) as port, outbound(OPEN) as out:
        assert len(await post(out, f"http://127.0.0.1:{port}/", size_max=100_000)) < 100_000


async def test_time_is_bounded() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with outbound(OPEN) as out:
        with pytest.raises(OutboundFailed, match="timed out"):
            await post(out, f"http://127.0.0.1:{port}/", timeout_s=0.2)
    listener.close()


async def test_nobody_there() -> None:
    async with outbound(OPEN) as out:
        with pytest.raises(OutboundFailed) as failed:
            await post(out, "http://127.0.0.1:1/")
        assert not isinstance(failed.value, OutboundRefused)


@pytest.mark.parametrize("text", ["a\r\nHost: inner", "a\nx: y", "a\0"])
async def test_headers_stay_headers(text: str) -> None:
    def never(request: web.BaseRequest) -> web.Response:
        raise AssertionError("it was called")

    async with server(never) as port, outbound(OPEN) as out:
        with pytest.raises(OutboundFailed):
            await out.post(f"http://127.0.0.1:{port}/", {"k": text}, b"", timeout_s=5, size_max=10)
