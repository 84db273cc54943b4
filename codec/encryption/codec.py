"""Encryption of payloads, as a `PayloadCodec` for any Temporal client or worker.

The formats stand at the heads of `tacit_format.py` and `samples_format.py`; whose payload it is, in `owner.py`.
"""

from __future__ import annotations

import asyncio
import enum
import weakref
from collections.abc import Sequence
from typing import Self

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, SerializationContext, WithSerializationContext

from codec.encryption.message_bound import MessageBound
from codec.encryption.owner import Owner, owner_of, parent_of, scope_of
from codec.encryption.samples_format import ENCODING as SAMPLES_ENCODING
from codec.encryption.samples_format import NONCE_BYTES, TAG_BYTES, open_samples, seal_as_samples
from codec.encryption.tacit_format import (
    BOUND,
    ENCODING,
    KEY_ID_FIELD,
    OWNER_FIELD,
    WRAPPED_KEY_FIELD,
    BoundCipher,
    Sealer,
    flags_of,
)
from codec.encryption.wire import parse
from codec.errors import InvalidPayload, PlaintextRefused, UnboundRefused
from codec.keys.provider import ANYONE, DataKey, FixedKeys, Keys
from codec.keys.ring import KeyRing
from codec.turns import Turn

CIPHERTEXT_BYTES_MIN = NONCE_BYTES + TAG_BYTES
"""What the shorter format of the two has around nothing."""

TURN_BYTES = 2 * 1024 * 1024
"""What one call does on the event loop: a millisecond or so. What is more is done in a thread (the cipher releases the
interpreter's lock); for less the hand-over costs more than it saves."""

ENCRYPTED_ENCODINGS = frozenset({ENCODING, SAMPLES_ENCODING})
"""What an encrypted payload says of itself."""


class WriteFormat(enum.StrEnum):
    """The format that new payloads are written in. Both are read, always."""

    TACIT = "tacit"
    SAMPLES = "samples"


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts every payload with the ring's active key, and decrypts what the ring has keys for.

    What is not encrypted passes through on decode, as Temporal asks of a codec, unless `refuse_plaintext`:
    then a server that slips in a payload of its own making is found out. Set it once nothing unencrypted is
    left.

    With `bind_workflow` each payload is bound to the workflow (or whatever else) that the SDK says it belongs to.
    Whoever reads it in a place where Temporal does not bring that workflow's payloads gets an error, whether the
    reader binds what it writes or not. Where the SDK says nothing (what the CLI sends, activities that are completed
    by their token), payloads are written unbound; `refuse_unbound` refuses such payloads wherever the SDK does say.
    """

    def __init__(
        self,
        keys: Keys | KeyRing,
        *,
        binding: str | None = None,
        write_format: WriteFormat = WriteFormat.TACIT,
        refuse_plaintext: bool = False,
        bind_workflow: bool = False,
        refuse_unbound: bool = False,
        padding: bool = False,
        message_bound: MessageBound | None = None,
    ) -> None:
        """`binding` replaces the ring's own, for payloads that were written under another. `message_bound` counts what is
        written in the samples' format; without it this process's payloads are counted, from zero.

        Raises:
            ValueError: the samples' format is to be bound or padded, which it has no room for.
        """
        if write_format is WriteFormat.SAMPLES and (bind_workflow or refuse_unbound or padding):
            raise ValueError(
                "The samples' format can be neither bound to workflows nor padded: "
                'choose write-format "tacit", or leave bind-workflow, refuse-unbound and padding off.'
            )
        self._keys: Keys = FixedKeys(keys) if isinstance(keys, KeyRing) else keys
        self._binding = binding
        self._write_format = write_format
        self._refuse_plaintext = refuse_plaintext
        self._bind_workflow = bind_workflow
        self._refuse_unbound = refuse_unbound
        self._padding = padding
        self._message_bound = message_bound or MessageBound()
        # Whose payloads they are; a codec that the SDK has not told serves all.
        self._owner: Owner | None = None
        self._parent: Owner | None = None
        self._scope = ANYONE
        self._ciphers: weakref.WeakKeyDictionary[DataKey, BoundCipher] = weakref.WeakKeyDictionary()

    def with_context(self, context: SerializationContext) -> Self:
        """The same codec for the payloads of `context`; keys and ciphers are shared."""
        told = self.__class__.__new__(self.__class__)
        told.__dict__.update(
            self.__dict__, _owner=owner_of(context), _parent=parent_of(context), _scope=scope_of(context)
        )
        return told

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload encrypted, in the same order.

        Raises:
            MessageBoundReached: the key has encrypted as much as the samples' format allows.
        """
        turn = Turn(TURN_BYTES, each=16_384)
        sealed: list[Payload] = []
        for payload in payloads:
            # Most keys are at hand and most payloads small: then nothing waits, and no coroutine is made for each.
            done = self._seal_now(payload, turn)
            sealed.append(await self._seal(payload, turn) if done is None else done)
        return sealed

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload decrypted, in the same order; what is not encrypted as it came.

        Raises:
            MissingKey: a key is not in the ring; the error names it.
            DisabledKey: a key was disabled.
            InvalidPayload: a payload does not authenticate.
            MovedPayload: a payload is bound to another workflow than this one.
            UnboundRefused: a payload is bound to none, and `refuse_unbound` is set.
            PlaintextRefused: a payload is not encrypted, and `refuse_plaintext` is set.
        """
        turn = Turn(TURN_BYTES, each=16_384)
        decoded: list[Payload] = []
        for payload in payloads:
            encoding = payload.metadata.get("encoding", b"")
            if encoding == ENCODING:
                done = self._open_now(payload, turn)
                decoded.append(await self._open(payload, turn) if done is None else done)
            elif encoding == SAMPLES_ENCODING:
                decoded.append(await self._open_samples(payload, turn))
            elif self._refuse_plaintext:
                raise PlaintextRefused(
                    f"A payload with the encoding {_shown(encoding)} is not encrypted, but refuse-plaintext is "
                    "set. Whoever sent it needs the codec; or clear refuse-plaintext until none are left."
                )
            else:
                decoded.append(payload)
        return decoded

    def _seal_now(self, payload: Payload, turn: Turn) -> Payload | None:
        """The payload encrypted, or None where that takes a thread, a key that is to be fetched, or a count of messages."""
        data = payload.data
        size = len(data)
        if self._write_format is not WriteFormat.TACIT or not turn.has_room(size):
            return None
        key = self._keys.sealing(self._scope, size)
        if key is None:
            return None
        turn.take(size)
        sealed = self._sealer(key).seal(payload, data)
        # Before as much memory is asked for again.
        del data
        return parse(sealed)

    def _open_now(self, payload: Payload, turn: Turn) -> Payload | None:
        """The payload decrypted, or None where that takes a thread or a key that is to be fetched."""
        key_id, data = _key_id(payload), payload.data
        if not turn.has_room(len(data)):
            return None
        flags, owner = self._checked(payload, data)
        key = self._keys.opening(key_id, payload.metadata.get(WRAPPED_KEY_FIELD), self._scope)
        if key is None:
            return None
        turn.take(len(data))
        opened = self._cipher(key).open(data, flags, owner)
        del data
        return parse(opened)

    async def _seal(self, payload: Payload, turn: Turn) -> Payload:
        data = payload.data
        # Near enough for keys that count and for threads; asking protobuf for the whole size would serialize it all.
        size = len(data)
        key = self._keys.sealing(self._scope, size)
        if key is None:
            key = await self._keys.fetch_sealing(self._scope, size)
        if self._write_format is WriteFormat.SAMPLES:
            # Data keys of a key service end by that service's own bounds long before.
            while key.wrapped is None and not self._message_bound.take(key.id):
                await asyncio.to_thread(self._message_bound.reserve, key.id, one_of_many=key.of_subject)
            return await turn.run(size, seal_as_samples, key, payload)
        sealer = self._sealer(key)
        if turn.take(size):
            sealed = sealer.seal(payload, data)
            # Before as much memory is asked for again.
            del data
            return parse(sealed)
        return await asyncio.to_thread(lambda: parse(sealer.seal(payload, data)))

    async def _open(self, payload: Payload, turn: Turn) -> Payload:
        key_id, data = _key_id(payload), payload.data
        flags, owner = self._checked(payload, data)
        cipher = self._cipher(await self._opening_key(key_id, payload))
        if turn.take(len(data)):
            opened = cipher.open(data, flags, owner)
            del data
            return parse(opened)
        return await asyncio.to_thread(lambda: parse(cipher.open(data, flags, owner)))

    async def _open_samples(self, payload: Payload, turn: Turn) -> Payload:
        self._check_unbound()
        key, data = await self._opening_key(_key_id(payload), payload), payload.data
        return await turn.run(len(data), open_samples, key, data)

    def _checked(self, payload: Payload, data: bytes) -> tuple[int, bytes]:
        """A payload's flags and owner, if it may be read here."""
        flags = flags_of(data)
        if not flags & BOUND:
            self._check_unbound()
            return flags, b""
        owner = payload.metadata.get(OWNER_FIELD, b"")
        Owner.from_bytes(owner).check(self._owner, self._parent)
        return flags, owner

    def _check_unbound(self) -> None:
        if self._refuse_unbound and self._owner is not None:
            raise UnboundRefused(
                f"A payload for {self._owner} is bound to no workflow, but refuse-unbound is set. Whoever sent it "
                "needs bind-workflow; or clear refuse-unbound until none are left."
            )

    async def _opening_key(self, key_id: str, payload: Payload) -> DataKey:
        wrapped = payload.metadata.get(WRAPPED_KEY_FIELD)
        key = self._keys.opening(key_id, wrapped, self._scope)
        return key if key is not None else await self._keys.fetch_opening(key_id, wrapped, self._scope)

    def _sealer(self, key: DataKey) -> Sealer:
        return self._cipher(key).sealer(self._owner if self._bind_workflow else None, padded=self._padding)

    def _cipher(self, key: DataKey) -> BoundCipher:
        """The key's cipher, worked out once."""
        known = self._ciphers.get(key)
        if known is None:
            known = self._ciphers[key] = BoundCipher(key, self._binding or key.binding)
        return known


def is_encrypted(payload: Payload) -> bool:
    """Whether a payload claims one of the two encrypted encodings; says nothing of whether it decrypts."""
    return payload.metadata.get("encoding", b"") in ENCRYPTED_ENCODINGS


def _key_id(payload: Payload) -> str:
    raw = payload.metadata.get(KEY_ID_FIELD)
    if not raw:
        raise InvalidPayload("The payload says that it is encrypted but names no key (encryption-key-id).")
    # Whatever stands there is only looked up and shown; an id that no key can have ends as a missing key.
    return raw[:512].decode(errors="replace")


def _shown(encoding: bytes) -> str:
    return repr(encoding[:80].decode(errors="replace"))
