"""The one way out: HTTP requests that the service makes on a tenant's word.

A tenant names the URL, so nothing about it is trusted. The address is looked at when the connection is made, on the very address that
is connected to: a name can't mean one thing to a check and another to the connection. Nothing is followed, nothing is remembered between
requests, and answers are bounded in time and size.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

CONNECTIONS_MAX = 200
CONNECTIONS_PER_HOST_MAX = 20
HEADER_SIZE_MAX = 16 * 1024
_CHUNK = 64 * 1024

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class OutboundFailed(Exception):
    """There is no answer: the sentence tells what happened, and nothing of what the service's network looks like."""


class OutboundRefused(OutboundFailed):
    """The service does not send requests there; trying again changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundPolicy:
    """Where requests may go. By default to public addresses, and over TLS; a development server may reach all."""

    private_addresses: bool = False
    plaintext: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundReply:
    """An answer. `header` has its fields by names in lower case, values of equal names joined by commas."""

    status: int
    reason: str
    header: Mapping[str, str]
    body: bytes


class _ForbiddenAddress(OSError):
    """The address is inside the service's own network, or none that can be connected to."""


def is_public(address: str) -> bool:
    """Whether an address is one of the Internet's, also behind the forms in which IPv6 wraps one of IPv4."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:
            found = inner
        elif found.teredo is not None:
            return False
    return found.is_global and not found.is_multicast


class Outbound:
    """Makes requests within a policy. `close` ends its connections; it may be called twice."""

    def __init__(self, policy: OutboundPolicy) -> None:
        self._policy = policy
        self._session: ClientSession | None = None

    def check(self, url: str) -> None:
        """Look at a URL before anything is sent.

        Raises:
            OutboundRefused: no request is sent to such a URL.
        """
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise OutboundRefused("the URL can't be read") from None
        if parts.scheme not in ("http", "https") or not host:
            raise OutboundRefused("the URL is not one of http or https with a host")
        if parts.scheme == "http" and not self._policy.plaintext:
            raise OutboundRefused("the URL must be https here: a request over http can be read on its way")
        if parts.username is not None or parts.password is not None:
            raise OutboundRefused("the URL must not hold a user name or a password")

    async def post(
        self,
        url: str,
        header: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        size_max: int,
    ) -> OutboundReply:
        """Send a POST request and read its whole answer, of `size_max` bytes at the most. Redirects are answers, not followed.

        Raises:
            OutboundRefused: the service does not send requests there.
            OutboundFailed: no answer came in time, or it was too large.
        """
        from aiohttp import ClientError, ClientTimeout
        from yarl import URL

        self.check(url)
        session = self._open()
        try:
            async with (
                asyncio.timeout(timeout_s),
                session.post(
                    URL(url, encoded=True),  # as it is: its parts were quoted by who made it
                    data=body,
                    headers=header,
                    allow_redirects=False,
                    timeout=ClientTimeout(total=timeout_s),
                ) as response,
            ):
                return OutboundReply(
                    status=response.status,
                    reason=response.reason or "",
                    header=_joined(response),
                    body=await _read(response, size_max),
                )
        except TimeoutError:
            raise OutboundFailed("request timed out") from None
        except (ClientError, OSError, ValueError) as error:
            if _was_forbidden(error):
                raise OutboundRefused(
                    "the URL's address is not a public one, and no other is called from here"
                ) from None
            raise OutboundFailed(f"the URL's host can't be reached: {type(error).__name__}") from None

    def _open(self) -> ClientSession:
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector

        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(
                    limit=CONNECTIONS_MAX,
                    limit_per_host=CONNECTIONS_PER_HOST_MAX,
                    use_dns_cache=False,
                    socket_factory=self._socket,
                ),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_line_size=HEADER_SIZE_MAX,
                max_field_size=HEADER_SIZE_MAX,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
            )
        return self._session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that was resolved: the last moment before it is connected to."""
        family, kind, protocol, _, where = address
        if not self._policy.private_addresses and not is_public(str(where[0])):
            raise _ForbiddenAddress("not a public address")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    async def close(self) -> None:
        """End all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _was_forbidden(error: BaseException) -> bool:
    """Whether a forbidden address is behind an error, however often it was wrapped."""
    seen: list[BaseException | None] = [error]
    while seen:
        found = seen.pop()
        if isinstance(found, _ForbiddenAddress):
            return True
        if found is not None:
            seen += [getattr(found, "os_error", None), found.__cause__, *getattr(found, "exceptions", ())]
    return False


def _joined(response: ClientResponse) -> dict[str, str]:
    header: dict[str, str] = {}
    for name, text in response.headers.items():
        key = name.lower()
        header[key] = f"{header[key]},{text}" if key in header else text
    return header


async def _read(response: ClientResponse, size_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > size_max:
            response.close()
            raise OutboundFailed("http: response body too large")
    return bytes(body)
