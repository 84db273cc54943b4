"""What runs while the server is killed: an order with an activity and, by its number, a timer, a child, signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

QUEUE = "chaos"
# A task that a killed server had handed out is lost with its worker's answer: short timeouts bring it back.
ACTIVITY_TIMEOUT = timedelta(seconds=5)
WORKFLOW_TASK_TIMEOUT = timedelta(seconds=5)
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=1))
TIMER = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What one workflow is to do; it ends after `signals` signals."""

    number: int
    signals: int = 0
    timer: bool = False
    child: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one workflow did."""

    receipt: str
    child_receipt: str = ""
    heard: Sequence[str] = field(default_factory=list)


def order_of(number: int) -> Order:
    """The order with this number: a quarter each of plain ones, with a timer, with a child, with everything."""
    shape = number % 4
    return Order(number=number, timer=shape in (1, 3), child=shape in (2, 3), signals=3 if shape == 3 else 0)


def receipt_of(number: int) -> str:
    """What the activity answers."""
    return f"receipt {number * 7919 % 100_003}"


def outcome_of(order: Order, signals: Sequence[str]) -> Outcome:
    """What the workflow of `order` must answer after `signals`."""
    child = receipt_of(order.number + 1) if order.child else ""
    return Outcome(receipt=receipt_of(order.number), child_receipt=child, heard=list(signals))


@activity.defn
async def charge(number: int) -> str:
    return receipt_of(number)


@workflow.defn
class Charge:
    @workflow.run
    async def run(self, number: int) -> str:
        return await workflow.execute_activity(
            charge, number, start_to_close_timeout=ACTIVITY_TIMEOUT, retry_policy=RETRY
        )


@workflow.defn
class Fulfil:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, order: Order) -> Outcome:
        receipt = await workflow.execute_activity(
            charge, order.number, start_to_close_timeout=ACTIVITY_TIMEOUT, retry_policy=RETRY
        )
        if order.timer:
            await workflow.sleep(TIMER)
        child_receipt = ""
        if order.child:
            child_receipt = await workflow.execute_child_workflow(
                Charge.run,
                order.number + 1,
                id=f"{workflow.info().workflow_id}/charge",
                task_timeout=WORKFLOW_TASK_TIMEOUT,
            )
        await workflow.wait_condition(lambda: len(self.heard) >= order.signals)
        return Outcome(receipt=receipt, child_receipt=child_receipt, heard=self.heard)

    @workflow.signal
    def say(self, word: str) -> None:
        self.heard.append(word)
