"""Where time, ids and chance come from; a test passes its own."""

from __future__ import annotations

import random
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Wall time in nanoseconds since the epoch."""

    def now(self) -> int:
        """The present moment; never earlier than the one told before."""


class SystemClock:
    """The machine's clock, held from going backwards."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        """See :class:`Clock`."""
        self._last = max(self._last, time.time_ns())
        return self._last


class SystemIds:
    """Run ids are UUIDs of version 7 (RFC 9562): ordered by time, so that new rows lie side by side in the store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._random = random.SystemRandom()

    def run_id(self) -> str:
        """A new run id."""
        milliseconds = self._clock.now() // 1_000_000
        value = (milliseconds & ((1 << 48) - 1)) << 80 | self._random.getrandbits(80)
        value = value & ~(0xF << 76) | 0x7 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        return str(uuid.UUID(int=value))

    def request_id(self) -> str:
        """A new request id."""
        return str(uuid.uuid4())
