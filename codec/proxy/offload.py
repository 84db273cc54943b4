"""Large payloads to and from the object store, with references as Temporal's SDKs write and read them."""

from __future__ import annotations

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from codec.errors import OffloadError
from codec.storage.sdk_references import is_labelled, is_marked, is_reference, read, write


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
            if payload.ByteSize() >= self._threshold_bytes
            and not is_reference(payload)
            and not is_marked(payload)
        ]
        if not large:
            return payloads
        claims = await self._driver.store(self._context, [payloads[index] for index in large])
        stored = list(payloads)
        for index, claim in zip(large, claims, strict=True):
            stored[index] = write(
                self._driver.name(), claim.claim_data, size_bytes=payloads[index].ByteSize()
            )
        return stored

    async def retrieve(self, payloads: list[Payload]) -> list[Payload]:
        """The payloads, with what references of this driver stand for. Those of other drivers stay: the worker may have them.

        Raises:
            OffloadError: a reference is malformed or its object can't be had.
        """
        found = [
            (index, _claim(payload))
            for index, payload in enumerate(payloads)
            if is_labelled(payload.metadata)
        ]
        ours = [(index, claim) for index, (name, claim) in found if name == self._driver.name()]
        if not ours:
            return payloads
        fetched = await self._driver.retrieve(StorageDriverRetrieveContext(), [claim for _, claim in ours])
        retrieved = list(payloads)
        for (index, _), payload in zip(ours, fetched, strict=True):
            retrieved[index] = payload
        return retrieved


def _claim(payload: Payload) -> tuple[str, StorageDriverClaim]:
    """The driver's name and the claim in what is labelled as a reference."""
    reference = read(payload)
    if reference is None:
        raise OffloadError("A payload's reference is malformed: altered, or another program's.")
    return reference.driver_name, StorageDriverClaim(claim_data=dict(reference.claim_data))
