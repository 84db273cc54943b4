"""XAES-256-GCM: AES-256-GCM with a 24-byte nonce that may be drawn at random without limit.

Format and algorithm: https://c2sp.org/XAES-256-GCM. From the key and the first half of the nonce a key for
this one message is derived (NIST SP 800-108r1 in counter mode over CMAC-AES256); AES-256-GCM under that key
and the second half of the nonce does the rest. So 2**80 messages under one key have a collision risk of
2**-32, where plain AES-256-GCM with its 12 bytes has it at 2**32 messages.

Names follow the specification: K1 is CMAC's subkey, M1 and M2 are the two blocks that are encrypted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16

_BLOCK_BYTES = 16
_HALF_NONCE_BYTES = 12
_REDUCTION = 0x87  # x^128 + x^7 + x^2 + x + 1, the polynomial of NIST SP 800-38B, Section 6.1
_M1_HEAD = b"\x00\x01X\x00"
_M2_HEAD = b"\x00\x02X\x00"


class XAES256GCM:
    """XAES-256-GCM under one key. An instance holds no other state and may be shared between threads."""

    def __init__(self, key: bytes) -> None:
        """Take a key of exactly 32 bytes.

        Raises:
            ValueError: the key has another length.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        # ECB here is the bare block cipher that CMAC is made of: it never sees a message.
        self._block_cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305
        # ECB carries nothing from block to block, so one context serves every message of a thread.
        self._contexts = threading.local()
        block = self._encrypt_blocks(bytes(_BLOCK_BYTES))
        doubled = int.from_bytes(block) << 1
        if doubled >> (8 * _BLOCK_BYTES):
            doubled ^= _REDUCTION
        k1 = doubled & ((1 << (8 * _BLOCK_BYTES)) - 1)
        # K1 is added to both blocks of a message, and the heads never change: one xor of 32 bytes does it
        # all.
        heads = _M1_HEAD + bytes(_HALF_NONCE_BYTES) + _M2_HEAD + bytes(_HALF_NONCE_BYTES)
        self._mask = int.from_bytes(heads) ^ (k1 << (8 * _BLOCK_BYTES)) ^ k1

    def encrypt(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """The ciphertext followed by its 16-byte tag.

        A nonce must never be used twice under one key: take it from `fresh_nonce`.

        Raises:
            ValueError: the nonce has not 24 bytes.
        """
        return self._derive(nonce).encrypt(nonce[_HALF_NONCE_BYTES:], plaintext, associated)

    def decrypt(self, nonce: bytes, ciphertext: bytes | memoryview, associated: bytes) -> bytes:
        """The plaintext of `ciphertext` (tag included), if nobody has touched it or `associated`.

        Raises:
            ValueError: the nonce has not 24 bytes.
            cryptography.exceptions.InvalidTag: it does not authenticate, or is shorter than a tag.
        """
        if len(ciphertext) < TAG_BYTES:
            raise InvalidTag
        return self._derive(nonce).decrypt(nonce[_HALF_NONCE_BYTES:], ciphertext, associated)

    def encrypt_into(self, nonce: bytes, parts: Iterable[bytes], associated: bytes, out: memoryview) -> None:
        """Like `encrypt` of the parts as one, without joining them: `out` has exactly their size and a tag's.

        Raises:
            ValueError: the nonce has not 24 bytes.
        """
        gcm = modes.GCM(nonce[_HALF_NONCE_BYTES:])
        encryptor = Cipher(algorithms.AES(self._derive_key(nonce)), gcm).encryptor()
        encryptor.authenticate_additional_data(associated)
        end = 0
        for part in parts:
            end += encryptor.update_into(part, out[end:])
        encryptor.finalize()
        out[end:] = encryptor.tag

    def decrypt_into(self, nonce: bytes, ciphertext: memoryview, associated: bytes, out: bytearray) -> None:
        """Like `decrypt`, into `out`, which has exactly the plaintext's size.

        Raises:
            ValueError: the nonce has not 24 bytes.
            cryptography.exceptions.InvalidTag: it does not authenticate, or is shorter than a tag.
        """
        if len(ciphertext) < TAG_BYTES:
            raise InvalidTag
        self._derive(nonce).decrypt_into(nonce[_HALF_NONCE_BYTES:], ciphertext, associated, out)

    def _derive(self, nonce: bytes) -> AESGCM:
        return AESGCM(self._derive_key(nonce))

    def _derive_key(self, nonce: bytes) -> bytes:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
        half = int.from_bytes(nonce[:_HALF_NONCE_BYTES])
        blocks = self._mask ^ (half << (8 * _BLOCK_BYTES)) ^ half
        return self._encrypt_blocks(blocks.to_bytes(2 * _BLOCK_BYTES))

    def _encrypt_blocks(self, blocks: bytes) -> bytes:
        context: CipherContext | None = getattr(self._contexts, "encryptor", None)
        if context is None:
            context = self._contexts.encryptor = self._block_cipher.encryptor()
        return context.update(blocks)


def fresh_nonce() -> bytes:
    """24 bytes from the operating system's random source."""
    return os.urandom(NONCE_BYTES)
