"""One price for each unit."""

from __future__ import annotations

from decimal import Decimal

from billing.rating.charge import Charge, Price


def rate_unit(quantity: Decimal, price: Price) -> Charge:
    """`quantity` units at `price`. Raises ValueError for a negative quantity."""
    return Charge(detail="", quantity=quantity, price=price, amount=price.of(quantity))
