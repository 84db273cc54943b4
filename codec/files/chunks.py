"""The cryptography of files' contents: sans-IO, bytes in and bytes out.

A file has a key of its own, 256 random bits that never encrypt another file. From it (HKDF-Expand, RFC 5869) comes a key for
each segment; under that, each chunk is AES-256-GCM with a nonce that counts::

    salt          = HKDF-Expand(file key, "tacit file salt"    | id | index | last | sizes | digest, 16 bytes)
    segment key   = HKDF-Expand(file key, "tacit file segment" | id | index | last | sizes | salt,   32 bytes)
    chunk's nonce = index of the chunk within the file (11 bytes, big-endian) | 1 if it is the file's last, else 0
    sizes         = segment bytes, chunk bytes (4 bytes each, big-endian); id = namespace and file id; index: 8 bytes

`digest` is the SHA-256 of the file's content from its beginning to the end of the segment. So a segment key belongs to one
content: the same content gives the same bytes again (an upload that goes on after a crash recognises what is there, and two
that run at one time do not disturb each other), and another content has another key. That is why nonces may count: under a
segment key no nonce is ever used for two plaintexts, whatever a source does between two attempts.

The nonces are the STREAM construction's (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", CRYPTO 2015, https://eprint.iacr.org/2015/189), as age and Tink use it: a chunk that is
moved, repeated, left out or taken from another file or another version of the file does not authenticate, and neither does a
file that ends early. The salts are part of the segments' names, and the file's manifest lists them under a MAC.

A file is up to 2**40 bytes, so a segment key encrypts at most a segment (32 MiB): far within what AES-GCM bears.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from codec.files.handle import FileAddress
from codec.files.layout import TAG_BYTES, Shape
from codec.keys.ring import KeyMaterial

SALT_BYTES = 16
MAC_BYTES = 32

_LAST, _MORE = b"\x01", b"\x00"


class ChunkInvalid(Exception):
    """A chunk does not authenticate; `chunk` is its index in the file. Whoever read it names the object."""

    def __init__(self, chunk: int) -> None:
        super().__init__(f"chunk {chunk} does not authenticate")
        self.chunk = chunk


class FileCipher:
    """All that is done with one file's key. Holds no other state; may be shared between threads."""

    def __init__(self, key: KeyMaterial, address: FileAddress, shape: Shape) -> None:
        self._key = key
        self.shape = shape
        identity = address.uri.encode()
        self._file = struct.pack(">I", len(identity)) + identity
        self._sizes = struct.pack(">II", shape.segment_bytes, shape.chunk_bytes)

    def salt(self, segment: int, digest: bytes, *, last: bool) -> bytes:
        """The name that a segment gets by all content up to its end, whose SHA-256 is `digest`."""
        return self._expand(b"tacit file salt", self._place(segment, last) + digest, SALT_BYTES)

    def seal(self, segment: int, salt: bytes, plain: memoryview, into: memoryview, *, last: bool) -> int:
        """Encrypt a segment's content chunk by chunk, and say how many bytes of `into` that took."""
        cipher = self._segment_cipher(segment, salt, last=last)
        chunk_bytes = self.shape.chunk_bytes
        first = segment * self.shape.chunks_per_segment
        count = max(1, -(-len(plain) // chunk_bytes))
        at = 0
        for number in range(count):
            chunk = plain[number * chunk_bytes : (number + 1) * chunk_bytes]
            nonce = _nonce(first + number, last=last and number == count - 1)
            end = at + len(chunk) + TAG_BYTES
            cipher.encrypt_into(nonce, chunk, None, into[at:end])
            at = end
        return at

    def open(
        self,
        segment: int,
        salt: bytes,
        first_chunk: int,
        stored: memoryview,
        into: memoryview,
        *,
        final_chunk: int | None,
    ) -> int:
        """Decrypt the chunks from `first_chunk` on that lie in `stored`, and say how many bytes of `into` that took.

        Chunks are counted through the whole file; `final_chunk` is its last one if that is in this segment, else None.

        Raises:
            ChunkInvalid: one of them is not what was sealed there. Nothing in `into` is to be trusted then.
        """
        cipher = self._segment_cipher(segment, salt, last=final_chunk is not None)
        step = self.shape.chunk_bytes + TAG_BYTES
        done = 0
        for number, at in enumerate(range(0, max(1, len(stored)), step), first_chunk):
            chunk = stored[at : at + step]
            if len(chunk) < TAG_BYTES:
                raise ChunkInvalid(number)
            end = done + len(chunk) - TAG_BYTES
            try:
                cipher.decrypt_into(_nonce(number, last=number == final_chunk), chunk, None, into[done:end])
            except InvalidTag:
                raise ChunkInvalid(number) from None
            done = end
        return done

    def mac(self, content: bytes) -> bytes:
        """What proves that a manifest was made by who has the file's key."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(content)
        return self._expand(b"tacit file manifest", digest.finalize(), MAC_BYTES)

    def _segment_cipher(self, segment: int, salt: bytes, *, last: bool) -> AESGCM:
        return AESGCM(self._expand(b"tacit file segment", self._place(segment, last) + salt, 32))

    def _place(self, segment: int, last: bool) -> bytes:
        return struct.pack(">Q", segment) + (_LAST if last else _MORE) + self._sizes

    def _expand(self, label: bytes, info: bytes, size: int) -> bytes:
        return HKDFExpand(hashes.SHA256(), size, label + b"\0" + self._file + info).derive(self._key.reveal())


def _nonce(chunk: int, *, last: bool) -> bytes:
    return chunk.to_bytes(11, "big") + (_LAST if last else _MORE)
