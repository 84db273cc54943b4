"""Several payload codecs as one."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec


class ChainCodec(PayloadCodec):
    """Codecs applied in the order given on encode, in the reverse order on decode.

    So compression comes before encryption: ``ChainCodec(CompressionCodec(), EncryptionCodec(keys))``.
    """

    def __init__(self, *codecs: PayloadCodec) -> None:
        self._codecs = codecs

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
