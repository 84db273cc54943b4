"""The part of a quantity that the base fee has paid already."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from billing.rating.charge import exactly, require_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A quantity in two parts: `included` costs nothing more, `beyond` is rated."""

    included: Decimal
    beyond: Decimal


def split_included(quantity: Decimal, included: Decimal) -> Split:
    """Cut off what is included. What is left over of it does not pass on to another period.

    Raises:
        ValueError: either is negative.
    """
    require_quantity(quantity)
    require_quantity(included)
    with exactly():
        used = min(quantity, included)
        return Split(included=used, beyond=quantity - used)
