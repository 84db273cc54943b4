"""From neutral usage to actions to money. Other packages use only what is offered here.

The way: a ledger's :class:`UsageSource` gives :class:`UsageCount` rows, the action table turns them into
actions, a plan and the price models in :mod:`billing.rating` into lines of an :class:`Invoice`.
:func:`recount_run` counts the same from histories.
"""

from billing.actions import ACTION_TABLE, ActionRule, Basis, UnknownKind, actions_by_kind, actions_of
from billing.invoice import Invoice, InvoiceLine, KindUsage, Period, invoice_as_json, preview_invoice
from billing.plan import InvalidPlan, NoSuchPlan, Plan, PlanError, builtin_plans, load_plan, parse_plan
from billing.recount import BrokenHistory, Recount, comparable, differences, recount_run, recount_total
from billing.storage_usage import StorageUsage
from billing.usage import (
    Tally,
    UsageCount,
    UsageSource,
    by_day,
    by_kind,
    by_namespace,
    by_workflow_type,
    counts_by_kind,
    is_whole_hour,
)

__all__ = [
    "ACTION_TABLE",
    "ActionRule",
    "Basis",
    "BrokenHistory",
    "InvalidPlan",
    "Invoice",
    "InvoiceLine",
    "KindUsage",
    "NoSuchPlan",
    "Period",
    "Plan",
    "PlanError",
    "Recount",
    "StorageUsage",
    "Tally",
    "UnknownKind",
    "UsageCount",
    "UsageSource",
    "actions_by_kind",
    "actions_of",
    "builtin_plans",
    "by_day",
    "by_kind",
    "by_namespace",
    "by_workflow_type",
    "comparable",
    "counts_by_kind",
    "differences",
    "invoice_as_json",
    "is_whole_hour",
    "load_plan",
    "parse_plan",
    "preview_invoice",
    "recount_run",
    "recount_total",
]
