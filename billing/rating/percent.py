"""Fees in percent of what the usage of a period came to."""

from __future__ import annotations

from decimal import Decimal

from billing.rating.charge import Charge, Price, exactly, require_quantity


def percent_of(usage: Decimal, percent: Decimal) -> Decimal:
    """`percent` of the amount `usage`, exact. Raises ValueError where one is negative."""
    require_quantity(usage)
    require_quantity(percent)
    with exactly():
        return (usage * percent).scaleb(-2)


def rate_percent_added(usage: Decimal, percent: Decimal) -> Charge:
    """A fee of `percent` of `usage`, on top of whatever else is charged."""
    return _charge(percent, percent_of(usage, percent))


def rate_percent_minimum(usage: Decimal, percent: Decimal, base: Decimal) -> Charge:
    """What lifts a fee of `base` to `percent` of `usage`, where that is more; else a charge of 0."""
    require_quantity(base)
    with exactly():
        return _charge(percent, max(Decimal(0), percent_of(usage, percent) - base))


def _charge(percent: Decimal, amount: Decimal) -> Charge:
    return Charge(
        detail=f"{percent.normalize():f} %", quantity=Decimal(1), price=Price(amount=amount), amount=amount
    )
