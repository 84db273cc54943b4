"""Update masks: which fields of a message a caller wants changed."""

from __future__ import annotations

import re

from google.protobuf.field_mask_pb2 import FieldMask


def paths_of(mask: FieldMask) -> set[str]:
    """The paths of a mask in the protocol's own spelling: JSON's (`retryPolicy.maximumAttempts`) is taken too."""
    return {re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", path).lower() for path in mask.paths}
