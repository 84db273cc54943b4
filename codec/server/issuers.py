"""The public keys of OIDC issuers: discovery document, then JWKS, kept for minutes and asked for again when a token
names a key that is not among them (RFC 7517, OpenID Connect Discovery 1.0).

- However many tokens wait, one question is under way per issuer, and it is repeated once in `RETRY_S` at most: who
  makes up key ids cannot make this server flood an issuer.
- An issuer that does not answer leaves the keys as they were, for an hour at most.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import jwt
import structlog

from codec.server.jwt_check import ALGORITHMS, Issuer, Proved, TokenRefused, UnknownKey, issuer_named, proved
from codec.server.protocol import Refusal

_log = structlog.get_logger(__name__)

FRESH_S = 600.0
USABLE_S = 3_600.0
RETRY_S = 15.0
KEYS_MAX = 100
RSA_BITS_MIN = 2048
DOCUMENT_BYTES_MAX = 512 * 1024
_WELL_KNOWN = "/.well-known/openid-configuration"

Fetch = Callable[[str], Awaitable[bytes]]
"""A URL's content; raises OSError, with its reason, if it can't be had."""


class IssuerFailed(Exception):
    """The issuer's keys can't be had, and none are left."""


@dataclasses.dataclass(slots=True)
class _Known:
    keys: Sequence[jwt.PyJWK] = ()
    fetched_s: float | None = None
    tried_s: float | None = None


class Issuers:
    """All issuers that are believed, with their keys. Belongs to one event loop."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        fetch: Fetch,
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`wall` gives seconds since 1970, which tokens are compared with."""
        self._issuers = {issuer.url: issuer for issuer in issuers}
        self._fetch = fetch
        self._monotonic = monotonic
        self._wall = wall
        self._known: dict[str, _Known] = {url: _Known() for url in self._issuers}
        self._locks: dict[str, asyncio.Lock] = {url: asyncio.Lock() for url in self._issuers}

    async def prove(self, token: str, extras: str | None = None) -> Proved:
        """What an access token proves; an ID token beside it (`extras`) of the same person adds its e-mail and groups.

        Raises:
            TokenRefused: one of them is not good.
            Refusal: the issuer can't be asked for its keys (503).
        """
        issuer = self._issuer_of(token)
        found = await self._proved(token, issuer, issuer.audience)
        if not extras:
            return found
        if self._issuer_of(extras) is not issuer:
            raise TokenRefused("the ID token is of another issuer than the access token")
        more = await self._proved(extras, issuer, issuer.id_token_audience or issuer.audience)
        if more.subject != found.subject:
            raise TokenRefused("the ID token is of another subject than the access token")
        return dataclasses.replace(found, email=found.email or more.email, groups=found.groups | more.groups)

    def _issuer_of(self, token: str) -> Issuer:
        issuer = self._issuers.get(issuer_named(token))
        if issuer is None:
            raise TokenRefused("of an issuer that is not among ours")
        return issuer

    async def _proved(self, token: str, issuer: Issuer, audience: frozenset[str]) -> Proved:
        keys = await self._keys(issuer, fresher=False)
        try:
            return proved(token, issuer, keys, self._wall(), audience=audience)
        except UnknownKey:
            newer = await self._keys(issuer, fresher=True)
            if newer is keys:
                raise
            return proved(token, issuer, newer, self._wall(), audience=audience)

    async def _keys(self, issuer: Issuer, *, fresher: bool) -> Sequence[jwt.PyJWK]:
        known = self._known[issuer.url]
        asked_s = self._monotonic()
        if not self._due(known, fresher=fresher):
            return known.keys
        async with self._locks[issuer.url]:
            # Somebody else's question may have been answered meanwhile.
            if known.tried_s is None or known.tried_s < asked_s:
                await self._refresh(issuer, known)
        if known.fetched_s is None or self._monotonic() - known.fetched_s > USABLE_S:
            raise Refusal(
                503,
                "The issuer of your token can't be asked for its keys now; try again, or see the codec server's log.",
                "issuer-unreachable",
                headers={"retry-after": str(int(RETRY_S))},
            )
        return known.keys

    def _due(self, known: _Known, *, fresher: bool) -> bool:
        now_s = self._monotonic()
        if known.tried_s is not None and now_s - known.tried_s < RETRY_S and known.fetched_s is not None:
            return now_s - known.fetched_s > USABLE_S
        return fresher or known.fetched_s is None or now_s - known.fetched_s > FRESH_S

    async def _refresh(self, issuer: Issuer, known: _Known) -> None:
        now_s = self._monotonic()
        if known.tried_s is not None and now_s - known.tried_s < RETRY_S:
            return
        known.tried_s = now_s
        try:
            keys = read_jwks(await self._fetch(await self._jwks_url(issuer)))
        except (OSError, IssuerFailed) as error:
            _log.warning("codec_server.issuer_failed", issuer=issuer.url, reason=str(error))
            return
        known.keys, known.fetched_s = keys, now_s

    async def _jwks_url(self, issuer: Issuer) -> str:
        if issuer.jwks_url is not None:
            return issuer.jwks_url
        document = _object(await self._fetch(issuer.url.rstrip("/") + _WELL_KNOWN), "discovery document")
        if document.get("issuer") != issuer.url:
            raise IssuerFailed("the discovery document is of another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not is_safe_url(url):
            raise IssuerFailed("the discovery document names no https address of keys")
        return url


def is_safe_url(url: str) -> bool:
    """Whether keys may be fetched from there: by https, or from this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1"))
    )


def read_jwks(content: bytes) -> Sequence[jwt.PyJWK]:
    """The signing keys of a JWKS; those of kinds that are not used here are left out.

    Raises:
        IssuerFailed: it is none, or has no usable key.
    """
    listed = _object(content, "JWKS").get("keys")
    if not isinstance(listed, list):
        raise IssuerFailed("the JWKS has no keys")
    found = []
    for one in listed[:KEYS_MAX]:
        if isinstance(one, dict) and one.get("use", "sig") == "sig":
            found.extend(_signing_keys(one))
    if not found:
        raise IssuerFailed("the JWKS has no key for signatures that are accepted here")
    return tuple(found)


def _signing_keys(described: dict[str, Any]) -> list[jwt.PyJWK]:
    """The key once for each algorithm that it may be used with; a key of RSA need not say which."""
    named = described.get("alg")
    of_rsa = described.get("kty") == "RSA"
    algorithms = (
        [one for one in ALGORITHMS if one[:2] in ("RS", "PS")] if of_rsa and named is None else [named]
    )
    found = []
    for algorithm in algorithms:
        try:
            key = jwt.PyJWK.from_dict(described, algorithm=algorithm)
            if of_rsa and key.key.key_size < RSA_BITS_MIN:
                continue
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if key.algorithm_name in ALGORITHMS:
            found.append(key)
    return found


def _object(content: bytes, what: str) -> Mapping[str, Any]:
    if len(content) > DOCUMENT_BYTES_MAX:
        raise IssuerFailed(f"the {what} is larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise IssuerFailed(f"the {what} is no JSON") from None
    if not isinstance(document, dict):
        raise IssuerFailed(f"the {what} is no JSON object")
    return document
