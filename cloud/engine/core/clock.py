"""Times and durations between protos and integers (nanoseconds).

A proto can name moments that a database's 64-bit integer can't. Three fences: `fit` caps what a client asks for, as the real server
does (common/primitives/timestamp/duration.go); `to_ns` never returns more than such an integer holds, whatever the proto came from;
and a sum of these is held to `LATEST` where it becomes a row.
"""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from cloud.engine.core.errors import Invalid

SECOND = 1_000_000_000
MILLISECOND = 1_000_000

LATEST = 2**63 - 1
"""The last moment that can be stored: in the year 2262."""

_LONGEST_S = 100 * 365 * 24 * 3600


def to_ns(value: Duration | Timestamp) -> int:
    """Nanoseconds of a duration, or since the epoch; within 64 bits."""
    ns = value.seconds * SECOND + value.nanos
    return ns if -LATEST <= ns <= LATEST else (LATEST if ns > 0 else -LATEST)


def fit(value: Duration) -> None:
    """Cap a duration that a client gave, in place: at 100 years.

    Raises:
        Invalid: it is negative, or no duration.
    """
    if value.seconds * value.nanos < 0:
        raise Invalid("duration has seconds and nanos with different signs")
    if value.seconds < 0 or value.nanos < 0:
        raise Invalid("negative duration")
    if to_ns(value) > _LONGEST_S * SECOND:
        value.seconds, value.nanos = _LONGEST_S, 0


def duration(ns: int) -> Duration:
    """A duration of `ns` nanoseconds (not negative)."""
    seconds, nanos = divmod(ns, SECOND)
    return Duration(seconds=seconds, nanos=nanos)


def given(message: Message, name: str) -> Duration | None:
    """The duration `name` of `message`; None where nobody gave one, which clients tell from zero."""
    value: Duration | None = getattr(message, name) if message.HasField(name) else None
    return value


def timestamp(ns: int) -> Timestamp:
    """The moment `ns` nanoseconds after the epoch."""
    seconds, nanos = divmod(ns, SECOND)
    return Timestamp(seconds=seconds, nanos=nanos)
