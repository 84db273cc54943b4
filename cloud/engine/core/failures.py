"""Failures that are kept while an activity is tried again: no longer than a run can bear two thousand of."""

from __future__ import annotations

from temporalio.api.failure.v1 import Failure

_DEPTH_MAX = 20
_FIELD_BYTES = 4  # about what a field costs beside its text
_INFO_BYTES = 8


def shortened(failure: Failure, size_max: int) -> Failure:
    """`failure` if it has at most `size_max` bytes; else one that says so, with as much of it as fits as its cause."""
    if failure.ByteSize() <= size_max:
        return failure
    short = Failure(message="Failure exceeds size limit.")
    short.server_failure_info.SetInParent()
    _copy(failure, short.cause, size_max, _DEPTH_MAX)
    return short


def _copy(failure: Failure, into: Failure, left: int, depth: int) -> None:
    """The texts of `failure`, those that matter most first, until `left` bytes are used up; then its causes."""

    def fit(text: str) -> str:
        nonlocal left
        kept = text.encode()[: max(left, 0)].decode(errors="ignore")
        left -= len(kept.encode()) + (_FIELD_BYTES if kept else 0)
        return kept

    into.SetInParent()
    if failure.HasField("application_failure_info"):
        info = failure.application_failure_info
        into.application_failure_info.non_retryable = info.non_retryable
        into.application_failure_info.type = fit(info.type)
        left -= _INFO_BYTES
    elif failure.HasField("server_failure_info"):
        into.server_failure_info.non_retryable = failure.server_failure_info.non_retryable
        left -= _FIELD_BYTES
    into.source = fit(failure.source)
    into.message = fit(failure.message)
    into.stack_trace = fit(failure.stack_trace)
    if failure.HasField("cause") and left > _FIELD_BYTES and depth:
        _copy(failure.cause, into.cause, left - _FIELD_BYTES, depth - 1)
