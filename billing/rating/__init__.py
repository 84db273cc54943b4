"""Prices applied to quantities: pure arithmetic in decimals, one module per price model.

No clock, no store, no plan file: a model takes numbers and gives :class:`Charge` rows. Amounts are exact,
never rounded here: an operation that would have to round raises instead. Rounding is the invoice's, once a
line.
"""

from billing.rating.charge import Charge, Price, exactly
from billing.rating.flat import rate_flat
from billing.rating.graduated import Tier, rate_graduated
from billing.rating.included import Split, split_included
from billing.rating.percent import rate_percent_added, rate_percent_minimum
from billing.rating.unit import rate_unit

__all__ = [
    "Charge",
    "Price",
    "Split",
    "Tier",
    "exactly",
    "rate_flat",
    "rate_graduated",
    "rate_percent_added",
    "rate_percent_minimum",
    "rate_unit",
    "split_included",
]
