"""How a subject's key is written: a record in the store, sealed under the key ring's (or key service's) key.

Format (JSON, version 1)::

    {"format": "tacit-subject-key", "version": 1, "id": "<32 hex digits>", "generation": 1, "state": "live",
     "created": "2026-11-24T09:00:00Z", "sealed-by": "<key id>", "dek": "<as in encryption-dek, or absent>",
     "box": "<base64 of nonce (24 bytes) | XAES-256-GCM of {"subject": …, "key": base64 of 32 bytes}>"}

    {"format": "tacit-subject-key", "version": 1, "id": "<32 hex digits>", "generation": 1, "state": "forgotten",
     "forgotten": "2026-11-25T09:00:00Z", "admits": false}

The box's associated data is "tacit subject key\\0", then version, id, generation, binding and the sealing key's id, each with
its length before it (4 bytes, big-endian): a record that was altered, or put in another's place, opens as an error.

It may grow by another version; readers refuse those they do not know.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import struct
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidTag

from codec.encryption.xaes256gcm import NONCE_BYTES, XAES256GCM, fresh_nonce
from codec.errors import KeyRingError
from codec.keys.provider import DataKey
from codec.keys.ring import KeyMaterial

FORMAT = "tacit-subject-key"
VERSION = 1
RECORD_MAX_BYTES = 64 * 1024
INDEX = re.compile(r"[0-9a-f]{32}")
GENERATION_MAX = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiveRecord:
    """A subject's key, sealed."""

    index: str
    generation: int
    created: datetime
    sealed_by: str
    dek: bytes | None
    box: bytes = dataclasses.field(repr=False)

    def to_json(self) -> bytes:
        """The record as the store holds it."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "id": self.index,
            "generation": self.generation,
            "state": "live",
            "created": _written(self.created),
            "sealed-by": self.sealed_by,
            "box": base64.b64encode(self.box).decode(),
        }
        if self.dek is not None:
            document["dek"] = self.dek.decode("ascii")
        return json.dumps(document).encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForgottenRecord:
    """What is left of a subject that was forgotten. `admits`: new data of the subject gets a new key."""

    index: str
    generation: int
    forgotten: datetime
    admits: bool

    def to_json(self) -> bytes:
        """The record as the store holds it."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "id": self.index,
            "generation": self.generation,
            "state": "forgotten",
            "forgotten": _written(self.forgotten),
            "admits": self.admits,
        }
        return json.dumps(document).encode()


Record = LiveRecord | ForgottenRecord


def seal_record(
    subject: str, material: KeyMaterial, *, index: str, generation: int, created: datetime, key: DataKey
) -> LiveRecord:
    """A record of a subject's key, sealed under `key`."""
    content = {"subject": subject, "key": base64.b64encode(material.reveal()).decode()}
    nonce = fresh_nonce()
    associated = _associated(index, generation, key)
    sealed = XAES256GCM(key.material.reveal()).encrypt(nonce, json.dumps(content).encode(), associated)
    return LiveRecord(
        index=index,
        generation=generation,
        created=created,
        sealed_by=key.id,
        dek=key.wrapped,
        box=nonce + sealed,
    )


def open_record(record: LiveRecord, key: DataKey, *, place: str) -> tuple[str, KeyMaterial]:
    """The subject and its key.

    Raises:
        KeyRingError: the record was altered, or belongs elsewhere.
    """
    nonce, sealed = record.box[:NONCE_BYTES], record.box[NONCE_BYTES:]
    try:
        plain = XAES256GCM(key.material.reveal()).decrypt(
            nonce, sealed, _associated(record.index, record.generation, key)
        )
        content = json.loads(plain)
        return str(content["subject"]), KeyMaterial(base64.b64decode(content["key"], validate=True))
    except (InvalidTag, ValueError, KeyError, TypeError):
        raise KeyRingError(
            f"The key of a subject, {place}, can't be opened with key {key.id!r} and this binding: it was altered, cut, or "
            "sealed under another binding. Put it back from a copy of the store."
        ) from None


def record_from_json(content: bytes, *, index: str, place: str) -> Record:
    """Read what `to_json` wrote.

    Raises:
        KeyRingError: cut, garbage, of another version, or another subject's.
    """
    try:
        return _record(json.loads(content), index, place)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeyRingError(
            f"{place} is no record of a subject's key: it is cut or damaged. Put it back from a copy of the store."
        ) from None


def _record(document: Any, index: str, place: str) -> Record:
    if document["format"] != FORMAT or document["id"] != index:
        raise ValueError("not ours, or another's")
    if document["version"] != VERSION or type(document["version"]) is not int:
        raise KeyRingError(
            f"{place} has format version {str(document['version'])[:20]}, this Tacit reads {VERSION}. Use a newer Tacit."
        )
    generation, state = document["generation"], document["state"]
    if (
        type(generation) is not int
        or not 0 < generation <= GENERATION_MAX
        or state not in ("live", "forgotten")
    ):
        raise ValueError("of no generation or state")
    if state == "forgotten":
        return ForgottenRecord(
            index=index,
            generation=generation,
            forgotten=_read(document["forgotten"]),
            admits=document["admits"] is True,
        )
    dek = document.get("dek")
    return LiveRecord(
        index=index,
        generation=generation,
        created=_read(document["created"]),
        sealed_by=str(document["sealed-by"]),
        dek=None if dek is None else str(dek).encode("ascii"),
        box=base64.b64decode(document["box"], validate=True),
    )


def _associated(index: str, generation: int, key: DataKey) -> bytes:
    parts = [
        bytes([VERSION]),
        index.encode(),
        str(generation).encode(),
        key.binding.encode(),
        key.id.encode(),
    ]
    return b"tacit subject key\0" + b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read(text: Any) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("without a time zone")
    return time
