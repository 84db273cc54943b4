"""What SDK-level scenarios share: worker set-up and the search attributes they use."""

from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from .raw import Scenario

SEARCH_ATTRIBUTES = {
    "ScenarioKeyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "ScenarioText": IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
    "ScenarioInt": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "ScenarioDouble": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "ScenarioBool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    "ScenarioTime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "ScenarioWords": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}


def sdk_worker(s: Scenario, **options: Any) -> Worker:
    """A Python SDK worker on the scenario's queue, without the sandbox (its imports cost seconds)."""
    options.setdefault("workflow_runner", UnsandboxedWorkflowRunner())
    options.setdefault("max_heartbeat_throttle_interval", timedelta(milliseconds=100))
    return Worker(s.client, task_queue=s.tq, **options)
