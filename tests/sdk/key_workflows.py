"""Workflows of the tests of key providers: in a file of their own, as the sandbox loads it anew."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def shout(text: str) -> str:
    return text.upper()


@workflow.defn
class Child:
    @workflow.run
    async def run(self, text: str) -> str:
        result: str = await workflow.execute_activity(
            shout, text, start_to_close_timeout=timedelta(seconds=20)
        )
        return result


@workflow.defn
class Parent:
    """Calls a child of another subject, and goes on as a new run."""

    @workflow.run
    async def run(self, text: str, child: str, again: bool) -> str:
        result = await workflow.execute_child_workflow(Child.run, text, id=child)
        if again:
            workflow.continue_as_new(args=[result, f"{child}-again", False])
        return result
