"""What the handler of a Nexus operation may answer, and how an operation may end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Link, Payload
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The operation is done, with this result."""

    result: Payload | None
    links: Sequence[Link] = ()


@dataclass(frozen=True, slots=True)
class Unsuccessful:
    """The operation ended without a result; `canceled` if because someone asked for it."""

    failure: Failure
    canceled: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """The operation goes on under this token; of a request to cancel: it was taken."""

    token: str = ""
    links: Sequence[Link] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The handler did not do what it was asked, or could not be reached."""

    failure: Failure
    retryable: bool


@dataclass(frozen=True, slots=True)
class OutOfTime:
    """There was too little time left to ask."""

    timeout_type: TimeoutType.ValueType


Outcome = Succeeded | Unsuccessful
Answer = Succeeded | Unsuccessful | Pending | Refused | OutOfTime


CALL_ERROR = "CallError"
"""The type of failures of a call itself."""


def call_failure(message: str, *, retryable: bool) -> Failure:
    """Why a call did not come to an answer of its handler."""
    failure = Failure(message=message)
    failure.application_failure_info.type = CALL_ERROR
    failure.application_failure_info.non_retryable = not retryable
    return failure


def no_time_left(timeout_type: TimeoutType.ValueType) -> Failure:
    """Why a call was not made."""
    name = TimeoutType.Name(timeout_type).removeprefix("TIMEOUT_TYPE_").title().replace("_", "")
    return call_failure(f"not enough time to execute another request before {name} timeout", retryable=False)
