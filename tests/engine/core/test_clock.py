"""Durations of clients: capped like the real server's, and never more than 64 bits of nanoseconds."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from cloud.engine.core.clock import LATEST, SECOND, fit, to_ns
from cloud.engine.core.errors import Invalid

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
CENTURY = 100 * 365 * 86_400


@given(INT64, INT32)
def test_nanoseconds_fit_a_column(seconds: int, nanos: int) -> None:
    for value in (Duration(seconds=seconds, nanos=nanos), Timestamp(seconds=seconds, nanos=nanos)):
        assert -LATEST <= to_ns(value) <= LATEST


@given(INT64, INT32)
def test_what_fits_is_no_longer_than_a_century(seconds: int, nanos: int) -> None:
    value = Duration(seconds=seconds, nanos=nanos)
    try:
        fit(value)
    except Invalid:
        assert seconds < 0 or nanos < 0
    else:
        assert 0 <= to_ns(value) <= CENTURY * SECOND


def test_an_ordinary_duration_stays_as_it_is() -> None:
    value = Duration(seconds=5, nanos=7)
    fit(value)
    assert (value.seconds, value.nanos) == (5, 7)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Duration(seconds=-1), "negative duration"),
        (Duration(nanos=-1), "negative duration"),
        (Duration(seconds=1, nanos=-1), "duration has seconds and nanos with different signs"),
    ],
)
def test_what_is_no_duration_is_refused(value: Duration, sentence: str) -> None:
    with pytest.raises(Invalid, match=sentence):
        fit(value)
