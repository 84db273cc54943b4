"""References to payloads in an object store, as Temporal's SDKs write and read them: the one place that tells what is one.

A reference (the SDKs' format)::

    metadata: encoding = "json/protobuf", messageType = "temporal.api.sdk.v1.ExternalStorageReference"
    data:     that message as JSON: {"driverName": <name>, "claimData": {<name>: <text>, …}}
    external_payloads: [the stored payload's size in bytes]

An older form is read too, and never written::

    metadata: encoding = "json/external-storage-reference"
    data:     {"driver_name": <name>, "driver_claim": {"claim_data": {<name>: <text>, …}}}

SDKs also read references that went through the codecs themselves: any encoding, and the metadata `MARKER` = "true".

A label alone makes no reference: whoever writes text under it would have it taken for one, and it would travel readable.
Reading (`read`) ignores fields that a newer protocol may add; what is to pass as it is (`is_reference`) has none. The service's
guard judges by the same rules (`cloud.gateway.opaque`), and a test compares both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference

ENCODING = b"json/protobuf"
MESSAGE_TYPE = ExternalStorageReference.DESCRIPTOR.full_name.encode()
OLD_ENCODING = b"json/external-storage-reference"

MARKER = "__temporal_external_storage_reference"
"""Metadata by which SDKs mark a reference that went through the codecs itself."""

BYTES_MAX = 8 * 1024
"""A driver's name and the few words of a claim: what is larger is no reference."""

_FIELDS = frozenset({"driverName", "claimData"})
_OLD_FIELDS = frozenset({"driver_name", "driver_claim"})


def is_labelled(metadata: Mapping[str, bytes]) -> bool:
    """Whether a payload of this metadata says that it is a reference; its data may be anything."""
    encoding = metadata.get("encoding")
    if encoding == ENCODING:
        return metadata.get("messageType") == MESSAGE_TYPE
    return encoding == OLD_ENCODING


def is_marked(payload: Payload) -> bool:
    """Whether a payload says that it becomes a reference once the codecs have decoded it."""
    return payload.metadata.get(MARKER) == b"true"


def is_reference(payload: Payload) -> bool:
    """Whether a payload is a reference and holds nothing else, so that it may pass unencrypted."""
    return holds_reference(payload.metadata, payload.data)


def holds_reference(metadata: Mapping[str, bytes], data: bytes | memoryview) -> bool:
    """As `is_reference`, of a payload's metadata and data."""
    if not is_labelled(metadata) or len(data) > BYTES_MAX:
        return False
    return _read(bytes(data), old=metadata["encoding"] == OLD_ENCODING, exact=True) is not None


def read(payload: Payload) -> ExternalStorageReference | None:
    """What a reference refers to; None for a payload that is none, or malformed, or larger than references are."""
    if not is_labelled(payload.metadata) or len(payload.data) > BYTES_MAX:
        return None
    return read_data(payload.data, old=payload.metadata["encoding"] == OLD_ENCODING)


def read_data(data: bytes, *, old: bool) -> ExternalStorageReference | None:
    """What a reference's data refers to, whatever its payload's label and size; None if it is malformed."""
    return _read(data, old=old, exact=False)


def write(driver_name: str, claim_data: Mapping[str, str], *, size_bytes: int) -> Payload:
    """The reference to a stored payload of `size_bytes`."""
    message = ExternalStorageReference(driver_name=driver_name, claim_data=claim_data)
    reference = Payload(
        metadata={"encoding": ENCODING, "messageType": MESSAGE_TYPE},
        data=json_format.MessageToJson(message, indent=None, sort_keys=True).encode(),
    )
    reference.external_payloads.add(size_bytes=size_bytes)
    return reference


def _read(data: bytes, *, old: bool, exact: bool) -> ExternalStorageReference | None:
    """`exact`: without any field but those that are known."""
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or (
            exact and not document.keys() <= (_OLD_FIELDS if old else _FIELDS)
        ):
            return None
        if old:
            name, held = document.get("driver_name"), document.get("driver_claim")
            if not isinstance(held, dict) or (exact and held.keys() != {"claim_data"}):
                return None
            claim = held.get("claim_data")
        else:
            name, claim = document.get("driverName"), document.get("claimData", {})
        if not isinstance(name, str) or not name or not isinstance(claim, dict):
            return None
        if not all(isinstance(value, str) for value in claim.values()):
            return None
        # Half a surrogate pair is a ValueError, too.
        return ExternalStorageReference(driver_name=name, claim_data=claim)
    except (ValueError, RecursionError):
        return None
