"""Workflows that use all that carries data. What they must hide comes to them as arguments, as they are deterministic."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import nexusrpc
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

SHORT = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)


@nexusrpc.service
class Desk:
    """A Nexus service that answers at once, by a workflow, or not."""

    ask: nexusrpc.Operation[str, str]
    work: nexusrpc.Operation[str, str]
    refuse: nexusrpc.Operation[str, str]


@workflow.defn
class Errand:
    """Returns what it was given, or fails with it."""

    @workflow.run
    async def run(self, given: str, fails: bool = False) -> str:
        if fails:
            cause = ValueError(f"cause {given}")
            raise ApplicationError(f"failed {given}", given, type="Errand", non_retryable=True) from cause
        return given


@workflow.defn
class Everything:
    """Activities, children, timers, memos, messages, Nexus, a failure that is caught, continue-as-new."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.done = False

    @workflow.run
    async def run(self, own: dict[str, str], endpoint: str) -> list[str]:
        workflow.set_current_details(own["current details"])
        workflow.upsert_memo({"upserted": own["upserted memo"]})
        await workflow.sleep(timedelta(milliseconds=1), summary=own["timer summary"])
        results = [
            await workflow.execute_activity(
                "fetch",
                own["activity argument"],
                result_type=str,
                start_to_close_timeout=SHORT,
                summary=own["activity summary"],
            ),
            await workflow.execute_local_activity(
                "fetch_locally",
                own["local activity argument"],
                result_type=str,
                start_to_close_timeout=SHORT,
            ),
            await workflow.execute_child_workflow(
                Errand.run,
                args=[own["child argument"], False],
                id=f"{workflow.info().workflow_id}-child",
                memo={"note": own["child memo"]},
                static_summary=own["child summary"],
                static_details=own["child details"],
            ),
        ]
        with suppress(Exception):  # whatever it is, it is in the history now
            await workflow.execute_activity(
                "fail", own["failing activity argument"], start_to_close_timeout=SHORT, retry_policy=ONCE
            )
        with suppress(Exception):
            await workflow.execute_child_workflow(
                Errand.run,
                args=[own["failing child argument"], True],
                id=f"{workflow.info().workflow_id}-failing",
            )
        if endpoint:
            desk = workflow.create_nexus_client(service=Desk, endpoint=endpoint)
            results.append(
                await desk.execute_operation(Desk.ask, own["nexus input"], summary=own["nexus summary"])
            )
            results.append(await desk.execute_operation(Desk.work, own["nexus workflow input"]))
            with suppress(Exception):
                await desk.execute_operation(Desk.refuse, own["refused nexus input"])
        await workflow.wait_condition(lambda: self.done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if "again" in own:
            rest = {name: value for name, value in own.items() if name != "again"}
            workflow.continue_as_new(
                args=[{**rest, "continued": own["again"]}, ""], memo={"note": own["continue-as-new memo"]}
            )
        return results

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told.append(text)

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.query
    def echo(self, text: str) -> str:
        return f"{text} {''.join(self.told)}"

    @workflow.update
    async def change(self, text: str) -> str:
        await asyncio.sleep(0)
        if text.startswith("fail"):
            raise ApplicationError(f"not changed: {text}")
        self.told.append(text)
        return text

    @change.validator
    def check(self, text: str) -> None:
        if text.startswith("refuse"):
            raise ApplicationError(f"refused: {text}", text)


WORKFLOWS = [Errand, Everything]
