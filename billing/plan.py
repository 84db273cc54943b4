"""Plans: what a month costs, as a TOML file.

Format 1 (the file's ``format``; a file of another number is refused, keys are only ever added to a number,
each with a default)::

    format = 1
    name = "business"                  # lower-case words with dashes
    title = "Business"
    currency = "USD"                   # ISO 4217, of CURRENCY_DIGITS
    source = "where the prices come from"

    [base]
    fee = 500                          # a month
    percent = 10                       # of the month's usage; 0 for none
    rule = "greater-of"                # the fee or the percentage, whichever is more; or "sum": both

    [included]                         # what the fee has paid already, in a month, over all namespaces
    actions = 2_500_000
    active_storage_gb = 2.5            # a GB is 744 GB-hours (31 days), in every month
    retained_storage_gb = 100

    [[actions.tiers]]                  # beyond what is included, counted from 0 each month
    up_to = 5_000_000                  # units up to and including this one; the last tier has none
    per_million = 50

    [storage]
    active_per_gbh = 0.042             # a GB-hour: 10**9 bytes kept for an hour
    retained_per_gbh = 0.00105

Numbers are read as decimals, digit by digit: no binary fraction comes near money.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from importlib import resources
from pathlib import Path

from billing.plan_fields import Fields
from billing.rating import Price, Tier
from billing.rating.graduated import require_tiers

FORMAT = 1
ACTIONS_PER_PRICE = 1_000_000
GBH_PER_INCLUDED_GB = 744
"""Temporal Cloud's: an included GB is kept through a month of 31 days."""
CURRENCY_DIGITS = {"CHF": 2, "EUR": 2, "GBP": 2, "JPY": 0, "USD": 2}
"""Currencies that plans may use, with the digits of their minor unit (ISO 4217)."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class BaseRule(StrEnum):
    """How the fee and the percentage of usage go together."""

    GREATER_OF = "greater-of"
    SUM = "sum"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFee:
    """The part of a month's bill that is owed beside the usage."""

    fee: Decimal
    percent: Decimal
    rule: BaseRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Included:
    """What the base fee has paid already; storage in GB-hours."""

    actions: int
    active_gbh: Decimal
    retained_gbh: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan whose file was checked: see the module's head."""

    name: str
    title: str
    currency: str
    source: str
    base: BaseFee
    included: Included
    action_tiers: tuple[Tier, ...]
    active_gbh: Price
    retained_gbh: Price

    @property
    def currency_digits(self) -> int:
        """Digits of the currency's minor unit, to which lines are rounded."""
        return CURRENCY_DIGITS[self.currency]


class PlanError(ValueError):
    """A plan cannot be used. Its sentence is for the one who wrote or named the plan."""


class InvalidPlan(PlanError):
    """A plan file's contents are wrong; `faults` are all of them, each beginning with its field."""

    def __init__(self, origin: str, faults: tuple[str, ...]) -> None:
        plural = "s" if len(faults) > 1 else ""
        lines = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(f"plan {origin}: {len(faults)} fault{plural} to mend:{lines}")
        self.faults = faults


class NoSuchPlan(PlanError):
    """There is no built-in plan of this name, and no such file."""


def builtin_plans() -> dict[str, Plan]:
    """The plans that come with the package, by name."""
    files = (entry for entry in resources.files("billing.plans").iterdir() if entry.name.endswith(".toml"))
    plans = [
        parse_plan(entry.read_text("utf-8"), entry.name)
        for entry in sorted(files, key=lambda each: each.name)
    ]
    return {plan.name: plan for plan in plans}


def load_plan(name_or_path: str) -> Plan:
    """The built-in plan of this name, else the plan in the file of this path.

    A name has neither a slash nor a dot, so a file can always be named, as ``./business`` if need be.

    Raises:
        NoSuchPlan: neither exists, or the file cannot be read.
        InvalidPlan: with all faults of the file.
    """
    if _NAME.fullmatch(name_or_path):
        plans = builtin_plans()
        if name_or_path in plans:
            return plans[name_or_path]
        known = ", ".join(plans)
        raise NoSuchPlan(
            f"no plan is named {name_or_path!r}; built in are {known}; for a file of your own give its path, "
            f"such as ./{name_or_path}.toml"
        )
    try:
        text = Path(name_or_path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidPlan(name_or_path, (f"file: is not UTF-8 text ({error.reason})",)) from None
    except OSError as error:
        raise NoSuchPlan(
            f"plan file {name_or_path} cannot be read: {error.strerror}; check the path"
        ) from None
    return parse_plan(text, name_or_path)


def parse_plan(text: str, origin: str) -> Plan:
    """Read and check a plan file's `text`; `origin` names it in errors.

    Raises:
        InvalidPlan: with all faults at once.
    """
    try:
        root = Fields(tomllib.loads(text, parse_float=Decimal))
    except (tomllib.TOMLDecodeError, ArithmeticError, RecursionError) as error:
        raise InvalidPlan(origin, (f"file: is not TOML: {error}",)) from None
    version = root.integer("format")
    if not root.faults and version != FORMAT:
        # Nothing else of a file in another format can be judged.
        raise InvalidPlan(origin, (f"format: is {version}; this version reads {FORMAT}",))
    plan_name = root.text("name")
    if plan_name and not _NAME.fullmatch(plan_name):
        root.fault("name", f"{plan_name!r} is not lower-case words joined by dashes")
    currency = root.text("currency")
    if currency and currency not in CURRENCY_DIGITS:
        root.fault("currency", f"{currency!r} is none of {', '.join(CURRENCY_DIGITS)}")
    title, source = root.text("title"), root.text("source")
    base, included = _base(root.table("base")), _included(root.table("included"))
    tiers = _tiers(root.table("actions"))
    storage = root.table("storage")
    active, retained = storage.amount("active_per_gbh"), storage.amount("retained_per_gbh")
    storage.finish()
    root.finish()
    if root.faults:
        raise InvalidPlan(origin, tuple(root.faults))
    return Plan(
        name=plan_name,
        title=title,
        currency=currency,
        source=source,
        base=base,
        included=included,
        action_tiers=tiers,
        active_gbh=Price(amount=active),
        retained_gbh=Price(amount=retained),
    )


def _base(table: Fields) -> BaseFee:
    fee, percent, rule = table.amount("fee"), table.amount("percent"), table.text("rule")
    if percent > 100:
        table.fault("percent", f"is {percent}, above 100")
    if rule and rule not in tuple(BaseRule):
        table.fault("rule", f"{rule!r} is none of {', '.join(BaseRule)}")
        rule = ""
    table.finish()
    return BaseFee(fee=fee, percent=percent, rule=BaseRule(rule) if rule else BaseRule.SUM)


def _included(table: Fields) -> Included:
    included = Included(
        actions=table.integer("actions"),
        active_gbh=table.amount("active_storage_gb") * GBH_PER_INCLUDED_GB,
        retained_gbh=table.amount("retained_storage_gb") * GBH_PER_INCLUDED_GB,
    )
    table.finish()
    return included


def _tiers(table: Fields) -> tuple[Tier, ...]:
    before = len(table.faults)
    tiers = []
    for row in table.tables("tiers"):
        up_to = row.integer("up_to") if row.has("up_to") else None
        price = Price(amount=row.amount("per_million"), per=ACTIONS_PER_PRICE)
        tiers.append(Tier(up_to=up_to, price=price))
        row.finish()
    table.finish()
    if len(table.faults) == before:
        try:
            require_tiers(tiers)
        except ValueError as error:
            table.fault("tiers", str(error))
    return tuple(tiers)
