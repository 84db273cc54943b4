"""Large payloads to and from the object store, with references as Temporal's SDKs write and read them.

A reference (the SDKs' format)::

    metadata: encoding = "json/protobuf", messageType = "temporal.api.sdk.v1.ExternalStorageReference"
    data:     that message as JSON
    external_payloads: [the stored payload's size in bytes]

An older form, encoding "json/external-storage-reference", is read too.
"""

from __future__ import annotations

import json

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1.external_storage_pb2 import ExternalStorageReference
from temporalio.converter import (
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from codec.errors import OffloadError

REFERENCE_ENCODING = b"json/protobuf"
REFERENCE_TYPE = ExternalStorageReference.DESCRIPTOR.full_name.encode()
OLD_REFERENCE_ENCODING = b"json/external-storage-reference"

REFERENCE_BYTES_MAX = 8 * 1024
"""A driver's name and the few words of a claim: what is larger is no reference."""


def is_reference(payload: Payload) -> bool:
    """Whether a payload says that it is a reference to one in an object store."""
    encoding = payload.metadata.get("encoding")
    if encoding == REFERENCE_ENCODING:
        return payload.metadata.get("messageType") == REFERENCE_TYPE
    return encoding == OLD_REFERENCE_ENCODING


class Offload:
    """One namespace's driver and the size in bytes from which payloads, as encoded, go through it."""

    def __init__(self, driver: StorageDriver, *, threshold_bytes: int, namespace: str) -> None:
        self._driver = driver
        self._threshold_bytes = threshold_bytes
        self._context = StorageDriverStoreContext(target=StorageDriverWorkflowInfo(namespace=namespace))

    async def store(self, payloads: list[Payload]) -> list[Payload]:
        """The payloads, with references in place of those that are stored.

        Raises:
            OffloadError: the store refuses.
        """
        large = [
            index
            for index, payload in enumerate(payloads)
            if payload.ByteSize() >= self._threshold_bytes and not is_reference(payload)
        ]
        if not large:
            return payloads
        claims = await self._driver.store(self._context, [payloads[index] for index in large])
        stored = list(payloads)
        for index, claim in zip(large, claims, strict=True):
            stored[index] = self._reference(claim, payloads[index].ByteSize())
        return stored

    async def retrieve(self, payloads: list[Payload]) -> list[Payload]:
        """The payloads, with what references of this driver stand for. Those of other drivers stay: the worker may have them.

        Raises:
            OffloadError: a reference is malformed or its object can't be had.
        """
        found = [(index, _claim(payload)) for index, payload in enumerate(payloads) if is_reference(payload)]
        ours = [(index, claim) for index, (name, claim) in found if name == self._driver.name()]
        if not ours:
            return payloads
        fetched = await self._driver.retrieve(StorageDriverRetrieveContext(), [claim for _, claim in ours])
        retrieved = list(payloads)
        for (index, _), payload in zip(ours, fetched, strict=True):
            retrieved[index] = payload
        return retrieved

    def _reference(self, claim: StorageDriverClaim, size_bytes: int) -> Payload:
        message = ExternalStorageReference(driver_name=self._driver.name(), claim_data=claim.claim_data)
        reference = Payload(
            metadata={"encoding": REFERENCE_ENCODING, "messageType": REFERENCE_TYPE},
            data=json_format.MessageToJson(message, indent=None, sort_keys=True).encode(),
        )
        reference.external_payloads.add(size_bytes=size_bytes)
        return reference


def _claim(payload: Payload) -> tuple[str, StorageDriverClaim]:
    """The driver's name and the claim in a reference."""
    data = payload.data if len(payload.data) <= REFERENCE_BYTES_MAX else b""
    try:
        if payload.metadata["encoding"] == OLD_REFERENCE_ENCODING:
            old = json.loads(data)
            claim = dict(old["driver_claim"]["claim_data"])
            return str(old["driver_name"]), StorageDriverClaim(
                claim_data={str(key): str(value) for key, value in claim.items()}
            )
        message = json_format.Parse(data, ExternalStorageReference(), ignore_unknown_fields=True)
        if message.driver_name:
            return message.driver_name, StorageDriverClaim(claim_data=dict(message.claim_data))
    except (json_format.ParseError, ValueError, TypeError, KeyError, RecursionError):
        pass
    raise OffloadError("A payload's reference is malformed: altered, or another program's.")
