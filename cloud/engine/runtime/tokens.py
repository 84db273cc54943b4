"""Task and page tokens: what the service hands out and must recognise when it comes back.

Form 1: one byte 1, sixteen bytes keyed BLAKE2b (RFC 7693) over the rest, then MessagePack of a tuple whose first two items are the
kind and the namespace's id. A tenant can neither forge one nor use it in another namespace. A new form gets a new first byte.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import Any

import msgspec

WORKFLOW_TASK = 1
ACTIVITY_TASK = 2
QUERY_TASK = 3
HISTORY_PAGE = 4
LIST_PAGE = 5
WORKERS_PAGE = 6
NEXUS_TASK = 7
NEXUS_CALLBACK = 8
ACTIVITY_STATE = 9
OPERATION_STATE = 10

_FORM = b"\x01"
_MAC_SIZE = 16


class BadToken(Exception):
    """The token is none of ours, or not for this namespace and use. One error for every cause."""


class WorkflowTaskToken(msgspec.Struct, array_like=True, frozen=True):
    """Names one attempt of a workflow task."""

    run_id: str
    workflow_id: str
    scheduled_event_id: int
    started_event_id: int
    attempt: int
    started_time: int


class ActivityTaskToken(msgspec.Struct, array_like=True, frozen=True):
    """Names one attempt of an activity."""

    run_id: str
    workflow_id: str
    scheduled_event_id: int
    attempt: int
    activity_id: str
    started_time: int = 0


class QueryTaskToken(msgspec.Struct, array_like=True, frozen=True):
    """Names a query that a worker answers."""

    query_id: str


class NexusTaskToken(msgspec.Struct, array_like=True, frozen=True):
    """Names a call of an operation that a worker answers."""

    task_id: str


class NexusCallbackToken(msgspec.Struct, array_like=True, frozen=True):
    """Names the operation that a completion is about: it goes out with the call, and comes back with what became of it."""

    run_id: str
    workflow_id: str
    scheduled_event_id: int
    request_id: str


class HistoryPageToken(msgspec.Struct, array_like=True, frozen=True):
    """Where a read of a history goes on. `transient`: the suffix of a task that is not in the history follows."""

    run_id: str
    next_event_id: int
    last_event_id: int
    waiting: bool = False
    transient: bool = False


class ListPageToken(msgspec.Struct, array_like=True, frozen=True):
    """Where a list goes on: the store's cursor, and a hash of the query that it belongs to."""

    query: bytes
    cursor: bytes


class ActivityStateToken(msgspec.Struct, array_like=True, frozen=True):
    """Names a state of a standalone activity that a caller has seen."""

    run_id: str
    transitions: int


class OperationStateToken(msgspec.Struct, array_like=True, frozen=True):
    """Names a state of a standalone Nexus operation that a caller has seen."""

    run_id: str
    transitions: int


_DECODERS: dict[type[msgspec.Struct], msgspec.msgpack.Decoder[Any]] = {
    form: msgspec.msgpack.Decoder(tuple[int, str, form])  # type: ignore[valid-type]
    for form in (
        WorkflowTaskToken,
        ActivityTaskToken,
        QueryTaskToken,
        HistoryPageToken,
        ListPageToken,
        NexusTaskToken,
        NexusCallbackToken,
        ActivityStateToken,
        OperationStateToken,
    )
}


_HEADS = msgspec.msgpack.Decoder(tuple[int, str, msgspec.Raw])


class Tokens:
    """Makes and reads tokens with the cell's key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._encoder = msgspec.msgpack.Encoder()

    def __repr__(self) -> str:
        return "Tokens(<key>)"

    def make(self, kind: int, namespace_id: str, content: msgspec.Struct) -> bytes:
        """A token of `kind` for a namespace."""
        body = self._encoder.encode((kind, namespace_id, content))
        return _FORM + self._mac(body) + body

    def read(self, token: bytes, kind: int, namespace_id: str, form: type[Any]) -> Any:
        """The content of a token that `make` made for the same kind and namespace.

        Raises:
            BadToken: it was not.
        """
        found_namespace_id, content = self.read_of_any(token, kind, form)
        if found_namespace_id != namespace_id:
            raise BadToken
        return content

    def read_of_any(self, token: bytes, kind: int, form: type[Any]) -> tuple[str, Any]:
        """The namespace's id and the content of a token that alone says whose it is (it needs no other proof).

        Raises:
            BadToken: `make` did not make it for this kind.
        """
        body = token[1 + _MAC_SIZE :]
        if (
            len(token) <= 1 + _MAC_SIZE
            or token[:1] != _FORM
            or not hmac.compare_digest(token[1 : 1 + _MAC_SIZE], self._mac(body))
        ):
            raise BadToken
        # Authenticated, but perhaps of another kind, whose content has another form.
        if _HEADS.decode(body)[0] != kind:
            raise BadToken
        found = _DECODERS[form].decode(body)
        return found[1], found[2]

    def _mac(self, body: bytes) -> bytes:
        return blake2b(body, key=self._key, digest_size=_MAC_SIZE).digest()
