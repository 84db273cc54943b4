"""Update masks: which fields of a message a caller wants changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message


def paths_of(mask: FieldMask) -> set[str]:
    """The paths of a mask in the protocol's own spelling: JSON's (`retryPolicy.maximumAttempts`) is taken too."""
    return {re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", path).lower() for path in mask.paths}


def check_paths(message: Message, mask: FieldMask) -> None:
    """Check that every path names a field of `message`, in the protocol's own spelling.

    Raises:
        ValueError: with the sentence of the real server's library.
    """
    for path in mask.paths:
        fields: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
        for name in path.split("."):
            field = fields.get(name)
            if field is None:
                raise ValueError(f'proto: invalid path "{path}" for message "{message.DESCRIPTOR.full_name}"')
            nested = None if field.is_repeated else field.message_type
            fields = nested.fields_by_name if nested is not None else {}
