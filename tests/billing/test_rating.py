from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating import (
    Price,
    Tier,
    rate_flat,
    rate_graduated,
    rate_percent_added,
    rate_percent_minimum,
    rate_unit,
    split_included,
)

D = Decimal
TIERS = (
    Tier(up_to=10, price=Price(amount=D("5"))),
    Tier(up_to=30, price=Price(amount=D("3"))),
    Tier(up_to=None, price=Price(amount=D("1.5"))),
)


@pytest.mark.parametrize(
    ("situation", "quantity", "expected"),
    [
        ("nothing", 0, []),
        ("one unit, in the first tier", 1, [(1, "5")]),
        ("in the first tier", 7, [(7, "35")]),
        ("exactly the first tier", 10, [(10, "50")]),
        ("one into the middle tier", 11, [(10, "50"), (1, "3")]),
        ("in the middle tier", 20, [(10, "50"), (10, "30")]),
        ("exactly the middle tier", 30, [(10, "50"), (20, "60")]),
        ("one into the last tier", 31, [(10, "50"), (20, "60"), (1, "1.5")]),
        ("far into the last tier", 1030, [(10, "50"), (20, "60"), (1000, "1500")]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_graduated(situation: str, quantity: int, expected: list[tuple[int, str]]) -> None:
    charges = rate_graduated(D(quantity), TIERS)
    assert [(charge.quantity, charge.amount) for charge in charges] == [(D(n), D(a)) for n, a in expected]


@pytest.mark.parametrize(
    ("fault", "tiers"),
    [
        ("there are no tiers", ()),
        ("tier 1 has no upper end, but tier 2 follows", (TIERS[2], TIERS[2])),
        ("tier 2 is the last and ends at 30", TIERS[:2]),
        ("tier 2 ends at 10, not above 10", (TIERS[0], TIERS[0], TIERS[2])),
        ("tier 1 ends at 0, not above 0", (Tier(up_to=0, price=TIERS[0].price), TIERS[2])),
    ],
)
def test_tiers_that_do_not_rise_are_refused(fault: str, tiers: tuple[Tier, ...]) -> None:
    with pytest.raises(ValueError, match=fault):
        rate_graduated(D(5), tiers)


prices = st.builds(
    Price,
    amount=st.decimals(0, 10_000, places=5, allow_nan=False),
    per=st.sampled_from([1, 10, 1_000, 1_000_000]),
)


@st.composite
def graduated(draw: st.DrawFn) -> tuple[Tier, ...]:
    ends = sorted(draw(st.sets(st.integers(1, 400), max_size=4)))
    return tuple(Tier(up_to=end, price=draw(prices)) for end in [*ends, None])


def slow_reference(quantity: int, tiers: tuple[Tier, ...]) -> Fraction:
    """Each unit by itself: the first tier that reaches it has its price."""
    total = Fraction(0)
    for unit in range(1, quantity + 1):
        tier = next(tier for tier in tiers if tier.up_to is None or unit <= tier.up_to)
        total += Fraction(tier.price.amount) / tier.price.per
    return total


def amount(quantity: int, tiers: tuple[Tier, ...]) -> Fraction:
    return sum((Fraction(charge.amount) for charge in rate_graduated(D(quantity), tiers)), Fraction(0))


@given(st.integers(0, 500), graduated())
def test_graduated_equals_the_slow_reference(quantity: int, tiers: tuple[Tier, ...]) -> None:
    assert amount(quantity, tiers) == slow_reference(quantity, tiers)


@given(st.integers(0, 10**15), st.integers(0, 10**15), graduated())
def test_more_never_costs_less(quantity: int, more: int, tiers: tuple[Tier, ...]) -> None:
    assert amount(quantity + more, tiers) >= amount(quantity, tiers)


@given(st.integers(0, 10**15), graduated())
def test_the_parts_are_the_whole_and_each_has_its_price(quantity: int, tiers: tuple[Tier, ...]) -> None:
    charges = rate_graduated(D(quantity), tiers)
    assert sum(charge.quantity for charge in charges) == quantity
    assert all(charge.amount == charge.price.of(charge.quantity) for charge in charges)
    assert all(charge.quantity > 0 for charge in charges)


@given(st.integers(0, 10**12), prices)
def test_one_price_in_all_tiers_is_a_unit_price(quantity: int, price: Price) -> None:
    tiers = (Tier(up_to=7, price=price), Tier(up_to=9, price=price), Tier(up_to=None, price=price))
    assert amount(quantity, tiers) == Fraction(rate_unit(D(quantity), price).amount)


@given(st.integers(0, 10**12), st.integers(0, 10**12), prices)
def test_a_unit_price_is_additive(one: int, other: int, price: Price) -> None:
    assert rate_unit(D(one + other), price).amount == price.of(D(one)) + price.of(D(other))


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_included_and_beyond_are_the_quantity(quantity: int, included: int) -> None:
    split = split_included(D(quantity), D(included))
    assert split.included + split.beyond == quantity
    assert split.included <= included
    assert not split.beyond or split.included == included


@pytest.mark.parametrize(
    ("situation", "usage", "owed"),
    [
        ("no usage", "0", "0"),
        ("percentage below the fee", "999.99", "0"),
        ("percentage just the fee", "1000", "0"),
        ("percentage above the fee", "1000.10", "0.01"),
        ("percentage far above the fee", "5000", "400"),
    ],
)
def test_a_percent_minimum_lifts_the_fee(situation: str, usage: str, owed: str) -> None:
    charge = rate_percent_minimum(D(usage), D(10), D(100))
    assert charge.amount == D(owed)
    assert D(100) + charge.amount == max(D(100), D(usage) / 10)


def test_a_percentage_is_added() -> None:
    assert rate_percent_added(D("12.34"), D("2.5")).amount == D("0.3085")


def test_a_flat_fee() -> None:
    assert rate_flat(D("500")).amount == D(500)


@pytest.mark.parametrize("quantity", ["-1", "NaN", "Infinity"])
def test_no_such_quantity(quantity: str) -> None:
    for rate in (
        lambda: rate_unit(D(quantity), TIERS[0].price),
        lambda: rate_graduated(D(quantity), TIERS),
        lambda: split_included(D(quantity), D(1)),
        lambda: rate_percent_added(D(quantity), D(1)),
    ):
        with pytest.raises(ValueError, match="not a finite number of at least 0"):
            rate()


@pytest.mark.parametrize("per", [0, -10, 3, 20, 101])
def test_a_price_per_other_than_a_power_of_ten_is_refused(per: int) -> None:
    with pytest.raises(ValueError, match="use 1, 10, 100"):
        Price(amount=D(1), per=per)


def test_what_would_have_to_be_rounded_is_refused() -> None:
    from decimal import Inexact

    with pytest.raises(Inexact):
        Price(amount=D("1." + "1" * 50)).of(D("1" * 50))
