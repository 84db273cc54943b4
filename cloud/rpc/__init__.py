"""The words that API methods and transports share: methods, call context, errors. No transport lives here."""

from cloud.rpc.context import CallContext, Caller, CallerKind
from cloud.rpc.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    RpcError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from cloud.rpc.methods import Handler, Method, methods_of

__all__ = [
    "Aborted",
    "AlreadyExists",
    "CallContext",
    "Caller",
    "CallerKind",
    "Cancelled",
    "Code",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Handler",
    "Internal",
    "InvalidArgument",
    "Method",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "RpcError",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "methods_of",
]
