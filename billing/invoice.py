"""What a month comes to: a preview of an invoice, made from counts and a plan.

Rounding, the only place where there is any: each line's exact amount is rounded once, half up, to the
currency's minor unit; a fee in percent is taken from the rounded usage lines, and the total is the sum of
the rounded lines. So whoever adds up what is printed gets what is printed.

The same arguments give the same invoice, on any machine and day: the clock is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from billing.actions import ACTION_TABLE, actions_by_kind
from billing.plan import ACTIONS_PER_PRICE, BaseRule, Plan
from billing.rating import (
    Charge,
    Price,
    exactly,
    rate_flat,
    rate_graduated,
    rate_percent_added,
    rate_percent_minimum,
    rate_unit,
    split_included,
)
from billing.rating.charge import DIGITS_MAX
from billing.storage_usage import StorageUsage, gb_hours

INVOICE_FORMAT = 1
"""The version of the JSON form.

Keys may be added within a version; none is removed or changes its meaning.
"""

ACTIVE_STORAGE = "active storage"
RETAINED_STORAGE = "retained storage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A calendar month in UTC: from `start` up to and without `end`."""

    start: datetime
    end: datetime

    @classmethod
    def month(cls, year: int, month: int) -> Period:
        """The given month. Raises ValueError where there is no such month."""
        start = datetime(year, month, 1, tzinfo=UTC)
        return cls(start=start, end=datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """`quantity` `unit` at `unit_price` per `unit_price_per` of them is `amount`, rounded to the currency's
    minor unit.
    """

    description: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    unit_price_per: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class KindUsage:
    """One kind of usage: `count` units at `actions_each` are `actions`."""

    kind: str
    count: int
    actions_each: int
    actions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """A preview: what would be owed if nothing were used after `usage_until`.

    `not_metered` names what nobody measured; no line stands for it, and the total is without it.
    """

    account: str
    plan: str
    currency: str
    period: Period
    usage_until: datetime
    lines: tuple[InvoiceLine, ...]
    total: Decimal
    usage: tuple[KindUsage, ...]
    not_metered: tuple[str, ...]

    @property
    def period_is_over(self) -> bool:
        """Whether the usage of the whole period is in."""
        return self.usage_until >= self.period.end


def preview_invoice(
    *,
    account: str,
    period: Period,
    usage_until: datetime,
    counts: Mapping[str, int],
    plan: Plan,
    storage: StorageUsage | None = None,
) -> Invoice:
    """Rate an account's usage of `period`, up to and without `usage_until`.

    `counts` are units by kind over all its namespaces; `storage` None says that nobody measured it.

    Raises:
        UnknownKind: `counts` have a kind that the action table lacks.
        ValueError: a count is negative, or `usage_until` lies before the period.
    """
    if usage_until < period.start:
        raise ValueError(
            f"the period begins on {period.start:%Y-%m-%d}, after {usage_until.isoformat()}: "
            "it has no usage yet; name one that has begun"
        )
    actions = actions_by_kind(counts)
    usage_lines = [*_action_lines(sum(actions.values()), plan), *_storage_lines(storage, plan)]
    with exactly():
        usage_total = sum((line.amount for line in usage_lines), Decimal(0))
        lines = (*_base_lines(plan, usage_total), *usage_lines)
        total = sum((line.amount for line in lines), _rounded(Decimal(0), plan))
    return Invoice(
        account=account,
        plan=plan.name,
        currency=plan.currency,
        period=period,
        usage_until=min(usage_until, period.end),
        lines=lines,
        total=total,
        usage=tuple(
            KindUsage(
                kind=kind,
                count=counts[kind],
                actions_each=ACTION_TABLE[kind].actions,
                actions=actions[kind],
            )
            for kind in actions
        ),
        not_metered=() if storage is not None else (ACTIVE_STORAGE, RETAINED_STORAGE),
    )


def invoice_as_json(invoice: Invoice) -> dict[str, Any]:
    """The invoice for programs: amounts and quantities as decimal texts, times in RFC 3339, UTC."""
    return {
        "format": INVOICE_FORMAT,
        "preview": True,
        "account": invoice.account,
        "plan": invoice.plan,
        "currency": invoice.currency,
        "period_start": _time(invoice.period.start),
        "period_end": _time(invoice.period.end),
        "usage_until": _time(invoice.usage_until),
        "period_is_over": invoice.period_is_over,
        "lines": [
            {
                "description": line.description,
                "quantity": _plain(line.quantity),
                "unit": line.unit,
                "unit_price": _plain(line.unit_price),
                "unit_price_per": line.unit_price_per,
                "amount": _plain(line.amount),
            }
            for line in invoice.lines
        ],
        "total": _plain(invoice.total),
        "usage": [
            {"kind": row.kind, "count": row.count, "actions_each": row.actions_each, "actions": row.actions}
            for row in invoice.usage
        ],
        "not_metered": list(invoice.not_metered),
    }


def _base_lines(plan: Plan, usage_total: Decimal) -> Iterable[InvoiceLine]:
    base = plan.base
    yield _line(f"{plan.title}: monthly fee", "month", rate_flat(base.fee), plan)
    if not base.percent:
        return
    if base.rule is BaseRule.SUM:
        charge = rate_percent_added(usage_total, base.percent)
        yield _line(f"Fee of {charge.detail} of usage", "month", charge, plan)
        return
    charge = rate_percent_minimum(usage_total, base.percent, base.fee)
    if charge.amount:
        yield _line(f"Monthly fee raised to {charge.detail} of usage", "month", charge, plan)


def _action_lines(actions: int, plan: Plan) -> Iterable[InvoiceLine]:
    parts = split_included(Decimal(actions), Decimal(plan.included.actions))
    if parts.included:
        yield _line("Actions, included", "actions", _included(parts.included, ACTIONS_PER_PRICE), plan)
    for charge in rate_graduated(parts.beyond, plan.action_tiers):
        tier = f", {charge.detail}" if len(plan.action_tiers) > 1 else ""
        yield _line(f"Actions{tier}", "actions", charge, plan)


def _storage_lines(storage: StorageUsage | None, plan: Plan) -> Iterable[InvoiceLine]:
    if storage is None:
        return
    for name, byte_hours, included, price in (
        (ACTIVE_STORAGE, storage.active_byte_hours, plan.included.active_gbh, plan.active_gbh),
        (RETAINED_STORAGE, storage.retained_byte_hours, plan.included.retained_gbh, plan.retained_gbh),
    ):
        parts = split_included(gb_hours(byte_hours), included)
        if parts.included:
            yield _line(f"{name.capitalize()}, included", "GB-hours", _included(parts.included, 1), plan)
        if parts.beyond:
            yield _line(name.capitalize(), "GB-hours", rate_unit(parts.beyond, price), plan)


def _included(quantity: Decimal, per: int) -> Charge:
    return rate_unit(quantity, Price(amount=Decimal(0), per=per))


def _line(description: str, unit: str, charge: Charge, plan: Plan) -> InvoiceLine:
    return InvoiceLine(
        description=description,
        quantity=charge.quantity,
        unit=unit,
        unit_price=charge.price.amount,
        unit_price_per=charge.price.per,
        amount=_rounded(charge.amount, plan),
    )


def _rounded(amount: Decimal, plan: Plan) -> Decimal:
    context = Context(prec=DIGITS_MAX, rounding=ROUND_HALF_UP)
    return amount.quantize(Decimal(1).scaleb(-plan.currency_digits), context=context)


def _plain(number: Decimal) -> str:
    return f"{number:f}"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
