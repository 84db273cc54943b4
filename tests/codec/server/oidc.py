"""An OIDC issuer of the tests' own: a discovery document and keys on a real socket, and tokens signed with them."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "tacit-codec"


class Oidc:
    """The issuer. `url` is known once it serves."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: dict[str, Any] = {}
        self.published: list[dict[str, Any]] = []
        self.discovery: dict[str, Any] | None = None
        self.asked = 0
        self.fails = False
        self.add("first", ec.generate_private_key(ec.SECP256R1()))

    def add(self, kid: str, key: Any, **more: Any) -> None:
        """Publish a key."""
        self.keys[kid] = key
        kind = {
            ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
            rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
            ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
        }
        algorithm = next(one for base, one in kind.items() if isinstance(key, base))
        described = algorithm.to_jwk(key.public_key(), as_dict=True)
        self.published.append(described | {"kid": kid, "use": "sig"} | more)

    def token(
        self, *, kid: str = "first", algorithm: str = "ES256", key: Any = None, drop: str = "", **claims: Any
    ) -> str:
        """A token that is good unless the arguments say otherwise."""
        now = int(time.time())
        wanted = {"iss": self.url, "aud": AUDIENCE, "sub": "user-1", "iat": now, "exp": now + 300} | claims
        wanted.pop(drop, None)
        return jwt.encode(wanted, key or self.keys[kid], algorithm=algorithm, headers={"kid": kid})

    async def answer(self, request: web.Request) -> web.Response:
        if self.fails:
            return web.Response(status=500)
        if request.path == "/.well-known/openid-configuration":
            document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            return web.json_response(document if self.discovery is None else self.discovery)
        self.asked += 1
        return web.json_response({"keys": self.published})


@asynccontextmanager
async def oidc() -> AsyncIterator[Oidc]:
    """The issuer while it serves."""
    issuer = Oidc()
    application = web.Application()
    application.router.add_get("/{path:.*}", issuer.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    issuer.url = f"http://127.0.0.1:{port}"
    try:
        yield issuer
    finally:
        await runner.cleanup()


def unsigned(claims: dict[str, Any]) -> str:
    """A token of the algorithm "none"."""
    return jwt.encode(claims, None, algorithm="none")


def spliced(token: str, part: int, other: str) -> str:
    """`token` with one of its three parts taken from `other`."""
    parts, others = token.split("."), other.split(".")
    parts[part] = others[part]
    return ".".join(parts)


def altered(token: str) -> str:
    """`token` with one bit of its signature flipped."""
    head, body, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[5] ^= 1
    return ".".join((head, body, base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()))
