"""Where time, ids and chance come from; a test passes its own.

Time of workflows is `Clock.now`: what is due, deadlines, what histories say. It may be skipped (``SkippableClock``). What has to do
with the world outside (the lease, polls, calls' deadlines) keeps to `Clock.real`, which can't be.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from typing import Protocol


class Sleeper(Protocol):
    """Something that sleeps until a moment of a clock. `on_rest` is called whenever it may have become quiet."""

    on_rest: Callable[[], None]

    @property
    def quiet(self) -> bool:
        """Whether all that is due by now is done."""

    def jumped(self) -> None:
        """The clock was set forward: look at it again."""

    async def next_moment(self) -> int:
        """The next moment for which it sleeps (ns), whether in memory or stored; 0 for none."""


class Clock(Protocol):
    """Wall time in nanoseconds since the epoch."""

    def now(self) -> int:
        """The present moment; later than any told before."""

    @property
    def real(self) -> Clock:
        """The clock that nobody can set forward."""

    def wakes(self, sleeper: Sleeper) -> None:
        """Have `sleeper` told of jumps."""


class SystemClock:
    """The machine's clock, held from going backwards or standing still."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        """See :class:`Clock`."""
        self._last = max(self._last + 1, time.time_ns())
        return self._last

    @property
    def real(self) -> Clock:
        """See :class:`Clock`."""
        return self

    def wakes(self, sleeper: Sleeper) -> None:
        """See :class:`Clock`: this one never jumps."""


class SkippableClock:
    """A clock that goes as `real` does, and can be set forward. It wakes those who sleep by it."""

    def __init__(self, real: Clock | None = None) -> None:
        self._real = real or SystemClock()
        self._ahead = 0
        self.sleepers: list[Sleeper] = []

    def now(self) -> int:
        """See :class:`Clock`."""
        return self._real.now() + self._ahead

    @property
    def real(self) -> Clock:
        """See :class:`Clock`."""
        return self._real

    def wakes(self, sleeper: Sleeper) -> None:
        """See :class:`Clock`."""
        self.sleepers.append(sleeper)

    def skip_to(self, moment: int) -> None:
        """Set the clock forward to `moment` (ns); back is impossible, and changes nothing."""
        ahead = moment - self.now()
        if ahead > 0:
            self._ahead += ahead
            for sleeper in self.sleepers:
                sleeper.jumped()


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
