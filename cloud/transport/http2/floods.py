"""Limits of what a peer may send that costs it nothing: a connection that exceeds one is closed.

Counts are per interval (`Floods.calm` begins the next one). Pings and window updates are honest in proportion to
what is answered: clients measure their line with a ping a DATA frame. What a header block costs to read is counted by
`work`, for blocks that came to nothing and for all blocks of clients that have not proved who they are.
"""

from __future__ import annotations

import enum

from cloud.transport.http2.frames import ConnectionFault, ErrorCode


class Flood(enum.Enum):
    """What is counted, with the most of it in an interval, and what each answer adds to that."""

    RST_STREAM = ("RST_STREAM frames on streams just opened", 2_000, 0)
    STREAM_FAULT = ("faulty streams", 1_000, 0)
    REFUSED = ("streams beyond what is open to it", 5_000, 0)
    SETTINGS = ("SETTINGS frames", 50, 0)
    PING = ("PING frames", 1_000, 2)
    WINDOW_UPDATE = ("WINDOW_UPDATE frames", 5_000, 8)
    EMPTY_DATA = ("empty DATA frames", 1_000, 0)
    PRIORITY = ("PRIORITY frames", 1_000, 1)
    CLOSED = ("frames on streams that are closed", 10_000, 2)
    UNKNOWN = ("frames of unknown types", 1_000, 0)
    VAIN_HEADERS = ("headers that come to nothing", 10_000, 0)
    """In units of `work`, some 20 us each."""

    def __init__(self, words: str, per_interval_max: int, per_answer: int) -> None:
        self.words = words
        self.per_interval_max = per_interval_max
        self.per_answer = per_answer


class Floods:
    """The counters of one connection."""

    __slots__ = ("_counts", "answers", "interval")

    def __init__(self) -> None:
        self.interval = 0
        self.answers = 0
        """Answers that ended in this interval, and large DATA frames: small ones may be of the peer's own making."""
        self._counts: dict[Flood, int] = {}

    def count(self, flood: Flood, times: int = 1) -> None:
        """One more, or so many.

        Raises:
            ConnectionFault: that is too many.
        """
        count = self._counts.get(flood, 0) + times
        self._counts[flood] = count
        if count > flood.per_interval_max + flood.per_answer * self.answers:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {flood.words}")

    def calm(self) -> None:
        """Begin the next interval."""
        self.interval += 1
        self.answers = 0
        if self._counts:
            self._counts.clear()
