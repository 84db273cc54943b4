"""What counts as this machine alone, wherever that decides whether something goes without TLS."""

from __future__ import annotations

import pytest

from cloud.sidecar import listening
from cloud.sidecar.listening import CannotListen
from sdk.errors import ProfileError
from sdk.loopback import is_loopback, is_loopback_address, without_brackets
from sdk.profile import refuse_key_in_the_clear

ANYWHERE = "0.0.0.0"  # noqa: S104 - where nothing listens here
LOOPBACK = [
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "::1",
    "[::1]",
    "::ffff:127.0.0.1",
    "localhost",
    "LOCALHOST",
]
ADDRESSES = f"{ANYWHERE} :: [::] 10.0.0.1 128.0.0.1 169.254.0.1 ::2 [::2] ::ffff:10.0.0.1 ::1:7233".split()
MISWRITTEN = [
    "[]",
    "[",
    "[::1",
    "::1]",
    "[[::1]]",
    "[127.0.0.1]",
    "[localhost]",
    "127.1",
    "0x7f000001",
    "2130706433",
    "localhost.",
]
NAMES = ["db", "localhost.evil.example", "127.0.0.1.evil.example"]
ELSEWHERE = [*ADDRESSES, *MISWRITTEN, *NAMES, "", " localhost", "127.0.0.1\n"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert is_loopback_address(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_machines_and_what_may_be_one(host: str) -> None:
    assert not is_loopback(host)
    assert not is_loopback_address(host)
    with pytest.raises(CannotListen, match="loopback alone"):
        listening.server(None, host=host, tls=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *((f"{host}:7233", True) for host in ("127.0.0.1", "127.0.0.2", "[::1]", "localhost")),
        *((f"{host}:7233", False) for host in (ANYWHERE, "[::]", "::1", "orders.example", "[localhost]", "")),
        ("localhost:7233.evil.example", False),
        ("http://localhost:7233", False),
        ("evil.example:127.0.0.1", False),
    ],
)
def test_addresses_with_ports(address: str, expected: bool) -> None:
    assert is_loopback_address(address) is expected
    if expected:
        refuse_key_in_the_clear(address)
    else:
        with pytest.raises(ProfileError, match="unencrypted"):
            refuse_key_in_the_clear(address)


def test_hosts_as_sockets_take_them() -> None:
    assert [without_brackets(host) for host in ("[::1]", "::1", "127.0.0.1", "[::1")] == [
        "::1",
        "::1",
        "127.0.0.1",
        "[::1",
    ]
