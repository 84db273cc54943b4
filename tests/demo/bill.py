"""Last part: what was used, counted twice, and what it costs."""

from __future__ import annotations

from decimal import Decimal

from billing import differences, recount_run, recount_total
from tests.demo.story import Story, require

PLAN = "business"


async def compare_usage_with_a_recount(story: Story) -> str:
    """The metered usage equals what the histories show, for the kinds that histories show."""
    usage = story.tacit("usage", "--profile", "cloud", "--namespace", story.namespace)
    ledger = {row["kind"]: int(row["count"]) for row in usage["rows"]}
    recounts = []
    async for run in story.connected.list_workflows():
        handle = story.connected.get_workflow_handle(run.id, run_id=run.run_id)
        recounts.append(recount_run([event async for event in handle.fetch_history_events()]))
        story.say(f"{len(recounts)} histories", 0, 1)
    require(recounts, "there are histories to recount")
    differing = differences(ledger, recount_total(recounts))
    require(not differing, f"usage equals the recount; ledger and recount differ in {differing}")
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(ledger.items()))
    return f"{kinds}; equal to the recount of {len(recounts)} histories"


async def preview_the_invoice(story: Story) -> str:
    usage = story.tacit("usage", "--profile", "cloud")
    invoice = story.tacit("invoice", "--profile", "cloud", "--plan", PLAN)
    total = sum((Decimal(line["amount"]) for line in invoice["lines"]), Decimal(0))
    require(invoice["lines"], "the invoice has lines")
    require(total == Decimal(invoice["total"]), "its total is the sum of its lines")
    counts = {row["kind"]: row["count"] for row in invoice["usage"]}
    require(
        counts == {row["kind"]: row["count"] for row in usage["rows"]}, "it rates the usage that was metered"
    )
    actions = sum(row["actions"] for row in invoice["usage"])
    require(actions == usage["actions"], "it counts the actions that usage does")
    lines = "; ".join(f"{line['description']} {line['amount']}" for line in invoice["lines"])
    return f"{actions:,} actions by plan {PLAN}: {lines}; total {invoice['total']} {invoice['currency']}"
