import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import (
    Invoice,
    Period,
    StorageUsage,
    UnknownKind,
    builtin_plans,
    invoice_as_json,
    load_plan,
    parse_plan,
    preview_invoice,
)
from tests.billing.test_plan import GOOD

D = Decimal
NOVEMBER = Period.month(2026, 11)
MONTH_S_END = datetime(2026, 12, 1, tzinfo=UTC)


def preview(plan: str, actions: int, storage: StorageUsage | None = None) -> Invoice:
    return preview_invoice(
        account="acme",
        period=NOVEMBER,
        usage_until=MONTH_S_END,
        counts={"start_workflow": actions},
        plan=load_plan(plan),
        storage=storage,
    )


def lines(invoice: Invoice) -> list[tuple[str, Decimal, Decimal]]:
    return [(line.description, line.quantity, line.amount) for line in invoice.lines]


def test_nothing_used_owes_the_fee() -> None:
    assert lines(preview("business", 0)) == [("Business: monthly fee", D(1), D("500.00"))]


def test_within_what_is_included() -> None:
    invoice = preview("business", 2_500_000)
    assert lines(invoice)[1:] == [("Actions, included", D(2_500_000), D("0.00"))]
    assert invoice.total == D("500.00")


def test_one_action_beyond_what_is_included_rounds_to_nothing() -> None:
    assert lines(preview("business", 2_500_001))[2:] == [("Actions, 0 to 5,000,000", D(1), D("0.00"))]


def test_up_to_the_middle_of_the_third_tier() -> None:
    invoice = preview("business", 20_000_000)
    assert lines(invoice)[2:] == [
        ("Actions, 0 to 5,000,000", D(5_000_000), D("250.00")),
        ("Actions, 5,000,000 to 10,000,000", D(5_000_000), D("225.00")),
        ("Actions, 10,000,000 to 20,000,000", D(7_500_000), D("300.00")),
    ]
    assert invoice.total == D("1275.00")


def test_the_percentage_overtakes_the_fee() -> None:
    invoice = preview("business", 202_500_000)
    usage = D(250 + 225 + 400 + 1050 + 1500 + 2500)
    assert lines(invoice)[1] == ("Monthly fee raised to 10 % of usage", D(1), usage / 10 - 500)
    assert invoice.total == usage + usage / 10


def test_a_percentage_on_top_of_no_fee() -> None:
    invoice = preview("developer", 1_234_567)
    assert lines(invoice) == [
        ("Developer: monthly fee", D(1), D("0.00")),
        ("Fee of 10 % of usage", D(1), D("6.17")),
        ("Actions", D(1_234_567), D("61.73")),
    ]
    assert invoice.total == D("67.90")


def test_half_a_cent_is_rounded_up() -> None:
    assert preview("developer", 100).lines[-1].amount == D("0.01")  # 100 x 50 / 10**6 = 0.005
    assert preview("developer", 99).lines[-1].amount == D("0.00")


def test_a_currency_without_cents() -> None:
    plan = parse_plan(GOOD.replace('"EUR"', '"JPY"').replace("fee = 10", "fee = 10.5"), "yen")
    invoice = preview_invoice(account="a", period=NOVEMBER, usage_until=MONTH_S_END, counts={}, plan=plan)
    assert str(invoice.total) == "11"


def test_storage_that_nobody_measured_is_said_and_not_shown_as_nothing() -> None:
    invoice = preview("business", 1)
    assert invoice.not_metered == ("active storage", "retained storage")
    assert not any("storage" in line.description.lower() for line in invoice.lines)


def test_storage_beyond_and_within_what_is_included() -> None:
    gb_hours = 10**9
    storage = StorageUsage(active_byte_hours=2000 * gb_hours, retained_byte_hours=5 * gb_hours // 2)
    invoice = preview("business", 0, storage)
    assert lines(invoice)[1:] == [
        ("Active storage, included", D(1860), D("0.00")),
        ("Active storage", D(140), D("5.88")),
        ("Retained storage, included", D("2.5"), D("0.00")),
    ]
    assert invoice.not_metered == ()


def test_the_month_is_over_or_not() -> None:
    assert preview("business", 0).period_is_over
    early = preview_invoice(
        account="a",
        period=NOVEMBER,
        usage_until=datetime(2026, 11, 20, 13, 14, tzinfo=UTC),
        counts={},
        plan=load_plan("business"),
    )
    assert not early.period_is_over
    assert invoice_as_json(early)["usage_until"] == "2026-11-20T13:14:00Z"


def test_a_month_that_has_not_begun_is_refused() -> None:
    with pytest.raises(ValueError, match="begins on 2026-11-01"):
        preview_invoice(
            account="a",
            period=NOVEMBER,
            usage_until=datetime(2026, 10, 31, tzinfo=UTC),
            counts={},
            plan=load_plan("business"),
        )


def test_december_ends_with_the_year() -> None:
    assert Period.month(2026, 12).end == datetime(2027, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="month"):
        Period.month(2026, 13)


def test_unknown_usage_is_no_free_usage() -> None:
    with pytest.raises(UnknownKind):
        preview_invoice(
            account="a",
            period=NOVEMBER,
            usage_until=MONTH_S_END,
            counts={"brew_coffee": 1},
            plan=load_plan("business"),
        )


counts = st.dictionaries(
    st.sampled_from(["start_workflow", "schedule_workflow", "start_timer", "modify_workflow_properties"]),
    st.integers(0, 10**12),
)
storages = st.none() | st.builds(
    StorageUsage, active_byte_hours=st.integers(0, 10**18), retained_byte_hours=st.integers(0, 10**18)
)


@given(counts, st.sampled_from(sorted(builtin_plans())), storages)
def test_what_is_printed_adds_up(counts: dict[str, int], plan: str, storage: StorageUsage | None) -> None:
    def make() -> Invoice:
        return preview_invoice(
            account="a",
            period=NOVEMBER,
            usage_until=MONTH_S_END,
            counts=counts,
            plan=load_plan(plan),
            storage=storage,
        )

    invoice = make()
    assert invoice.total == sum(line.amount for line in invoice.lines)
    assert all(line.amount.as_tuple().exponent == -2 for line in invoice.lines)
    assert sum(row.actions for row in invoice.usage) == sum(
        line.quantity for line in invoice.lines if line.unit == "actions"
    )
    as_text = json.dumps(invoice_as_json(invoice))
    assert as_text == json.dumps(invoice_as_json(make()))
    assert "E+" not in as_text
