"""API keys: signed tokens (JWT, RFC 7519, EdDSA over Ed25519) that prove a key's id. Format version 1.

Header: ``alg`` EdDSA, ``kid`` the signing key's id, ``typ`` ``tacit-key+jwt``. Claims: ``jti`` the key's id,
``sub`` its owner, ``iss`` and ``aud`` fixed, ``iat``, ``exp``. What a key may do is never in the token: that
follows the owner's present rights. A change of the format gets a new ``typ``; claims are only ever added.

The signing key lives with the control plane; a gateway needs the public keys only. The store holds ids alone,
so a copy of the database yields no key.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TOKEN_TYPE = "tacit-key+jwt"  # noqa: S105 - a media type, not a secret
ISSUER = "tacit"
AUDIENCE = "tacit-api"
ALGORITHM = "EdDSA"
TOKEN_LENGTH_MAX = 2048  # ours have about 400 characters; anything far longer is not one of them


class TokenRefused(Exception):
    """The token is not one of ours, or its time is over.

    The sentence is for our log, never for the caller.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaims:
    """What a verified token proves. `owner` is a principal's id."""

    key_id: str
    owner: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKeySigner:
    """Signs API keys."""

    _private_key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_keys(self) -> Mapping[str, Ed25519PublicKey]:
        """The public keys that gateways need, by their ids."""
        public = self._private_key.public_key()
        return {_key_id(public): public}

    def sign(self, claims: TokenClaims, issued_at: datetime) -> str:
        """The API key to hand to its owner, once."""
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": claims.owner,
            "jti": claims.key_id,
            "iat": int(issued_at.timestamp()),
            "exp": int(claims.expires_at.timestamp()),
        }
        headers = {"kid": _key_id(self._private_key.public_key()), "typ": TOKEN_TYPE}
        return jwt.encode(payload, self._private_key, algorithm=ALGORITHM, headers=headers)


class ApiKeyVerifier:
    """Verifies tokens against a set of public keys."""

    def __init__(self, public_keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._public_keys = dict(public_keys)

    def verify(self, token: str, now: datetime) -> TokenClaims:
        """What the token proves at `now`. That its id is known and enabled is another question.

        Raises:
            TokenRefused: malformed, of another kind, signed by a key or an algorithm that is not ours, or
                expired.
        """
        if len(token) > TOKEN_LENGTH_MAX:
            raise TokenRefused("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ") != TOKEN_TYPE:
                raise TokenRefused("the token is of another type")
            public_key = self._public_keys.get(str(header.get("kid")))
            if public_key is None:
                raise TokenRefused("the token's signing key is unknown")
            # The algorithm is ours to say, never the token's. Times are compared below, with the caller's
            # clock.
            claims = jwt.decode(
                token,
                public_key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={
                    "require": ["iss", "aud", "sub", "jti", "iat", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError) as error:
            raise TokenRefused(str(error)) from error
        if expires_at <= now:
            raise TokenRefused("the token is expired")
        return TokenClaims(key_id=str(claims["jti"]), owner=str(claims["sub"]), expires_at=expires_at)


def load_or_create_signer(path: Path) -> ApiKeySigner:
    """The signer whose private key is in `path` (PEM, mode 0600), made on the first call.

    Two processes that start at once agree on one key: the file is linked into place whole, or not at all.

    Raises:
        PermissionError: others can read the file.
        ValueError: the file holds no Ed25519 private key.
        OSError: the directory can't be read or written.
    """
    if not path.exists():
        _write_new_key(path)
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PermissionError(f"{path}: others may read the signing key; run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no readable private key; restore it from a backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        problem = "the private key is not an Ed25519 key; restore the right file from a backup"
        raise ValueError(f"{path}: {problem}")  # noqa: TRY004 - the file is wrong, not a caller's type
    return ApiKeySigner(key)


def _write_new_key(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link fails if the name is taken, so the key of the process that came first stands.
            path.hardlink_to(draft)
        except FileExistsError:
            return
        _sync_directory(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _key_id(public_key: Ed25519PublicKey) -> str:
    raw = public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
