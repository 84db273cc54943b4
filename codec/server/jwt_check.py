"""Whether a JSON Web Token (RFC 7519, RFC 8725) of an issuer is good now. Keys and the time are given; nothing is fetched."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jwt

TOKEN_BYTES_MAX = 16 * 1024
"""Access tokens with a long list of groups have some kilobytes."""
GROUPS_MAX = 2_000
TEXT_MAX = 512
CLOCK_SKEW_S = 60

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What an issuer may sign with: public-key signatures only. A symmetric one would make its verifier an issuer too."""
DEFAULT_ALGORITHMS = ("RS256", "ES256", "EdDSA")


class TokenRefused(Exception):
    """A token that proves nothing; `str` says why, for this server's log alone."""


class UnknownKey(TokenRefused):
    """It names a signing key that is not among the issuer's; they may have changed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Issuer:
    """An OIDC issuer that this server believes.

    `audience` is what its access tokens must be for, `id_token_audience` what the ID tokens beside them are for (the
    client id of the web UI). `email_verified` says whether an e-mail counts only if the issuer calls it verified.
    """

    url: str
    audience: frozenset[str]
    id_token_audience: frozenset[str] = frozenset()
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    jwks_url: str | None = None
    email_claim: str = "email"
    groups_claim: str = "groups"
    email_verified: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proved:
    """What a good token says."""

    issuer: str
    subject: str
    email: str | None
    groups: frozenset[str]


def issuer_named(token: str) -> str:
    """The issuer that a token claims to be of, not proved yet.

    Raises:
        TokenRefused: it is no token.
    """
    if len(token) > TOKEN_BYTES_MAX:
        raise TokenRefused("longer than any token")
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise TokenRefused("no JSON Web Token") from error
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise TokenRefused("it names no issuer")
    return issuer


def proved(
    token: str,
    issuer: Issuer,
    keys: Sequence[jwt.PyJWK],
    now_s: float,
    *,
    audience: Collection[str] | None = None,
) -> Proved:
    """What `token` proves at `now_s` (seconds since 1970), given the issuer's keys.

    Raises:
        UnknownKey: signed with a key that is not among `keys`.
        TokenRefused: for any other cause.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise TokenRefused("no JSON Web Token") from error
    algorithm = header.get("alg")
    # The algorithm is the settings' to say, and the key's; never the token's alone.
    if algorithm not in issuer.algorithms or algorithm not in ALGORITHMS:
        raise TokenRefused("signed with an algorithm that is not accepted")
    if header.get("crit"):
        raise TokenRefused("it has a critical extension")
    key = _key(header.get("kid"), algorithm, keys)
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=sorted(issuer.audience if audience is None else audience),
            issuer=issuer.url,
            options={
                "require": ["iss", "sub", "aud", "exp"],
                # Compared below, by the clock that is given.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
        raise TokenRefused(type(error).__name__) from error
    _check_times(claims, now_s)
    return Proved(
        issuer=issuer.url,
        subject=_text(claims.get("sub"), "sub"),
        email=_email(claims, issuer),
        groups=_groups(claims.get(issuer.groups_claim)),
    )


def _key(named: object, algorithm: str, keys: Sequence[jwt.PyJWK]) -> jwt.PyJWK:
    # A key without an algorithm of its own is listed once for each that it can be used with.
    fitting = [key for key in keys if key.algorithm_name == algorithm]
    if named is None:
        if len(fitting) == 1:
            return fitting[0]
        raise UnknownKey("it names no key, and the issuer has several, or none, of its algorithm")
    for key in fitting:
        if key.key_id == named:
            return key
    raise UnknownKey("signed with a key that the issuer does not publish")


def _check_times(claims: Mapping[str, Any], now_s: float) -> None:
    moments: dict[str, float | None] = {}
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TokenRefused(f"{name} is no time")
        moments[name] = value
    ends, begins, issued = moments["exp"], moments["nbf"], moments["iat"]
    # Written so that a NaN is refused.
    if ends is None or not now_s < ends + CLOCK_SKEW_S:
        raise TokenRefused("expired")
    for begin in (begins, issued):
        if begin is not None and not now_s >= begin - CLOCK_SKEW_S:
            raise TokenRefused("not valid yet")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value or len(value) > TEXT_MAX:
        raise TokenRefused(f"{name} is no short text")
    return value


def _email(claims: Mapping[str, Any], issuer: Issuer) -> str | None:
    value = claims.get(issuer.email_claim)
    if not isinstance(value, str) or not 3 <= len(value) <= TEXT_MAX or value.count("@") != 1:
        return None
    verified = claims.get("email_verified")
    if issuer.email_verified and verified is not True and verified != "true":
        return None
    return value


def _groups(value: object) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset({value})
    if not isinstance(value, list):
        return frozenset()
    return frozenset(one for one in value[:GROUPS_MAX] if isinstance(one, str))
