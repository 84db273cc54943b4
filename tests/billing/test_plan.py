import contextlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import InvalidPlan, NoSuchPlan, PlanError, builtin_plans, load_plan, parse_plan

GOOD = """
format = 1
name = "mine"
title = "Mine"
currency = "EUR"
source = "myself"
[base]
fee = 10
percent = 2.5
rule = "greater-of"
[included]
actions = 100
active_storage_gb = 0.5
retained_storage_gb = 0
[[actions.tiers]]
up_to = 1_000
per_million = 0.1
[[actions.tiers]]
per_million = 0.05
[storage]
active_per_gbh = 0.042
retained_per_gbh = 0.00105
"""


def test_numbers_are_kept_to_the_digit() -> None:
    plan = parse_plan(GOOD, "mine.toml")
    assert plan.retained_gbh.amount == Decimal("0.00105")
    assert plan.action_tiers[0].price.amount == Decimal("0.1")
    assert plan.base.percent == Decimal("2.5")
    assert plan.included.active_gbh == Decimal(372)


def test_the_built_in_plans_are_what_the_price_list_says() -> None:
    plans = builtin_plans()
    assert list(plans) == ["business", "developer", "essentials", "self-hosted"]
    prices = [tier.price.amount for tier in plans["business"].action_tiers]
    assert prices == [50, 45, 40, 35, 30, 25]
    assert plans["business"].action_tiers == plans["essentials"].action_tiers
    fees = {name: (plan.base.fee, plan.base.percent, plan.base.rule.value) for name, plan in plans.items()}
    assert fees == {
        "business": (500, 10, "greater-of"),
        "developer": (0, 10, "sum"),
        "essentials": (100, 5, "greater-of"),
        "self-hosted": (0, 0, "sum"),
    }


def test_a_file_and_a_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD)
    assert load_plan(str(file)).name == "mine"
    assert load_plan("business").title == "Business"


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoSuchPlan, match="built in are business, developer"):
        load_plan("nope")
    with pytest.raises(NoSuchPlan, match="cannot be read: No such file"):
        load_plan(str(tmp_path / "nope.toml"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidPlan, match="not UTF-8"):
        load_plan(str(binary))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("format = 1", "format = 2", "format: is 2; this version reads 1"),
        ("format = 1", "", "format: is missing"),
        ('"mine"', '"My Plan"', "name: 'My Plan' is not lower-case words"),
        ('"EUR"', '"DOGE"', "currency: 'DOGE' is none of"),
        ('title = "Mine"', 'title = " "', "title: is ' ', not a text"),
        ("fee = 10", "fee = -1", "base.fee: is -1, not a number of at least 0"),
        ("fee = 10", 'fee = "10"', "base.fee: is '10', not a number of at least 0, without quotes"),
        ("fee = 10", "fee = true", "base.fee: is True, not a number"),
        ("fee = 10", "fee = nan", "base.fee: is 'NaN', not a number"),
        ("fee = 10", "fee = inf", "base.fee: is 'Infinity', not a number"),
        ("fee = 10", "fee = 1e400", "base.fee: is '1E+400', not a number"),
        ("percent = 2.5", "percent = 101", "base.percent: is 101, above 100"),
        ('"greater-of"', '"least-of"', "base.rule: 'least-of' is none of greater-of, sum"),
        ("actions = 100", "actions = 1.5", "included.actions: is '1.5', not a whole number"),
        ("up_to = 1_000", "up_to = 0", "actions.tiers: tier 1 ends at 0"),
        ("up_to = 1_000", "", "actions.tiers: tier 1 has no upper end"),
        ("per_million = 0.05", "per_million = 0.05\nup_to = 5_000", "actions.tiers: tier 2 is the last"),
        ("per_million = 0.05", "per_milion = 0.05", "actions.tiers[2].per_milion: is unknown"),
        ("[storage]", "[store]", "storage: is missing; give a table"),
        ("[base]", "base = 3\n[bases]", "base: is 3, not a table"),
    ],
)
def test_a_fault_names_its_field(old: str, new: str, fault: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidPlan) as caught:
        parse_plan(GOOD.replace(old, new, 1), "mine.toml")
    assert any(each.startswith(fault) for each in caught.value.faults), caught.value.faults


def test_all_faults_come_at_once() -> None:
    text = (
        GOOD.replace("fee = 10", "fee = -1")
        .replace('"EUR"', '"X"')
        .replace("[storage]", "extra = 1\n[storage]")
    )
    with pytest.raises(InvalidPlan, match=r"plan mine.toml: 3 faults to mend") as caught:
        parse_plan(text, "mine.toml")
    assert len(caught.value.faults) == 3


@given(st.text(max_size=200) | st.text(max_size=30).map(lambda junk: GOOD.replace("10", junk, 1)))
def test_garbage_is_refused_as_a_plan_error_and_nothing_else(text: str) -> None:
    with contextlib.suppress(PlanError):
        parse_plan(text, "garbage")
