"""How every bad request to every method ends: what two servers are compared by."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import temporalio.api.workflowservice.v1 as ws

from tests.conformance.bad_input import bad_requests
from tests.conformance.calling import Caller
from tests.conformance.requests import About, methods
from tests.conformance.tokens import Tokens, spent_tokens, start_request

GOLDEN = Path(__file__).parent / "goldens" / "bad_input.json"

Outcomes = dict[str, dict[str, str]]
"""By method, by what is wrong: the code's name, and the names of the typed details."""

_OF_A_WORKFLOW = frozenset({"workflow_id", "execution", "workflow_execution", "update_ref", "operations"})


async def outcomes_of(caller: Caller, name: str, tokens: Tokens) -> dict[str, str]:
    """How each bad request to the method `name` ends. Each is about a workflow of its own, open, closed or unknown."""
    method = methods()[name]
    found: dict[str, str] = {}
    about_workflow = not _OF_A_WORKFLOW.isdisjoint(method.request_type.DESCRIPTOR.fields_by_name)
    count = len(list(bad_requests(name, _about(tokens))))
    for number in range(count):
        about = await _fresh(caller, tokens, open_workflow=about_workflow)
        label, request = list(bad_requests(name, about))[number]
        found[label] = await caller.outcome(method, request)
        if isinstance(request, ws.CreateWorkflowRuleRequest):  # a namespace has a few at most
            gone = ws.DeleteWorkflowRuleRequest(namespace=request.namespace, rule_id=request.spec.id)
            await caller.outcome(methods()["DeleteWorkflowRule"], gone)
        if about_workflow:
            await _end(caller, about)
    if about_workflow and "sound" in found:
        about = await _fresh(caller, tokens, open_workflow=True)
        await _end(caller, about)
        found["sound, closed workflow"] = await caller.outcome(
            method, dict(bad_requests(name, about))["sound"]
        )
        about = await _fresh(caller, tokens, open_workflow=False)
        found["sound, unknown workflow"] = await caller.outcome(
            method, dict(bad_requests(name, about))["sound"]
        )
    return found


async def _fresh(caller: Caller, tokens: Tokens, *, open_workflow: bool) -> About:
    about = _about(tokens)
    if open_workflow:
        await caller.named("StartWorkflowExecution", start_request(about.workflow_id))
    return about


def _about(tokens: Tokens) -> About:
    return About(
        workflow_id=f"about-{uuid.uuid4()}",
        workflow_token=tokens.workflow,
        activity_token=tokens.activity,
        query_token=tokens.query,
        nexus_token=tokens.nexus,
        other_tokens=tokens.others(),
    )


async def _end(caller: Caller, about: About) -> None:
    request = ws.TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=about.execution)
    await caller.outcome(methods()["TerminateWorkflowExecution"], request)


async def all_outcomes(address: str) -> Outcomes:
    """How every bad request to every method ends on the server at `address`."""
    async with Caller(address) as caller:
        tokens = await spent_tokens(caller)
        found: Outcomes = {}
        limit = asyncio.Semaphore(8)

        async def one(name: str) -> None:
            async with limit:
                found[name] = await outcomes_of(caller, name, tokens)

        await asyncio.gather(*(one(name) for name in methods()))
    return {name: found[name] for name in methods()}


def golden() -> Outcomes:
    """What the real server answers."""
    loaded: Outcomes = json.loads(GOLDEN.read_text())
    return loaded


def differences(ours: Mapping[str, Mapping[str, str]], real: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each request that the two end differently."""
    return [
        f"{method} | {label} | real: {outcome} | ours: {ours.get(method, {}).get(label, 'not tried')}"
        for method, outcomes in real.items()
        for label, outcome in outcomes.items()
        if ours.get(method, {}).get(label) != outcome
    ]
