"""Refusals of tenancy as answers of an API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa
import structlog

from cloud.rpc import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    RpcError,
    Unavailable,
)
from tenancy import errors

_log = structlog.get_logger(__name__)

# A stale version is ABORTED: gRPC's own advice for a failed test-and-set, as the caller reads again and retries.
_ANSWERS: Mapping[type[errors.TenancyError], type[RpcError]] = {
    errors.Invalid: InvalidArgument,
    errors.Missing: NotFound,
    errors.Forbidden: PermissionDenied,
    errors.Exists: AlreadyExists,
    errors.Stale: Aborted,
    errors.Refused: FailedPrecondition,
    errors.LimitReached: ResourceExhausted,
}


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal of tenancy into the RpcError that says the same, a store out of reach into UNAVAILABLE."""
    try:
        yield
    except errors.TenancyError as refusal:
        raise _ANSWERS[type(refusal)](str(refusal)) from refusal
    except (sa.exc.OperationalError, sa.exc.InterfaceError, OSError) as error:
        _log.warning("controlplane.store_unavailable", error=type(error).__name__)
        raise Unavailable("The control plane's store can't be reached now; try again in a moment.") from error
