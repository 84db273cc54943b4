"""Retry policies: their defaults, their faults, and the next delay."""

from __future__ import annotations

from collections.abc import Collection

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure

from cloud.engine.core.clock import LATEST, duration, fit, to_ns
from cloud.engine.core.errors import Invalid
from cloud.engine.core.limits import Limits

_S = RetryState


def with_defaults(policy: RetryPolicy | None, limits: Limits) -> RetryPolicy:
    """`policy` with its empty fields filled as the server fills them."""
    filled = RetryPolicy()
    if policy is not None:
        filled.CopyFrom(policy)
    if not to_ns(filled.initial_interval):
        filled.initial_interval.CopyFrom(duration(limits.retry_initial_interval))
    if not filled.backoff_coefficient:
        filled.backoff_coefficient = limits.retry_backoff_coefficient
    if not to_ns(filled.maximum_interval):
        filled.maximum_interval.CopyFrom(
            duration(to_ns(filled.initial_interval) * limits.retry_maximum_interval_factor)
        )
    return filled


def check(policy: RetryPolicy) -> None:
    """Check a policy as given by a client.

    Raises:
        Invalid: with the real server's sentence.
    """
    if policy.maximum_attempts == 1:
        return  # no retries: nothing else of it matters
    _fit(policy.initial_interval, "InitialInterval")
    if policy.backoff_coefficient and not policy.backoff_coefficient >= 1:  # NaN is no coefficient either
        raise Invalid("BackoffCoefficient cannot be less than 1 on retry policy.")
    _fit(policy.maximum_interval, "MaximumInterval")
    if to_ns(policy.maximum_interval) and to_ns(policy.maximum_interval) < to_ns(policy.initial_interval):
        raise Invalid("MaximumInterval cannot be less than InitialInterval on retry policy.")
    if policy.maximum_attempts < 0:
        raise Invalid("MaximumAttempts cannot be negative on retry policy.")


def _fit(interval: Duration, what: str) -> None:
    try:
        fit(interval)
    except Invalid as error:
        raise Invalid(f"invalid {what} set on retry policy: {error}") from None


def next_delay(
    policy: Message,
    *,
    attempt: int,
    now: int,
    expires_at: int,
    failure: Failure,
) -> tuple[int, RetryState.ValueType]:
    """The delay (ns) before the attempt after `attempt`, or -1 with the reason why there is none.

    `expires_at` (ns, 0 for never) is the moment by which the next attempt must have begun.
    """
    assert isinstance(policy, RetryPolicy)
    if not is_retryable(failure, policy.non_retryable_error_types):
        return -1, _S.RETRY_STATE_NON_RETRYABLE_FAILURE
    if policy.maximum_attempts and attempt >= policy.maximum_attempts:
        return -1, _S.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED
    delay = backoff(policy, attempt)
    info = failure.application_failure_info
    if failure.HasField("application_failure_info") and info.HasField("next_retry_delay"):
        delay = max(to_ns(info.next_retry_delay), 0)
    if expires_at and now + delay > expires_at:
        return -1, _S.RETRY_STATE_TIMEOUT
    return delay, _S.RETRY_STATE_IN_PROGRESS


def backoff(policy: RetryPolicy, attempt: int) -> int:
    """The policy's interval (ns) behind attempt `attempt`."""
    initial = to_ns(policy.initial_interval)
    maximum = to_ns(policy.maximum_interval)
    try:
        delay = int(initial * policy.backoff_coefficient ** (attempt - 1))
    except OverflowError:
        delay = LATEST
    return min(delay, maximum or LATEST)


def is_retryable(failure: Failure, non_retryable_types: Collection[str]) -> bool:
    """Whether a failure may be retried (service/history/workflow/retry.go of the real server)."""
    kind = failure.WhichOneof("failure_info")
    if kind in ("terminated_failure_info", "canceled_failure_info"):
        return False
    if kind == "timeout_failure_info":
        timeout_type = failure.timeout_failure_info.timeout_type
        if timeout_type in (TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE, TimeoutType.TIMEOUT_TYPE_HEARTBEAT):
            name = TimeoutType.Name(timeout_type).removeprefix("TIMEOUT_TYPE_").title().replace("_", "")
            return f"TemporalTimeout:{name}" not in non_retryable_types
        return False
    if kind == "server_failure_info":
        return not failure.server_failure_info.non_retryable
    if kind == "application_failure_info":
        info = failure.application_failure_info
        return not info.non_retryable and info.type not in non_retryable_types
    return True
