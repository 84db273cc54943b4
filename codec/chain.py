"""Several payload codecs as one."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, SerializationContext, WithSerializationContext


class ChainCodec(PayloadCodec, WithSerializationContext):
    """Codecs applied in the order given on encode, in the reverse order on decode.

    So compression comes before encryption: ``ChainCodec(CompressionCodec(), EncryptionCodec(keys))``. What the SDK
    says of whose payloads they are goes to every codec that asks for it.
    """

    def __init__(self, *codecs: PayloadCodec) -> None:
        self._codecs = codecs

    def with_context(self, context: SerializationContext) -> ChainCodec:
        """The chain for the payloads of `context`; the same one if none of its codecs cares."""
        codecs = tuple(
            codec.with_context(context) if isinstance(codec, WithSerializationContext) else codec
            for codec in self._codecs
        )
        unchanged = all(new is old for new, old in zip(codecs, self._codecs, strict=True))
        return self if unchanged else ChainCodec(*codecs)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads through all codecs, first to last."""
        encoded = list(payloads)
        for codec in self._codecs:
            encoded = await codec.encode(encoded)
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads through all codecs, last to first."""
        decoded = list(payloads)
        for codec in reversed(self._codecs):
            decoded = await codec.decode(decoded)
        return decoded
