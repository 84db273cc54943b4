"""The two small objects beside a file's segments: what it is made of, and how its upload began.

Both are JSON, version 1; a reader refuses fields that it does not know, so every new one comes with a new version::

    manifest-<SHA-256 of this object>
        {"format": "tacit-file", "version": 1, "uri": …, "size": <bytes>, "segment-bytes": …, "chunk-bytes": …,
         "key": {"id": <key id>, "sealed": <base64>, "wrapped": <base64, where a key service has wrapped it>},
         "salts": <base64: 16 bytes for each segment>}
        and in a second line 64 hex digits: the MAC of the first under the file's key
    start-<16 random hex digits>
        the same without size and salts, "format": "tacit-file-start", and without a second line
    segment-<six digits>-<32 hex digits of its salt>
        the chunks, each with its tag (see `chunks`)

A handle names a manifest by its hash, a manifest its segments by their salts, and a salt stands for all content up to its
segment's end. So no object is ever replaced by another content: an attempt that was given up and still runs can harm
nothing, and an older version of a part cannot take its place.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import re
import secrets
from typing import Any

from codec.errors import InvalidFile
from codec.files.chunks import MAC_BYTES, SALT_BYTES, FileCipher
from codec.files.file_key import StoredKey, _bytes
from codec.files.handle import FILE_MAX_BYTES, FileAddress
from codec.files.layout import SEGMENTS_MAX, Layout, Shape

VERSION = 1
HEAD_MAX_BYTES = 32 * 1024
"""All of a manifest but its salts, and all of a start."""

MANIFEST_MAX_BYTES = HEAD_MAX_BYTES + 4 * -(-SEGMENTS_MAX * SALT_BYTES // 3) + 4

_FORMAT, _START_FORMAT = "tacit-file", "tacit-file-start"
_START = re.compile(r"start-[0-9a-f]{16}")
_MAC = re.compile(rb"[0-9a-f]{%d}" % (2 * MAC_BYTES))
_SEGMENT = re.compile(r"segment-([0-9]{6})-([0-9a-f]{32})")


@dataclasses.dataclass(frozen=True, repr=False)
class Start:
    """How an upload began: its key and sizes, for whoever goes on with it."""

    address: FileAddress
    shape: Shape
    key: StoredKey

    def to_bytes(self) -> bytes:
        """The object."""
        return _dump(_head(_START_FORMAT, self.address, self.shape, self.key))

    @classmethod
    def from_bytes(cls, content: bytes, address: FileAddress) -> Start:
        """Read an object that `to_bytes` made.

        Raises:
            InvalidFile: it is damaged, of another version, or another file's.
        """
        where = f"The start of {address.uri}"
        return cls(*_read_head(_parse(content, where), _START_FORMAT, address, set(), where))


@dataclasses.dataclass(frozen=True, repr=False)
class Manifest:
    """What a whole file is made of."""

    address: FileAddress
    layout: Layout
    key: StoredKey
    salts: tuple[bytes, ...]

    def to_bytes(self, cipher: FileCipher) -> bytes:
        """The object, proved by the file's key."""
        head = _head(_FORMAT, self.address, self.layout.shape, self.key)
        body = _dump(
            head | {"size": self.layout.size, "salts": base64.b64encode(b"".join(self.salts)).decode()}
        )
        return body + b"\n" + cipher.mac(body).hex().encode()

    @classmethod
    def from_bytes(cls, content: bytes, address: FileAddress) -> Manifest:
        """Read an object that `to_bytes` made; `verify` then proves it, once the file's key is at hand.

        Raises:
            InvalidFile: it is damaged, of another version, or another file's.
        """
        where = f"The manifest of {address.uri}"
        document = _parse(content.rpartition(b"\n")[0], where)
        _, shape, key = _read_head(document, _FORMAT, address, {"size", "salts"}, where)
        size = document["size"]
        if type(size) is not int or not 0 <= size <= FILE_MAX_BYTES:
            raise InvalidFile(f"{where} is malformed: it has no size that a file may have.")
        layout = Layout(size, shape)
        total = layout.segments * SALT_BYTES
        salts = _bytes(document["salts"], total, total, where)
        return cls(
            address,
            layout,
            key,
            tuple(salts[at : at + SALT_BYTES] for at in range(0, total, SALT_BYTES)),
        )

    def verify(self, content: bytes, cipher: FileCipher) -> None:
        """Raise unless who made `content`, the object, had the file's key.

        Raises:
            InvalidFile: it was altered.
        """
        body, _, mac = content.rpartition(b"\n")
        if len(mac) != 2 * MAC_BYTES or not hmac.compare_digest(cipher.mac(body).hex().encode(), mac):
            raise InvalidFile(f"The manifest of {self.address.uri} does not authenticate: it was altered.")


def is_description(content: bytes) -> bool:
    """Whether an object, by its whole content, is the manifest or the start of an encrypted file.

    Such an object is readable and holds no word of a user's: where its parts are, how large they are, and a sealed key.
    """
    body, _, mac = content.partition(b"\n")
    try:
        document = _parse(body, "An object")
        address = FileAddress.parse(str(document.get("uri")))
        if document.get("format") == _START_FORMAT:
            return not mac and Start.from_bytes(body, address).key.bare is None
        return _MAC.fullmatch(mac) is not None and Manifest.from_bytes(content, address).key.bare is None
    except InvalidFile:
        return False


def manifest_path(address: FileAddress, digest: str) -> str:
    """Where the manifest with that SHA-256 (64 hex digits) is."""
    return f"{address.prefix}/manifest-{digest}"


def manifest_digest(content: bytes) -> str:
    """The name that a manifest has by its content."""
    return hashlib.sha256(content).hexdigest()


def fresh_start_path(address: FileAddress) -> str:
    """A name for a start that no other has."""
    return f"{address.prefix}/start-{secrets.token_hex(8)}"


def segment_path(address: FileAddress, segment: int, salt: bytes) -> str:
    """Where a segment's object is."""
    return f"{address.prefix}/segment-{segment:06d}-{salt.hex()}"


def is_start(name: str) -> bool:
    """Whether an object of a file, by the last part of its path, is a start."""
    return _START.fullmatch(name) is not None


def is_segment(name: str) -> bool:
    """Whether an object of a file, by the last part of its path, is a segment."""
    return _SEGMENT.fullmatch(name) is not None


def _head(form: str, address: FileAddress, shape: Shape, key: StoredKey) -> dict[str, Any]:
    return {
        "format": form,
        "version": VERSION,
        "uri": address.uri,
        "segment-bytes": shape.segment_bytes,
        "chunk-bytes": shape.chunk_bytes,
        "key": key.to_document(),
    }


def _read_head(
    document: dict[str, Any], form: str, address: FileAddress, more: set[str], where: str
) -> tuple[FileAddress, Shape, StoredKey]:
    if document.get("format") != form:
        raise InvalidFile(f"{where} is malformed: altered, or another program's.")
    if document.get("version") != VERSION:
        raise InvalidFile(
            f"{where} has the version {str(document.get('version'))[:20]!r}, and this Tacit reads {VERSION}: "
            "it was altered, or written by a newer Tacit."
        )
    if set(document) != {"format", "version", "uri", "segment-bytes", "chunk-bytes", "key"} | more:
        raise InvalidFile(f"{where} is malformed: it has other fields than this Tacit knows.")
    if document["uri"] != address.uri:
        raise InvalidFile(f"{where} is another file's: the store was altered.")
    sizes = document["segment-bytes"], document["chunk-bytes"]
    if not all(type(size) is int for size in sizes):
        raise InvalidFile(f"{where} is malformed: its sizes are not whole numbers.")
    return address, Shape(*sizes), StoredKey.from_document(document["key"], where=where)


def _parse(content: bytes, where: str) -> dict[str, Any]:
    if len(content) <= MANIFEST_MAX_BYTES:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            return document
    raise InvalidFile(f"{where} is cut or damaged: it is not valid JSON.")


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
