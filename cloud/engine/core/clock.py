"""Times and durations between protos and integers (nanoseconds)."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


def to_ns(value: Duration | Timestamp) -> int:
    """Nanoseconds of a duration, or since the epoch."""
    return value.seconds * SECOND + value.nanos


def duration(ns: int) -> Duration:
    """A duration of `ns` nanoseconds (not negative)."""
    seconds, nanos = divmod(ns, SECOND)
    return Duration(seconds=seconds, nanos=nanos)


def timestamp(ns: int) -> Timestamp:
    """The moment `ns` nanoseconds after the epoch."""
    seconds, nanos = divmod(ns, SECOND)
    return Timestamp(seconds=seconds, nanos=nanos)
