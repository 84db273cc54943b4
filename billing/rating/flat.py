"""A fixed amount a period, whatever was used."""

from __future__ import annotations

from decimal import Decimal

from billing.rating.charge import Charge, Price


def rate_flat(amount: Decimal) -> Charge:
    """One unit at `amount`."""
    return Charge(detail="", quantity=Decimal(1), price=Price(amount=amount), amount=amount)
