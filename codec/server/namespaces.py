"""One namespace's codecs and object store, over payloads: encode, decode, download, each within bounds.

Payloads are worked on one after the other, so that what is decoded is counted before the next one is begun. What is no
payload of the codecs passes through unchanged.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import structlog
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import (
    ExternalStorage,
    PayloadCodec,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
)

from codec.encryption.tacit_format import KEY_ID_FIELD
from codec.errors import (
    CodecError,
    KeyRingError,
    KeyServiceError,
    ObjectCorrupt,
    ObjectMissing,
    OffloadError,
)
from codec.server.allowances import Bounds
from codec.server.protocol import Refusal
from codec.storage.sdk_references import is_marked, read, write

_log = structlog.get_logger(__name__)

KEY_IDS_MAX = 16
KEY_ID_CHARS_MAX = 512
PAYLOADS_PER_TURN = 32
"""Small payloads that are worked on before others on the event loop have their turn."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Worked:
    """What became of a request's payloads, for the answer and for the audit line."""

    payloads: list[Payload] = dataclasses.field(default_factory=list, repr=False)
    size: int = 0
    fetched: int = 0
    stored: int = 0
    key_ids: dict[str, None] = dataclasses.field(default_factory=dict)

    def note_key(self, payload: Payload) -> None:
        """Remember the id of the key that `payload` names."""
        raw = payload.metadata.get(KEY_ID_FIELD)
        if raw and len(self.key_ids) < KEY_IDS_MAX:
            self.key_ids[raw[:KEY_ID_CHARS_MAX].decode(errors="replace")] = None


class NamespaceCodec:
    """What one namespace's payloads go through: the profile's codecs, then its object store."""

    def __init__(
        self, *, codec: PayloadCodec | None, storage: ExternalStorage | None, bounds: Bounds | None = None
    ) -> None:
        self._codec = codec
        self._storage = storage
        self._bounds = bounds or Bounds()

    async def encode(self, payloads: Sequence[Payload], worked: Worked) -> None:
        """Each payload as a client would send it: through the codecs, and into the store where it is large.

        Raises:
            Refusal: a codec or the store refuses.
        """
        for number, payload in enumerate(payloads):
            await _give_way(number)
            encoded = await self._through_codec(payload, encode=True)
            worked.note_key(encoded)
            driver = self._driver_for(encoded)
            if driver is not None:
                encoded = await _stored(driver, encoded)
                worked.stored += 1
            self._add(encoded, worked)

    async def decode(self, payloads: Sequence[Payload], worked: Worked, *, keep_references: bool) -> None:
        """Each payload as the application knows it; of stored ones the reference, if that is to be kept.

        Raises:
            Refusal: a payload can't be decoded or fetched, or is too large.
        """
        budget = self._bounds.fetched_request_bytes_max
        for number, payload in enumerate(payloads):
            await _give_way(number)
            worked.note_key(payload)
            if is_marked(payload):
                payload = await self._through_codec(payload, encode=False)
            reference = read(payload)
            if reference is None:
                self._add(await self._through_codec(payload, encode=False), worked)
            elif keep_references:
                self._add(payload, worked)
            else:
                fetched = await self._fetch(payload, reference, budget)
                budget -= fetched.ByteSize()
                worked.fetched += 1
                worked.note_key(fetched)
                self._add(await self._through_codec(fetched, encode=False), worked)

    async def download(self, payloads: Sequence[Payload], worked: Worked) -> None:
        """What the references stand for, fetched and decoded.

        Raises:
            Refusal: one is no reference, or can't be fetched or decoded, or is too large.
        """
        if not all(is_marked(p) or read(p) is not None for p in payloads):
            raise Refusal(
                400,
                "Only references to stored payloads can be downloaded; decode the others.",
                "no-reference",
            )
        await self.decode(payloads, worked, keep_references=False)

    def _add(self, payload: Payload, worked: Worked) -> None:
        worked.payloads.append(payload)
        worked.size += payload.ByteSize()
        if worked.size > self._bounds.answer_bytes_max:
            raise Refusal(
                413,
                f"The payloads have more than {self._bounds.answer_bytes_max} bytes in all; ask for fewer at a time.",
                "too-large",
            )

    async def _through_codec(self, payload: Payload, *, encode: bool) -> Payload:
        if self._codec is None:
            return payload
        try:
            work = self._codec.encode if encode else self._codec.decode
            changed = await work([payload])
        except CodecError as error:
            raise _refused(error) from None
        if len(changed) != 1:
            raise Refusal(500, "The codec gave another number of payloads than it was given.", "failed")
        return changed[0]

    def _driver_for(self, payload: Payload) -> StorageDriver | None:
        storage = self._storage
        if storage is None or payload.ByteSize() < storage.payload_size_threshold:
            return None
        if storage.driver_selector is None:
            return storage.drivers[0]
        return storage.driver_selector(StorageDriverSelectContext(target=None), payload)

    async def _fetch(self, payload: Payload, reference: ExternalStorageReference, budget: int) -> Payload:
        named = [driver for driver in self._drivers() if driver.name() == reference.driver_name]
        if not named:
            raise Refusal(
                400,
                "The payload is in an object store that this namespace's profile does not name (object-store in "
                "tacit.toml).",
                "no-store",
            )
        self._check_size(_declared_bytes(payload, reference), budget)
        try:
            claim = StorageDriverClaim(claim_data=dict(reference.claim_data))
            (fetched,) = await named[0].retrieve(StorageDriverRetrieveContext(), [claim])
        except CodecError as error:
            raise _refused(error) from None
        except Exception as error:
            # Other people's drivers raise what their libraries do, whose text may say anything.
            _log.warning(
                "codec_server.store_failed", driver=reference.driver_name[:80], error=type(error).__name__
            )
            raise Refusal(
                502, "The object store could not be read; see the codec server's log.", "store"
            ) from error
        self._check_size(fetched.ByteSize(), budget)
        return fetched

    def _drivers(self) -> Sequence[StorageDriver]:
        return self._storage.drivers if self._storage is not None else ()

    def _check_size(self, size: int, budget: int) -> None:
        most = self._bounds.fetched_payload_bytes_max
        if size > most or size > budget:
            bound = (
                f"{most} of one"
                if size > most
                else f"{self._bounds.fetched_request_bytes_max} of one request"
            )
            raise Refusal(
                413,
                f"A stored payload of {size} bytes is more than is fetched here ({bound}); keep references "
                "(?preserveStorageRefs=true, or the header X-Preserve-Storage-Refs: true), or raise the bound.",
                "too-large",
            )


def _declared_bytes(payload: Payload, reference: ExternalStorageReference) -> int:
    """How large the object says to be: looked at before it is fetched, and again after."""
    sizes = [one.size_bytes for one in payload.external_payloads]
    claimed = reference.claim_data.get("size", "")
    if claimed.isascii() and claimed.isdecimal() and len(claimed) <= 18:
        sizes.append(int(claimed))
    return max(sizes, default=0)


async def _stored(driver: StorageDriver, payload: Payload) -> Payload:
    try:
        (claim,) = await driver.store(StorageDriverStoreContext(target=None), [payload])
    except CodecError as error:
        raise _refused(error) from None
    except Exception as error:
        _log.warning("codec_server.store_failed", driver=driver.name()[:80], error=type(error).__name__)
        raise Refusal(
            502, "The object store could not be written; see the codec server's log.", "store"
        ) from error
    return write(driver.name(), claim.claim_data, size_bytes=payload.ByteSize())


def _refused(error: CodecError) -> Refusal:
    """A codec's error as the caller is told it. Its sentence holds no content and says what to do."""
    reason = type(error).__name__
    if isinstance(error, ObjectMissing | ObjectCorrupt):
        return Refusal(400, str(error), reason)
    if isinstance(error, OffloadError | KeyServiceError | KeyRingError):
        # Not the payload's fault: what this server needs can't be had.
        return Refusal(502, str(error), reason)
    return Refusal(400, str(error), reason)


async def _give_way(number: int) -> None:
    if number % PAYLOADS_PER_TURN == PAYLOADS_PER_TURN - 1:
        await asyncio.sleep(0)
