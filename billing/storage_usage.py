"""Storage as it is billed: GB-hours of open and of closed workflows' histories, from byte-hours.

A byte-hour is one byte kept for one hour, a GB-hour is 10**9 of them. There is a source of these figures or
there is not: where nothing measured them, an invoice says so instead of showing 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from billing.rating import exactly

BYTES_PER_GB_EXPONENT = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageUsage:
    """What was kept in a period: histories of open (`active`) and of closed (`retained`) workflows."""

    active_byte_hours: int
    retained_byte_hours: int

    def __post_init__(self) -> None:
        if self.active_byte_hours < 0 or self.retained_byte_hours < 0:
            raise ValueError(f"storage usage is negative: {self}")


def gb_hours(byte_hours: int) -> Decimal:
    """Byte-hours as GB-hours, exact."""
    with exactly():
        return Decimal(byte_hours).scaleb(-BYTES_PER_GB_EXPONENT)
