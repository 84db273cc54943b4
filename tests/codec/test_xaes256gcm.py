"""XAES-256-GCM against the vectors that https://c2sp.org/XAES-256-GCM publishes."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from codec.encryption.xaes256gcm import XAES256GCM, fresh_nonce

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"


@pytest.mark.parametrize(
    ("key", "associated", "expected"),
    [
        pytest.param(
            b"\x01" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271", id="msb-of-L-is-0"
        ),
        pytest.param(
            b"\x03" * 32,
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            id="msb-of-L-is-1",
        ),
    ],
)
def test_published_vectors(key: bytes, associated: bytes, expected: str) -> None:
    cipher = XAES256GCM(key)
    ciphertext = cipher.encrypt(NONCE, b"XAES-256-GCM", associated)
    assert ciphertext.hex() == expected
    assert cipher.decrypt(NONCE, ciphertext, associated) == b"XAES-256-GCM"


def test_published_accumulated_vector() -> None:
    """10,000 messages drawn from SHAKE-128 of nothing, their ciphertexts hashed with another SHAKE-128."""
    stream = hashlib.shake_128().digest(10_000 * (32 + 24 + 256 + 256))
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        position += count
        return stream[position - count : position]

    assert stream.hex().startswith("7f9c2ba4e88f827d616045507605853e")
    ciphertexts = hashlib.shake_128()
    for _ in range(10_000):
        key, nonce = take(32), take(24)
        plaintext = take(take(1)[0])
        associated = take(take(1)[0])
        cipher = XAES256GCM(key)
        ciphertext = cipher.encrypt(nonce, plaintext, associated)
        assert cipher.decrypt(nonce, ciphertext, associated) == plaintext
        ciphertexts.update(ciphertext)
    assert ciphertexts.hexdigest(32) == "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@given(
    data=st.binary(max_size=64),
    associated=st.binary(max_size=32),
    where=st.integers(0),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_is_found(data: bytes, associated: bytes, where: int, bit: int) -> None:
    cipher = XAES256GCM(b"k" * 32)
    nonce = fresh_nonce()
    ciphertext = bytearray(cipher.encrypt(nonce, data, associated))
    ciphertext[where % len(ciphertext)] ^= 1 << bit
    with pytest.raises(InvalidTag):
        cipher.decrypt(nonce, bytes(ciphertext), associated)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="a key has 32 bytes"):
        XAES256GCM(bytes(length))


@pytest.mark.parametrize("length", [0, 12, 23, 25])
def test_nonce_of_another_length_is_refused(length: int) -> None:
    cipher = XAES256GCM(bytes(32))
    with pytest.raises(ValueError, match="a nonce has 24 bytes"):
        cipher.encrypt(bytes(length), b"", b"")


@pytest.mark.parametrize("length", range(16))
def test_ciphertext_without_a_whole_tag_is_refused(length: int) -> None:
    with pytest.raises(InvalidTag):
        XAES256GCM(bytes(32)).decrypt(NONCE, bytes(length), b"")


def test_nonces_are_fresh() -> None:
    assert len({fresh_nonce() for _ in range(1000)}) == 1000
