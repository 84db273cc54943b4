"""The calls of one completion callback: made again after a growing pause until it takes the news, or refuses for good."""

from __future__ import annotations

from zlib import crc32

from temporalio.api.failure.v1 import Failure

from cloud.engine.core.clock import SECOND
from cloud.engine.core.state import CallbackProgress

RETRY_INTERVAL = SECOND
RETRY_INTERVAL_MAX = 3_600 * SECOND
JITTER = 0.2


def over(progress: CallbackProgress) -> bool:
    """Whether it is not to be called now: it took the news, was given up, or waits for its next call."""
    return bool(progress.succeeded or progress.failed or progress.next_attempt_time)


def note_delivered(progress: CallbackProgress, now: int) -> None:
    """It was called at `now` (ns), and took the news."""
    progress.attempt += 1
    progress.last_attempt_complete_time = now
    progress.last_failure = b""
    progress.succeeded = True


def note_not_delivered(
    progress: CallbackProgress, now: int, reason: str, *, retryable: bool, seed: str
) -> None:
    """It could not be called at `now` (ns), or refused: it is called again later, or given up. `seed` draws the pause's jitter."""
    progress.attempt += 1
    progress.last_attempt_complete_time = now
    failure = Failure(message=reason)
    failure.application_failure_info.non_retryable = not retryable
    progress.last_failure = failure.SerializeToString()
    if retryable:
        interval = min(RETRY_INTERVAL << min(progress.attempt - 1, 32), RETRY_INTERVAL_MAX)
        draw = crc32(f"{seed}/{progress.attempt}".encode()) / 2**32
        progress.next_attempt_time = now + interval - int(interval * JITTER * draw)
    else:
        progress.failed = True
