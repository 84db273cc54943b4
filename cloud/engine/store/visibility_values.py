"""Values as filters and search attributes write them: times, durations, statuses, and the words of a text."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from temporalio.api.enums.v1 import (
    ActivityExecutionStatus,
    NexusOperationExecutionStatus,
    WorkflowExecutionStatus,
)

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

_STATUS_PREFIX: Final = "WORKFLOW_EXECUTION_STATUS_"
STATUS_NAMES: Final[dict[int, str]] = {
    number: "".join(part.capitalize() for part in name.removeprefix(_STATUS_PREFIX).split("_"))
    for name, number in WorkflowExecutionStatus.items()
}
"""A status's name for people, such as ``ContinuedAsNew``, by its number."""
_STATUS_NUMBERS: Final = {name: number for number, name in STATUS_NAMES.items()} | dict(
    WorkflowExecutionStatus.items()
)

_ACTIVITY_STATUS_PREFIX: Final = "ACTIVITY_EXECUTION_STATUS_"
ACTIVITY_STATUS_NAMES: Final[dict[int, str]] = {
    number: "".join(part.capitalize() for part in name.removeprefix(_ACTIVITY_STATUS_PREFIX).split("_"))
    for name, number in ActivityExecutionStatus.items()
}
"""The name of an activity's status for people, such as ``TimedOut``, by its number."""
ACTIVITY_STATUS_NUMBERS: Final = {name: number for number, name in ACTIVITY_STATUS_NAMES.items()}
_OPERATION_STATUS_PREFIX: Final = "NEXUS_OPERATION_EXECUTION_STATUS_"
OPERATION_STATUS_NAMES: Final[dict[int, str]] = {
    number: "".join(part.capitalize() for part in name.removeprefix(_OPERATION_STATUS_PREFIX).split("_"))
    for name, number in NexusOperationExecutionStatus.items()
}
"""The name of a Nexus operation's status for people, by its number."""
OPERATION_STATUS_NUMBERS: Final = {name: number for number, name in OPERATION_STATUS_NAMES.items()}

_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,64}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER: Final = r"(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})"
_DURATION: Final = re.compile(rf"([+-]?)((?:{_NUMBER}(?:ns|us|µs|μs|ms|s|m|h|d))+|0)", re.ASCII)
_DURATION_PART: Final = re.compile(rf"({_NUMBER})([a-zµμ]+)", re.ASCII)
_CLOCK: Final = re.compile(r"(\d{1,7}):(\d{1,2}):(\d{1,2})", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_UNIT_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
}


def time_ns(text: str) -> int | None:
    """Nanoseconds since 1970 of a time in RFC 3339, or None if `text` is none.

    Times outside of what 64 bits of nanoseconds hold (the years 1677 to 2262) become the nearest one inside.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    offset = 0
    if sign:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            return None
        offset = (int(offset_hours) * 60 + int(offset_minutes)) * (-60 if sign == "-" else 60)
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds - offset
    return within_int64(seconds * 10**9 + int((fraction or "").ljust(9, "0")[:9]))


def duration_ns(text: str) -> int | None:
    """Nanoseconds of ``1h30m``, ``1.5d``, ``HH:MM:SS`` or a count of nanoseconds, or None if `text` is
    none."""
    nanos: int
    if _INTEGER.fullmatch(text):
        nanos = int(text)
    elif match := _DURATION.fullmatch(text):
        total = sum(
            (Decimal(number) * _UNIT_NS[unit] for number, unit in _DURATION_PART.findall(match[2])), Decimal()
        )
        nanos = -int(total) if match[1] == "-" else int(total)
    elif match := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (int(part) for part in match.groups())
        if minutes > 59 or seconds > 59:
            return None
        nanos = ((hours * 60 + minutes) * 60 + seconds) * 10**9
    else:
        return None
    return nanos if INT64_MIN <= nanos <= INT64_MAX else None


def status_number(text: str) -> int | None:
    """The number of a status named ``Running`` or ``WORKFLOW_EXECUTION_STATUS_RUNNING``, or None."""
    return _STATUS_NUMBERS.get(text)


def within_int64(number: int) -> int:
    """The nearest number to `number` that fits 64 bits."""
    return min(max(number, INT64_MIN), INT64_MAX)


def well_formed(text: str) -> str:
    """`text` with lone surrogates, which JSON can spell and UTF-8 can't, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable(text: str) -> str:
    """`text` well-formed and with NUL, which Postgres can't store, replaced by U+FFFD."""
    return well_formed(text).replace("\0", "\ufffd")


def words(text: str) -> str:
    """The words of a text, folded, each with a space on both sides: what a Text attribute is searched by.

    Words are runs of letters and digits; case and accents don't count. A phrase occurs in a text exactly when
    the words of the phrase are a substring of the words of the text.
    """
    # Once more, as what was a sign of its own may decompose into capitals: Unicode's compatibility caseless match.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.casefold()).casefold())
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    found = "".join(char if char.isalnum() else " " for char in plain).split()
    return f" {' '.join(found)} " if found else ""
