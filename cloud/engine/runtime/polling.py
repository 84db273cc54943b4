"""How long a long poll waits."""

from __future__ import annotations

import asyncio

from cloud.rpc import CallContext

LONG_POLL_S = 60.0
"""The longest wait of a poll for tasks; SDKs allow 70 seconds."""

HISTORY_POLL_S = 20.0
"""The longest wait of a read of history."""

_MARGIN_S = 1.0
"""An empty answer leaves this long before the caller's deadline, so that it arrives."""


MIN_TASK_POLL_S = 2.0
"""A poll for tasks whose caller gives it less time would only lose tasks; it is refused, as the real server does."""


def long_poll_timeout_s(context: CallContext, longest_s: float = LONG_POLL_S) -> float:
    """Seconds that this call may wait."""
    if context.deadline_s is None:
        return longest_s
    remaining = context.deadline_s - asyncio.get_running_loop().time()
    return max(min(longest_s, remaining - min(_MARGIN_S, remaining / 2)), 0.0)
