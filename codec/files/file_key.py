"""A file's own key, and how it is kept: wrapped by a key of the profile, beside the file's parts.

256 random bits per file, encrypted with XAES-256-GCM under the profile's key, whose id is written beside it::

    sealed = nonce (24 bytes) | ciphertext and tag of the file's key
    associated data: "tacit file key\\0", then version, key id, binding and the file's URI, each with its length (4 bytes,
                     big-endian) before it

So whoever destroys the profile's key makes its files unreadable with its payloads. With encryption off the key lies bare
beside the file: the tags of the chunks are then checksums, and who reads the store reads the file. A bare key is never
taken for an upload that is to be encrypted.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import secrets
import struct
from typing import Any

from cryptography.exceptions import InvalidTag

from codec.encryption.xaes256gcm import KEY_BYTES, NONCE_BYTES, TAG_BYTES, XAES256GCM, fresh_nonce
from codec.errors import InvalidFile, PlaintextRefused
from codec.files.handle import FileAddress
from codec.keys.provider import DataKey, Keys, Scope
from codec.keys.ring import KeyMaterial

KEY_ID_CHARACTERS_MAX = 2048
"""Key services have long names for their keys."""

WRAPPED_MAX_BYTES = 16 * 1024
_VERSION = b"\x01"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class StoredKey:
    """A file's key as it lies in the store: `sealed` under the key `key_id`, or `bare`."""

    key_id: str = ""
    wrapped: bytes | None = None
    sealed: bytes = b""
    bare: KeyMaterial | None = None

    def to_document(self) -> dict[str, str]:
        """As it stands in JSON."""
        if self.bare is not None:
            return {"bare": _base64(self.bare.reveal())}
        document = {"id": self.key_id, "sealed": _base64(self.sealed)}
        return document if self.wrapped is None else document | {"wrapped": _base64(self.wrapped)}

    @classmethod
    def from_document(cls, document: Any, *, where: str) -> StoredKey:
        """Read what `to_document` wrote.

        Raises:
            InvalidFile: it is malformed.
        """
        match document:
            case {"bare": str() as bare, **more} if not more and len(bare) == len(_base64(bytes(KEY_BYTES))):
                return cls(bare=KeyMaterial(_bytes(bare, KEY_BYTES, KEY_BYTES, where)))
            case {"id": str() as key_id, "sealed": str() as sealed, **more} if (
                not set(more) - {"wrapped"} and 0 < len(key_id) <= KEY_ID_CHARACTERS_MAX
            ):
                size = NONCE_BYTES + KEY_BYTES + TAG_BYTES
                wrapped = more.get("wrapped")
                return cls(
                    key_id=key_id,
                    sealed=_bytes(sealed, size, size, where),
                    wrapped=None if wrapped is None else _bytes(wrapped, 1, WRAPPED_MAX_BYTES, where),
                )
        raise InvalidFile(f"{where} is malformed: its key is not as Tacit writes it.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileKeys:
    """The profile's keys, as far as files need them; `keys` is None where encryption is off.

    `binding` replaces the keys' own; `refuse_plaintext` refuses files whose key lies bare.
    """

    keys: Keys | None
    binding: str | None = None
    refuse_plaintext: bool = False

    async def make(self, address: FileAddress, scope: Scope) -> tuple[KeyMaterial, StoredKey]:
        """A new key for a file, and how to keep it.

        Raises:
            CodecError: the key to wrap it with cannot be had.
        """
        material = KeyMaterial(secrets.token_bytes(KEY_BYTES))
        if self.keys is None:
            return material, StoredKey(bare=material)
        key = await _sealing(self.keys, scope)
        nonce = fresh_nonce()
        sealed = _cipher(key).encrypt(nonce, material.reveal(), self._associated(key, address))
        return material, StoredKey(key_id=key.id, wrapped=key.wrapped, sealed=nonce + sealed)

    async def open(self, stored: StoredKey, address: FileAddress, scope: Scope) -> KeyMaterial:
        """The file's key.

        Raises:
            MissingKey: the key that it is wrapped with is not here; the error names it.
            DisabledKey: it is, and must not be used.
            PlaintextRefused: it is not wrapped at all, and `refuse_plaintext` is set.
            InvalidFile: it does not authenticate.
        """
        if stored.bare is not None:
            if self.refuse_plaintext:
                raise PlaintextRefused(
                    f"{address.uri} is not encrypted, but refuse-plaintext is set. Whoever wrote it needs encryption on; or "
                    "clear refuse-plaintext until none are left."
                )
            return stored.bare
        if self.keys is None:
            raise InvalidFile(
                f"{address.uri} is encrypted with key {stored.key_id!r}, and this profile has encryption off: open it with "
                "the profile that has the keys."
            )
        key = self.keys.opening(stored.key_id, stored.wrapped, scope)
        if key is None:
            key = await self.keys.fetch_opening(stored.key_id, stored.wrapped, scope)
        nonce, sealed = stored.sealed[:NONCE_BYTES], stored.sealed[NONCE_BYTES:]
        try:
            return KeyMaterial(_cipher(key).decrypt(nonce, sealed, self._associated(key, address)))
        except InvalidTag:
            raise InvalidFile(
                f"The key of {address.uri} could not be authenticated with key {stored.key_id!r} and this profile's binding: "
                "it was altered, or written under another binding or another key of that id."
            ) from None

    async def may_continue(self, stored: StoredKey, scope: Scope) -> bool:
        """Whether an upload that was begun with that key may go on with it.

        Only as a new file would be made: wrapped by the key that is active now, and bare only if all are. Else the store
        could choose the key, and a key that was taken out of use would get new content.

        Raises:
            CodecError: the active key cannot be had.
        """
        if stored.bare is not None or self.keys is None:
            return stored.bare is not None and self.keys is None
        return stored.key_id == (await _sealing(self.keys, scope)).id

    def _associated(self, key: DataKey, address: FileAddress) -> bytes:
        parts = (_VERSION, key.id.encode(), (self.binding or key.binding).encode(), address.uri.encode())
        return b"tacit file key\0" + b"".join(struct.pack(">I", len(part)) + part for part in parts)


async def _sealing(keys: Keys, scope: Scope) -> DataKey:
    key = keys.sealing(scope, KEY_BYTES)
    return key if key is not None else await keys.fetch_sealing(scope, KEY_BYTES)


def _cipher(key: DataKey) -> XAES256GCM:
    return XAES256GCM(key.material.reveal())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: Any, least: int, most: int, where: str) -> bytes:
    """What base64 stands for, its length checked before it is decoded."""
    if isinstance(text, str) and len(text) <= 4 * -(-most // 3):
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            content = b""
        if least <= len(content) <= most:
            return content
    raise InvalidFile(f"{where} is malformed: a part is not base64 of the right length.")
