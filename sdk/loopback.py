"""Whether an address is this machine alone: what may go without TLS, and who may listen without asking anybody.

What is not surely loopback is not: a name that may resolve to it (`localhost` apart) and an address that is written wrongly
count as other machines.
"""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an IP address (IPv6 in brackets or without), can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        bare = without_brackets(host)
        found = ipaddress.ip_address(bare) if bare == host else ipaddress.IPv6Address(bare)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def is_loopback_address(address: str) -> bool:
    """Whether the host of `address`, HOST:PORT or a host alone, is loopback. An IPv6 host before a port stands in brackets."""
    host, _, port = address.rpartition(":")
    bare_v6 = ":" in host and not host.startswith("[")
    return is_loopback(address) or (is_loopback(host) and port.isdecimal() and not bare_v6)


def without_brackets(host: str) -> str:
    """The host as sockets take it: `::1` for `[::1]`."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host
