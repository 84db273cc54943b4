"""What an API method may answer instead of a response.

RpcError                     a gRPC status with typed details
├── caller's fault           InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, OutOfRange,
│                            Unauthenticated, PermissionDenied, Unimplemented
├── caller's pace            ResourceExhausted, Aborted, Cancelled, DeadlineExceeded
└── ours                     Unavailable (try again), Internal (a defect)

The codes are gRPC's (https://grpc.io/docs/guides/status-codes/), the details are messages of
``temporal.api.errordetails.v1``, on which SDKs branch.
"""

from __future__ import annotations

import enum
from typing import ClassVar

from google.protobuf.message import Message


class Code(enum.IntEnum):
    """gRPC status codes, by their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """A refusal with a gRPC code, a sentence for people and typed details for programs."""

    code: ClassVar[Code] = Code.UNKNOWN

    def __init__(self, message: str, *details: Message) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidArgument(RpcError):
    """The request can never be right, whatever the state."""

    code = Code.INVALID_ARGUMENT


class NotFound(RpcError):
    """What the request names does not exist (or not any more)."""

    code = Code.NOT_FOUND


class AlreadyExists(RpcError):
    """What the request would make exists already."""

    code = Code.ALREADY_EXISTS


class FailedPrecondition(RpcError):
    """The request is right, the state is not; trying again changes nothing."""

    code = Code.FAILED_PRECONDITION


class OutOfRange(RpcError):
    """The request reaches past the end of what is there."""

    code = Code.OUT_OF_RANGE


class Unauthenticated(RpcError):
    """The caller did not prove who it is."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(RpcError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED


class Unimplemented(RpcError):
    """The method does not exist here, or not yet."""

    code = Code.UNIMPLEMENTED


class ResourceExhausted(RpcError):
    """A limit is reached; the details name which, and for whom."""

    code = Code.RESOURCE_EXHAUSTED


class Aborted(RpcError):
    """Another call got in between; the caller may try the whole again."""

    code = Code.ABORTED


class Cancelled(RpcError):
    """The caller gave up."""

    code = Code.CANCELLED


class DeadlineExceeded(RpcError):
    """The caller's time is over."""

    code = Code.DEADLINE_EXCEEDED


class Unavailable(RpcError):
    """The service can't answer now; the same call may succeed in a moment."""

    code = Code.UNAVAILABLE


class Internal(RpcError):
    """A defect of ours; the sentence never carries more than an error id."""

    code = Code.INTERNAL
