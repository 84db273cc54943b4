"""What every price model takes and gives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext

DIGITS_MAX = 60
"""Room for a quantity of 20 digits times a price of 20, and sums of such; beyond it a bill is refused, not
rounded.
"""


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """Decimal arithmetic that raises `decimal.Inexact` where it would have to round."""
    with localcontext(Context(prec=DIGITS_MAX, traps=[Inexact, InvalidOperation])):
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """`amount` of currency for every `per` units, a power of ten, so that the price of one unit is exact."""

    amount: Decimal
    per: int = 1

    def __post_init__(self) -> None:
        if not self.amount.is_finite() or self.amount < 0:
            raise ValueError(f"price {self.amount} is not a finite amount of at least 0")
        if self.per < 1 or str(self.per).strip("0") != "1":
            raise ValueError(
                f"price per {self.per} units: use 1, 10, 100, …, so that the price of one unit is exact"
            )

    def of(self, quantity: Decimal) -> Decimal:
        """The price of `quantity` units, exact.

        Raises:
            decimal.Inexact: the product has more than DIGITS_MAX digits.
            ValueError: `quantity` is negative or no number.
        """
        require_quantity(quantity)
        with exactly():
            return (quantity * self.amount).scaleb(1 - len(str(self.per)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One row of what is owed: `quantity` at `price` is `amount` (exact). `detail` says which part, such as
    a tier.
    """

    detail: str
    quantity: Decimal
    price: Price
    amount: Decimal


def require_quantity(quantity: Decimal) -> None:
    """Refuse what cannot be a quantity of usage.

    Raises:
        ValueError: it is negative or no finite number.
    """
    if not quantity.is_finite() or quantity < 0:
        raise ValueError(f"quantity {quantity} is not a finite number of at least 0")
