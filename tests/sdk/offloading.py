"""Workflows that move large values by every way that Temporal has, for tests of what is offloaded."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta

import nexusrpc
import nexusrpc.handler
from temporalio import activity, nexus, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError

ONCE = RetryPolicy(maximum_attempts=1)
SOON = timedelta(seconds=60)
SIZE = 2_000


def large(name: str) -> str:
    """A value that is worth offloading, known by `name` wherever it turns up: `canary-<name>`."""
    return f"canary-{name}-".ljust(SIZE, "_")


def answer_to(text: str) -> str:
    """The large value that answers `large("…-input")`: `large("…-result")`."""
    return large(text.removeprefix("canary-").rstrip("_-").replace("input", "result"))


@nexusrpc.service
class Echoing:
    """A Nexus service with an operation that answers at once and one that is a workflow."""

    at_once: nexusrpc.Operation[str, str]
    by_workflow: nexusrpc.Operation[str, str]


@nexusrpc.handler.service_handler(service=Echoing)
class EchoingHandler:
    """Its handler."""

    @nexusrpc.handler.sync_operation
    async def at_once(self, _: nexusrpc.handler.StartOperationContext, text: str) -> str:
        assert text == large("nexus-input")
        return large("nexus-result")

    @nexus.workflow_run_operation
    async def by_workflow(
        self, context: nexus.WorkflowRunOperationContext, text: str
    ) -> nexus.WorkflowHandle[str]:
        return await context.start_workflow(Child.run, text, id=f"nexus-{context.request_id}")


@activity.defn
async def work(name: str) -> str:
    """Beats, fails once with details, and is given its last heartbeat; then it returns a large value."""
    if activity.info().attempt == 1:
        activity.heartbeat(large(f"{name}-heartbeat"))
        raise ApplicationError("again", large(f"{name}-detail"))
    assert activity.info().heartbeat_details == [large(f"{name}-heartbeat")]
    return large(f"{name}-result")


@activity.defn
async def local(text: str) -> str:
    """A local activity."""
    return answer_to(text)


@activity.defn
async def fail(name: str) -> None:
    """Fails with a large message and large details."""
    raise ApplicationError(large(f"{name}-message"), large(f"{name}-detail"), non_retryable=True)


async def details_of(failing: Awaitable[object]) -> list[object]:
    """The details of the failure that ends what is awaited."""
    try:
        await failing
    except (ActivityError, ChildWorkflowError) as error:
        return list(error.cause.details) if isinstance(error.cause, ApplicationError) else []
    return []


@workflow.defn
class Child:
    """Returns a large value."""

    @workflow.run
    async def run(self, text: str) -> str:
        if "fail" in text:
            raise ApplicationError("child failed", large("child-failure-detail"))
        return answer_to(text)


@workflow.defn
class Everything:
    """Uses every way to move a value, waits for a signal, continues as new once, and returns a large value."""

    def __init__(self) -> None:
        self.signals: list[str] = []

    @workflow.run
    async def run(self, text: str, endpoint: str, last: bool = False) -> str:
        assert text == large("continued-input" if last else "input")
        assert workflow.memo()["note"] == large("memo")
        if last:
            await workflow.wait_condition(lambda: len(self.signals) > 0)
            return large("output")
        got = await workflow.execute_activity(
            work, "activity", start_to_close_timeout=SOON, summary=large("summary")
        )
        assert got == large("activity-result")
        got = await workflow.execute_local_activity(local, large("local-input"), start_to_close_timeout=SOON)
        assert got == large("local-result")
        failing = workflow.execute_activity(fail, "failing", start_to_close_timeout=SOON, retry_policy=ONCE)
        assert await details_of(failing) == [large("failing-detail")]
        assert await workflow.execute_child_workflow(
            Child.run, large("child-input"), memo={"note": large("child-memo")}
        ) == large("child-result")
        failing = workflow.execute_child_workflow(Child.run, large("child-input-to-fail"))
        assert await details_of(failing) == [large("child-failure-detail")]
        if endpoint:
            client = workflow.create_nexus_client(service=Echoing, endpoint=endpoint)
            assert await client.execute_operation(Echoing.at_once, large("nexus-input")) == large(
                "nexus-result"
            )
            assert await client.execute_operation(Echoing.by_workflow, large("nexus-run-input")) == large(
                "nexus-run-result"
            )
        workflow.upsert_memo({"more": large("upserted-memo")})
        other = workflow.get_external_workflow_handle_for(
            Listener.run, f"{workflow.info().workflow_id}-listener"
        )
        await other.signal(Listener.tell, large("external-signal"))
        await workflow.wait_condition(lambda: len(self.signals) > 1)
        assert self.signals == [large("signal"), large("update")]
        return workflow.continue_as_new(args=[large("continued-input"), endpoint, True])

    @workflow.signal
    def tell(self, text: str) -> None:
        self.signals.append(text)

    @workflow.query
    def told(self, text: str) -> str:
        assert text == large("query-input")
        return large("query-result")

    @workflow.update
    async def add(self, text: str) -> str:
        self.signals.append(text)
        return large("update-result")


@workflow.defn
class Listener:
    """Returns the first signal that it is sent."""

    def __init__(self) -> None:
        self.signals: list[str] = []

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self.signals))
        return self.signals[0]

    @workflow.signal
    def tell(self, text: str) -> None:
        self.signals.append(text)


WORKFLOWS = [Everything, Child, Listener]
ACTIVITIES = [work, local, fail]
