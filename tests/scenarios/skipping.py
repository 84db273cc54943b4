"""Workflows that skip time: calls, and histories whose moments are shown in whole hours since the run's start."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.common.v1 import FastForwardConfig, TimeSkippingConfig
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionOptions

from . import commands as c
from .histories import event_text
from .raw import Scenario
from .rendering import render
from .snapshots import expect

HOUR = 3600
ON = TimeSkippingConfig(enabled=True)


def forward(hours: float, fast_forward_id: str = "ff") -> TimeSkippingConfig:
    """Skip time up to `hours` from now."""
    return TimeSkippingConfig(
        enabled=True,
        fast_forward_config=FastForwardConfig(id=fast_forward_id, duration=c.seconds(hours * HOUR)),
    )


async def update(s: Scenario, config: TimeSkippingConfig | None) -> Any:
    """Give the workflow another configuration, or none."""
    return await s.service.update_workflow_execution_options(
        ws.UpdateWorkflowExecutionOptionsRequest(
            namespace=s.namespace,
            workflow_execution=s.execution(),
            workflow_execution_options=WorkflowExecutionOptions(time_skipping_config=config),
            update_mask=FieldMask(paths=["time_skipping_config"]),
            identity="me",
        )
    )


async def poll_forward(
    s: Scenario, fast_forward_id: str = "ff", *, run_id: str = "", timeout: float = 15
) -> Any:
    """Wait for the end of a fast-forward."""
    return await s.service.poll_workflow_execution_time_skipping(
        ws.PollWorkflowExecutionTimeSkippingRequest(
            namespace=s.namespace,
            workflow_execution=s.execution(run_id=run_id),
            fast_forward_id=fast_forward_id,
        ),
        timeout=timedelta(seconds=timeout),
    )


async def expect_hours(
    s: Scenario, text: str, *, workflow_id: str = "", run_id: str = "", since: HistoryEvent | None = None
) -> None:
    """A run's history is this; hours count from its start, or from that of another run."""
    events = await s.history(workflow_id, run_id)
    expect(_story(s, events, since or events[0]), text)


async def expect_skipping(s: Scenario, text: str) -> None:
    """A description tells this of time skipping."""
    info = (await s.describe()).workflow_extended_info.time_skipping_info
    first = (await s.history())[0]
    shown = f"now=+{_hours(first, info.current_time)}h " if info.HasField("current_time") else ""
    expect(shown + render(info, s.names), text)


def _hours(since: HistoryEvent, moment: Any) -> int:
    return round((moment.ToNanoseconds() - since.event_time.ToNanoseconds()) / 1e9 / HOUR)


def _story(s: Scenario, events: Sequence[HistoryEvent], since: HistoryEvent) -> str:
    return "\n".join(_line(s, event, since) for event in events)


def _line(s: Scenario, original: HistoryEvent, since: HistoryEvent) -> str:
    event = HistoryEvent()
    event.CopyFrom(original)
    attributes: Message = getattr(event, event.WhichOneof("attributes") or "")
    passed = getattr(attributes, "time_skipping_state_propagation", None)
    if passed is not None and passed.HasField("initial_skipped_duration"):
        whole = round(passed.initial_skipped_duration.ToTimedelta().total_seconds() / HOUR)
        passed.initial_skipped_duration.FromTimedelta(timedelta(hours=whole))
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED:
        # The real server shows whether it is still on at the end of the transition, not what was asked for.
        event.workflow_execution_options_updated_event_attributes.time_skipping_config.enabled = False
    text = event_text(event, s.names)
    if not event.workflow_execution_started_event_attributes.HasField("parent_workflow_execution"):
        # The real server gives a child's first event its own time, and only those behind it the child's.
        text += f" at=+{_hours(since, event.event_time)}h"
    target = getattr(attributes, "target_time", None)
    if target is not None and attributes.HasField("target_time"):
        text += f" skips_to=+{_hours(since, target)}h"
    return text
