"""Who asks: the Authorization header against static tokens, OIDC issuers, and the service's API keys, in this order."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Protocol

from codec.server.access import Caller, CallerKind
from codec.server.issuers import Issuers
from codec.server.jwt_check import TOKEN_BYTES_MAX, TokenRefused
from codec.server.protocol import EXTRAS_HEADER, Refusal, Request

TOKEN_CHARS_MIN = 20
"""Shorter static tokens could be guessed. 32 random bytes in base64 have 43."""


class ApiKeys(Protocol):
    """Asks the service whose API key it is."""

    def may_be(self, token: str) -> bool:
        """Whether `token` looks like one."""
        ...

    async def prove(self, token: str) -> Caller:
        """The key's owner, with what it may do in each namespace.

        Raises:
            TokenRefused: the service does not know the key.
            Refusal: the service can't be asked (503).
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class StaticToken:
    """A bearer token that this server is given; what it keeps is the token's hash."""

    name: str
    sha256: bytes = dataclasses.field(repr=False)

    @classmethod
    def of(cls, name: str, secret: str) -> StaticToken:
        """The token `secret`, to be known as `name`.

        Raises:
            ValueError: it is too short, or could not travel in a header.
        """
        if len(secret) < TOKEN_CHARS_MIN or not secret.isascii() or not secret.isprintable() or " " in secret:
            raise ValueError(
                f"the token {name!r} must be {TOKEN_CHARS_MIN} or more printable ASCII characters without spaces; "
                "`openssl rand -base64 32` makes a good one"
            )
        return cls(name, hashlib.sha256(secret.encode()).digest())


class Identities:
    """Proves callers. With nothing to prove by, all are nobody."""

    def __init__(
        self,
        *,
        tokens: Sequence[StaticToken] = (),
        issuers: Issuers | None = None,
        api_keys: ApiKeys | None = None,
    ) -> None:
        self._tokens = tuple(tokens)
        self._issuers = issuers
        self._api_keys = api_keys

    @property
    def required(self) -> bool:
        """Whether callers have to prove who they are."""
        return bool(self._tokens or self._issuers is not None or self._api_keys is not None)

    async def prove(self, request: Request, *, before_asking: Callable[[], None] = lambda: None) -> Caller:
        """Who sends this request. `before_asking` is called before the service is asked about a key, and may refuse.

        Raises:
            Refusal: it proves nothing (401, one sentence for every cause), or an issuer can't be asked (503).
        """
        if not self.required:
            return Caller(kind=CallerKind.NOBODY, subject=request.remote)
        header = request.headers.get("authorization", "")
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise _unproved("no bearer token")
        if len(token) > TOKEN_BYTES_MAX:
            raise _unproved("longer than any token")
        known = self._static(token)
        if known is not None:
            return known
        try:
            if self._api_keys is not None and self._api_keys.may_be(token):
                before_asking()
                return await self._api_keys.prove(token)
            if self._issuers is not None:
                found = await self._issuers.prove(token, request.headers.get(EXTRAS_HEADER))
                return Caller(
                    kind=CallerKind.JWT,
                    subject=found.subject,
                    issuer=found.issuer,
                    email=found.email,
                    groups=found.groups,
                )
        except TokenRefused as error:
            also = "none of the tokens that are set, and " if self._tokens else ""
            raise _unproved(f"{also}{error}") from None
        raise _unproved("no such token")

    def _static(self, token: str) -> Caller | None:
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for one in self._tokens:
            # All are compared, each in constant time.
            if hmac.compare_digest(one.sha256, digest):
                found = one
        return None if found is None else Caller(kind=CallerKind.TOKEN, subject=found.name)


def _unproved(why: str) -> Refusal:
    return Refusal(
        401,
        "The request carries no token that is accepted here: sign in again, or give the CLI one with --codec-auth.",
        "unauthenticated",
        headers={"www-authenticate": 'Bearer realm="tacit codec server"'},
        why=why,
    )
