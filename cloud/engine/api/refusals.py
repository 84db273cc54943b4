"""What the engine's own refusals are to a caller: code, sentence and typed detail, as the real server gives them."""

from __future__ import annotations

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import (
    NamespaceNotFoundFailure,
    NewerBuildExistsFailure,
    NotFoundFailure,
    ResourceExhaustedFailure,
)

from cloud.engine.core.errors import (
    CoreRefusal,
    Invalid,
    LimitExceeded,
    NoSuchTask,
    NotNow,
    OtherNamespace,
    RunClosed,
)
from cloud.engine.runtime.builds import NewerBuildExists
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.errors import NoSuchRun, NoSuchSchedule
from cloud.engine.runtime.namespaces import NoSuchNamespace
from cloud.engine.runtime.tokens import BadToken
from cloud.engine.store.database import ListRefused, StoreUnavailable, TooManyLists
from cloud.rpc import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    RpcError,
    Unavailable,
)

REFUSALS = (
    CoreRefusal,
    NewerBuildExists,
    NoSuchNamespace,
    NoSuchRun,
    NoSuchSchedule,
    BadToken,
    Unflushed,
    StoreUnavailable,
    ListRefused,
)
"""All that `as_rpc_error` translates."""


def as_rpc_error(error: Exception) -> RpcError:
    """The RPC error for one of `REFUSALS`."""
    match error:
        case NoSuchNamespace():
            return NotFound(str(error), NamespaceNotFoundFailure(namespace=error.name))
        case OtherNamespace():
            return NotFound(str(error), NamespaceNotFoundFailure(namespace=error.namespace))
        case NoSuchRun() | NoSuchSchedule():
            return NotFound(str(error), NotFoundFailure())
        case RunClosed() | NoSuchTask():
            return NotFound(str(error), NotFoundFailure())
        case Invalid() | LimitExceeded():
            return InvalidArgument(str(error))
        case NewerBuildExists():
            return OutOfRange(str(error), NewerBuildExistsFailure(default_build_id=error.default))
        case NotNow():
            return FailedPrecondition(str(error))
        case BadToken():
            return InvalidArgument("Error deserializing task token.")
        case TooManyLists():
            return ResourceExhausted(
                str(error),
                ResourceExhaustedFailure(
                    cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
                    scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
                ),
            )
        case ListRefused():
            return DeadlineExceeded(str(error))
        case Unflushed() | StoreUnavailable():
            return Unavailable(str(error))
        case _:
            raise error
