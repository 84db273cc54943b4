"""What both gRPC transports say and hear alike: statuses of refusals and defects, headers that go on, bounds, stopping."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from google.rpc.status_pb2 import Status

from cloud.rpc import Code, InvalidArgument, RpcError
from cloud.transport.bounds import MESSAGE_BYTES_MAX
from cloud.transport.calls import CREDENTIAL_HEADERS, NAMESPACE_HEADER, TRUSTED_HEADER_PREFIX, ListenerKind

_log = structlog.get_logger(__name__)

READ_BYTES_MAX = {
    ListenerKind.DEVELOPMENT: 16 * MESSAGE_BYTES_MAX,
    ListenerKind.MTLS: 16 * MESSAGE_BYTES_MAX,
    # Here anybody may send a message before the key in it is looked at.
    ListenerKind.API_KEY: 4 * MESSAGE_BYTES_MAX,
}
"""No more than this is read, or unpacked, of a message that is too large, to refuse it in the words that make an
SDK fail the task at once."""

FLUSH_S_MAX = 0.5
"""How long the last answers may take to leave once all calls have ended."""

SENTENCE_BYTES_MAX = 1_500
DETAILS_BYTES_MAX = 6_000
"""Trailers are headers: clients accept 8 KiB of them, and a sentence is sent twice, once percent-encoded."""

KEEPALIVE_AFTER_S = 60
KEEPALIVE_WITHIN_S = 20
"""A connection that is silent for so long is asked for a sign of life, and closed if none comes: no task is to be
handed to a worker that is gone."""

HANDSHAKE_S_MAX = 10

STOPPING = "The service is stopping or restarting; try again."


class PortUnavailable(Exception):
    """The transport could not bind its address."""


@dataclass(frozen=True, slots=True)
class FinalStatus:
    """How a call ends. `details` is a packed google.rpc.Status for `grpc-status-details-bin`; `metadata` goes with it."""

    code: Code
    sentence: str
    details: bytes | None = None
    metadata: tuple[tuple[str, str], ...] = ()


class Ended(Exception):
    """A call ends with this very status."""

    def __init__(self, status: FinalStatus) -> None:
        super().__init__(status.sentence)
        self.status = status


STOPPED = FinalStatus(Code.UNAVAILABLE, STOPPING)


def of_refusal(refusal: RpcError) -> FinalStatus:
    """The status of a typed error, cut to what clients accept."""
    sentence = _cut(refusal.message, SENTENCE_BYTES_MAX)
    if not refusal.details:
        return FinalStatus(refusal.code, sentence)
    status = Status(code=int(refusal.code), message=sentence)
    for detail in refusal.details:
        status.details.add().Pack(detail)
    packed = status.SerializeToString()
    if len(packed) > DETAILS_BYTES_MAX:
        _log.warning("grpc.details_dropped", code=refusal.code.name, size_bytes=len(packed))
        return FinalStatus(refusal.code, sentence)
    return FinalStatus(refusal.code, sentence, packed)


def of_defect(method_name: str) -> FinalStatus:
    """The status of the exception that is being handled: an error id, by which the log tells the rest."""
    error_id = secrets.token_hex(8)
    _log.exception("grpc.call_failed", error_id=error_id, method=method_name)
    return FinalStatus(
        Code.INTERNAL, f"Internal error {error_id}: a defect here, which the service's log tells of."
    )


def admitted(headers: Iterable[tuple[str, str | bytes]]) -> tuple[dict[str, str], str | None]:
    """The headers that go on to the gateway, and the `authorization` that identity alone may see.

    Credentials stop here, and so does what only the gateway may say.

    Raises:
        InvalidArgument: what decides who calls, or for which namespace, is there twice: whatever looks at one of them
            before the gateway does might have looked at the other.
    """
    metadata: dict[str, str] = {}
    authorization: str | None = None
    for key, value in headers:
        if key in CREDENTIAL_HEADERS:
            if key == "authorization" and isinstance(value, str):
                if authorization is not None:
                    raise _twice(key)
                authorization = value
        elif isinstance(value, str) and not key.startswith(TRUSTED_HEADER_PREFIX):
            if key == NAMESPACE_HEADER and key in metadata:
                raise _twice(key)
            metadata[key] = value
    return metadata, authorization


def _twice(key: str) -> InvalidArgument:
    return InvalidArgument(f"The header {key} is there more than once.")


def _cut(sentence: str, bytes_max: int) -> str:
    encoded = sentence.encode("utf-8", "replace")
    if len(encoded) <= bytes_max:
        return encoded.decode()
    return encoded[:bytes_max].decode("utf-8", "ignore") + "…"
