"""How large messages may be, how many calls may wait, and the refusals of what is larger."""

from __future__ import annotations

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure

from cloud.rpc import ResourceExhausted

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""gRPC's own default, which all SDKs expect."""

POLLS_MAX = 20_000
"""Calls that wait on one connection; a client's polls are on one."""


def message_too_large(size_bytes: int, bytes_max: int = MESSAGE_BYTES_MAX) -> ResourceExhausted:
    """The refusal of a message above `bytes_max`, beginning with the words by which SDKs know it."""
    return _too_large(f"{size_bytes} vs. {bytes_max}")


def unpacked_message_too_large(bytes_max: int = MESSAGE_BYTES_MAX) -> ResourceExhausted:
    """The same for a message that is too large once unpacked: how large is not known, as it is not unpacked to its end."""
    return _too_large(f"more than {bytes_max} bytes once it is unpacked")


def _too_large(how: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"grpc: received message larger than max ({how}): "
        "split the work into smaller parts, or offload large payloads to an object store.",
        ResourceExhaustedFailure(
            cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_UNSPECIFIED,
            scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
        ),
    )
