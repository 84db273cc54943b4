"""What counts as encrypted, seen from outside: the service holds no key, so it can look at a payload's form
only.

Opaque are
- ciphertext, by the payload's `encoding` and a length that a nonce and a tag fit in;
- a reference to a payload in the client's object store, which the SDK put there after the client's codecs;
- nothing at all: an empty payload without encoding, or `binary/null`.
This stops accidents (a client without codec, one field that a converter forgot), not a client that sets out
to deceive its own account: whoever labels plaintext as ciphertext has chosen to show it.
"""

from __future__ import annotations

import json

from temporalio.api.common.v1 import Payload

TACIT_ENCRYPTED = b"binary/tacit-encrypted"
"""Our own format. A wire constant, defined by the `codec` package and repeated here, because no package of
the service imports that one; a test compares both."""

SAMPLES_ENCRYPTED = b"binary/encrypted"
"""The format of the official samples in all languages, and of proxies that follow them."""

CIPHERTEXT_ENCODINGS = frozenset({TACIT_ENCRYPTED, SAMPLES_ENCRYPTED})

CIPHERTEXT_BYTES_MIN = 28
"""The shortest nonce (12) and tag (16) of any of these formats, around nothing."""

NULL_ENCODING = b"binary/null"
REFERENCE_ENCODING = b"json/protobuf"
REFERENCE_MESSAGE_TYPE = b"temporal.api.sdk.v1.ExternalStorageReference"
REFERENCE_ENCODING_OLD = b"json/external-storage-reference"

REFERENCE_BYTES_MAX = 8 * 1024
"""A driver's name, a bucket and a key: far below this; a larger one carries something else."""

_REFERENCE_FIELDS = frozenset({"driverName", "claimData"})
_REFERENCE_FIELDS_OLD = frozenset({"driver_name", "driver_claim"})


def payload_problem(payload: Payload) -> str | None:
    """Why `payload` does not count as encrypted, in words that quote nothing of its data; None if it does."""
    encoding = payload.metadata.get("encoding", b"")
    if encoding in CIPHERTEXT_ENCODINGS:
        if len(payload.data) >= CIPHERTEXT_BYTES_MIN:
            return None
        return "is marked as encrypted and too short to be"
    if not payload.data and encoding in (b"", NULL_ENCODING):
        return None
    if encoding == REFERENCE_ENCODING and payload.metadata.get("messageType") == REFERENCE_MESSAGE_TYPE:
        return None if _is_reference(payload.data, _REFERENCE_FIELDS) else "is no external storage reference"
    if encoding == REFERENCE_ENCODING_OLD:
        return (
            None if _is_reference(payload.data, _REFERENCE_FIELDS_OLD) else "is no external storage reference"
        )
    # An encoding is a short word; what is longer, or not printable, is not repeated in an error or a log.
    name = encoding[:64].decode("ascii", "replace")
    return f'is not encrypted (encoding "{name if name.isprintable() else "?"}")'


def _is_reference(data: bytes, fields: frozenset[str]) -> bool:
    return json_object_of(data, fields, bytes_max=REFERENCE_BYTES_MAX) is not None


def json_object_of(data: bytes, fields: frozenset[str], *, bytes_max: int) -> dict[str, object] | None:
    """The JSON object in `data` if it has no field but `fields`, and at least one; else None."""
    if len(data) > bytes_max:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not value or not value.keys() <= fields:
        return None
    return value
