"""API keys: ours pass, forgeries of every kind do not."""

import base64
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tenancy.apikeys import ApiKeySigner, ApiKeyVerifier, TokenClaims, TokenRefused, load_or_create_signer

from .certificates_made import NOW

PRIVATE = Ed25519PrivateKey.generate()
SIGNER = ApiKeySigner(PRIVATE)
VERIFIER = ApiKeyVerifier(SIGNER.public_keys)
CLAIMS = TokenClaims(key_id="k1", owner="user:u1", expires_at=NOW + timedelta(days=1))
GOOD = SIGNER.sign(CLAIMS, NOW)
KEY_ID = next(iter(SIGNER.public_keys))


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = token.split(".")
    decoded = [json.loads(base64.urlsafe_b64decode(text + "==")) for text in (header, payload)]
    return decoded[0], decoded[1], signature


def forged(
    key: Any = PRIVATE, algorithm: str = "EdDSA", headers: dict[str, Any] | None = None, **claims: Any
) -> str:
    header, payload, _ = parts_of(GOOD)
    content = {name: value for name, value in {**payload, **claims}.items() if value is not None}
    return jwt.encode(
        content, key, algorithm=algorithm, headers={**header, "alg": algorithm, **(headers or {})}
    )


def test_ours_passes() -> None:
    assert VERIFIER.verify(GOOD, NOW) == CLAIMS
    assert (
        VERIFIER.verify(forged(), NOW) == CLAIMS
    )  # the forger's tools make a good one when nothing is forged


def _none() -> str:
    header, payload, _ = parts_of(GOOD)
    return f"{part({**header, 'alg': 'none'})}.{part(payload)}."


def _tampered() -> str:
    header, payload, signature = parts_of(GOOD)
    return f"{part(header)}.{part({**payload, 'jti': 'k2'})}.{signature}"


def _public_key_as_secret() -> str:
    raw = PRIVATE.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return forged(raw, "HS256")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("hello", id="no-jwt"),
        pytest.param("a.b.c", id="garbage"),
        pytest.param(GOOD + "x" * 3000, id="too-long"),
        pytest.param(GOOD[:-4], id="truncated"),
        pytest.param(GOOD.rpartition(".")[0] + ".", id="no-signature"),
        pytest.param(_none(), id="alg-none"),
        pytest.param(_tampered(), id="tampered"),
        pytest.param(_public_key_as_secret(), id="public-key-as-hmac-secret"),
        pytest.param(forged(Ed25519PrivateKey.generate()), id="other-key"),
        pytest.param(forged(headers={"kid": "0" * 16}), id="unknown-kid"),
        pytest.param(forged(headers={"typ": "JWT"}), id="other-type"),
        pytest.param(forged(iss="evil"), id="issuer"),
        pytest.param(forged(aud="other-api"), id="audience"),
        pytest.param(forged(jti=None), id="no-id"),
        pytest.param(forged(exp=None), id="no-expiry"),
        pytest.param(forged(exp=10**30), id="expiry-out-of-range"),
        pytest.param(forged(exp=int(NOW.timestamp()) - 1), id="expired"),
    ],
)
def test_forgery_is_refused(token: str) -> None:
    with pytest.raises(TokenRefused):
        VERIFIER.verify(token, NOW)


def test_a_key_expires_to_the_second() -> None:
    assert VERIFIER.verify(GOOD, CLAIMS.expires_at - timedelta(seconds=1))
    with pytest.raises(TokenRefused):
        VERIFIER.verify(GOOD, CLAIMS.expires_at)


@given(st.text(max_size=300))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(TokenRefused):
        VERIFIER.verify(text, NOW)


@given(st.integers(min_value=0, max_value=len(GOOD) - 1), st.sampled_from("AZaz09-_.=%"))
def test_one_changed_character_is_refused(place: int, character: str) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    # The last character of a part carries bits that base64 ignores: such a change is none.
    same = [base64.urlsafe_b64decode(text + "==") for text in GOOD.split(".")] == _decoded(changed)
    if not same:
        with pytest.raises(TokenRefused):
            VERIFIER.verify(changed, NOW)


def _decoded(token: str) -> list[bytes]:
    try:
        return [base64.urlsafe_b64decode(text + "==") for text in token.split(".")]
    except ValueError:
        return []


def test_the_signing_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    first = load_or_create_signer(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    again = load_or_create_signer(path)
    assert again.public_keys.keys() == first.public_keys.keys()
    assert ApiKeyVerifier(again.public_keys).verify(first.sign(CLAIMS, NOW), NOW) == CLAIMS
    assert "PRIVATE" not in repr(first)


def test_a_signing_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    load_or_create_signer(path)
    path.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        load_or_create_signer(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_signing_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signing.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="backup"):
        load_or_create_signer(path)
