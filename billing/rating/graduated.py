"""Graduated tiers: each unit costs the price of the tier that it falls in; reaching a tier changes no
earlier unit's price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.rating.charge import Charge, Price, exactly, require_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Units up to and including the `up_to`-th of the period, from where the tier before ends; None: all
    that follow.
    """

    up_to: int | None
    price: Price


def rate_graduated(quantity: Decimal, tiers: Sequence[Tier]) -> list[Charge]:
    """A charge for each tier that `quantity` reaches, in their order; none for a quantity of 0.

    Raises:
        ValueError: `quantity` is negative, or `tiers` do not rise to one last open tier.
    """
    require_quantity(quantity)
    require_tiers(tiers)
    charges = []
    floor = Decimal(0)
    for tier in tiers:
        with exactly():
            ceiling = quantity if tier.up_to is None else min(quantity, Decimal(tier.up_to))
            part = ceiling - floor
        if part <= 0:
            break
        charges.append(
            Charge(
                detail=_range(floor, tier.up_to), quantity=part, price=tier.price, amount=tier.price.of(part)
            )
        )
        floor = ceiling
    return charges


def require_tiers(tiers: Sequence[Tier]) -> None:
    """Refuse tiers that do not rise from above 0 to one last open tier.

    Raises:
        ValueError: says which tier is at fault.
    """
    if not tiers:
        raise ValueError("there are no tiers")
    floor = 0
    for number, tier in enumerate(tiers, 1):
        last = number == len(tiers)
        if tier.up_to is None:
            if not last:
                raise ValueError(f"tier {number} has no upper end, but tier {number + 1} follows")
        elif last:
            raise ValueError(
                f"tier {number} is the last and ends at {tier.up_to}: usage beyond it would have no price"
            )
        elif tier.up_to <= floor:
            raise ValueError(f"tier {number} ends at {tier.up_to}, not above {floor}, where it begins")
        else:
            floor = tier.up_to


def _range(floor: Decimal, up_to: int | None) -> str:
    begin = f"{int(floor):,}"
    return f"above {begin}" if up_to is None else f"{begin} to {up_to:,}"
