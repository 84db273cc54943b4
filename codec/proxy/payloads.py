"""The chain of one namespace: what its codecs and its object store make of payloads, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, SerializationContext, WithSerializationContext

from codec.decode_bound import DECODE_BYTES_MAX
from codec.encryption.codec import CIPHERTEXT_BYTES_MIN, ENCRYPTED_ENCODINGS
from codec.encryption.tacit_format import KEY_ID_FIELD
from codec.errors import OffloadError
from codec.proxy.offload import Offload
from codec.storage.sdk_references import MARKER, is_marked, is_reference, read

SLICE = 64
"""So many payloads are worked on before others get a turn of the event loop: a millisecond or so."""


class PayloadChain:
    """Codecs and, behind them, the object store. `encrypts`: the codecs encrypt, so nothing readable may leave. `asks`: it
    matters to them whose payloads they are, so they are to be told. `decode_bytes_max`: what all payloads of one message may
    become together (`codec.decode_bound`)."""

    def __init__(
        self,
        codec: PayloadCodec | None,
        offload: Offload | None,
        *,
        encrypts: bool,
        asks: bool = False,
        decode_bytes_max: int = DECODE_BYTES_MAX,
    ) -> None:
        self._codec = codec
        self._offload = offload
        self.encrypts = encrypts
        self.asks = asks
        self.decode_bytes_max = decode_bytes_max

    def told(self, context: SerializationContext | None) -> PayloadChain:
        """The chain for payloads of `context`."""
        codec: Any = self._codec
        if context is None or not isinstance(codec, WithSerializationContext):
            return self
        told: Any = codec.with_context(context)
        return PayloadChain(
            told,
            self._offload,
            encrypts=self.encrypts,
            asks=self.asks,
            decode_bytes_max=self.decode_bytes_max,
        )

    @property
    def offloads(self) -> bool:
        """Whether large payloads leave the message."""
        return self._offload is not None

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload as it goes to the service; one that a worker's own codec has encrypted already goes as it is.

        Raises:
            CodecError: a key or the object store can't be had.
        """
        encoded = list(payloads)
        if self._codec is not None:
            await _replace(encoded, [not is_sealed(payload) for payload in payloads], self._codec.encode)
        return await self._offload.store(encoded) if self._offload is not None else encoded

    async def decode(self, payloads: Sequence[Payload], key_ids: set[bytes] | None = None) -> list[Payload]:
        """Each payload as the worker wrote it. To `key_ids` are added the ids of keys that they name, those in the store too.

        Raises:
            CodecError: a payload can't be decoded, or a key or an object can't be had.
        """
        decoded = await self._opened_references(payloads)
        if self._offload is not None:
            decoded = await self._offload.retrieve(decoded)
        if key_ids is not None:
            for some in (payloads,) if self._offload is None else (payloads, decoded):
                key_ids.update(payload.metadata.get(KEY_ID_FIELD, b"") for payload in some)
        if self._codec is None:
            return decoded
        # A reference that another driver is to follow is no payload to decode yet.
        await _replace(decoded, [read(payload) is None for payload in decoded], self._codec.decode)
        return decoded

    async def _opened_references(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads, with references that an SDK has put through its codecs as they were before that."""
        opened = list(payloads)
        marked = [index for index, payload in enumerate(opened) if is_marked(payload)]
        if self._codec is None or not marked:
            return opened
        sealed = []
        for index in marked:
            bare = Payload()
            bare.CopyFrom(opened[index])
            del bare.metadata[MARKER]
            del bare.external_payloads[:]
            sealed.append(bare)
        await _replace(sealed, [True] * len(sealed), self._codec.decode)
        for index, reference in zip(marked, sealed, strict=True):
            if read(reference) is None:
                raise OffloadError(
                    "A payload is marked as an encoded reference to a stored one, and holds none: altered, or another program's."
                )
            if not reference.external_payloads:
                reference.external_payloads.extend(opened[index].external_payloads)
            opened[index] = reference
        return opened


def is_sealed(payload: Payload) -> bool:
    """Whether a payload is ciphertext, or a reference to what is stored, by its looks."""
    encoding = payload.metadata.get("encoding")
    if encoding in ENCRYPTED_ENCODINGS:
        return len(payload.data) >= CIPHERTEXT_BYTES_MIN
    return is_reference(payload)


async def _replace(
    payloads: list[Payload],
    concerned: Sequence[bool],
    work: Callable[[Sequence[Payload]], Awaitable[list[Payload]]],
) -> None:
    """Put what `work` makes of them in place of those of the payloads that are `concerned`."""
    if len(payloads) <= SLICE and all(concerned):
        done = await work(payloads)
        if len(done) != len(payloads):
            raise ValueError(f"a codec made {len(done)} payloads of {len(payloads)}")
        payloads[:] = done
        return
    indices = [index for index, is_concerned in enumerate(concerned) if is_concerned]
    for start in range(0, len(indices), SLICE):
        slice_ = indices[start : start + SLICE]
        for index, payload in zip(slice_, await work([payloads[index] for index in slice_]), strict=True):
            payloads[index] = payload
        if len(indices) > SLICE:
            await asyncio.sleep(0)
