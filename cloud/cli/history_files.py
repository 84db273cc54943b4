"""Files of exported runs: what is read and written, in JSON and as protos.

.json   {"execution": …, "history": {"events": […]}, "description": …}, each proto in its JSON form;
        read as well: what `temporal workflow show --output json` prints ({"events": […]})
.pb     ``encode_run`` of the import's call; read as well: Cloud's export files
        (``temporal.api.export.v1.WorkflowExecutions``), which hold closed runs
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.export.v1 import WorkflowExecutions
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from cloud.engine.api.history_imports import ExportedRun, decode_run, encode_run

FILE_BYTES_MAX = 512 * 1024 * 1024


class NoExport(Exception):
    """The file holds no exported run; the sentence says what is wrong with it."""


def write(run: ExportedRun, path: Path) -> None:
    """Write `run` to `path`, in the form that its name asks for (``.json``, else protos).

    Raises:
        OSError: the file can't be written.
    """
    if path.suffix == ".json":
        path.write_text(to_json(run))
    else:
        path.write_bytes(encode_run(run))


def to_json(run: ExportedRun) -> str:
    """`run` as JSON."""
    found: dict[str, Any] = {
        "execution": MessageToDict(run.execution),
        "history": MessageToDict(History(events=run.events)),
    }
    if run.description is not None:
        found["description"] = MessageToDict(run.description)
    return json.dumps(found, indent=1, ensure_ascii=False)


def read(path: Path, workflow_id: str = "", run_id: str = "") -> list[ExportedRun]:
    """The runs of a file. The ids are needed only where the file does not tell them.

    Raises:
        OSError: the file can't be read.
        NoExport: it holds no run, or does not tell its ids.
    """
    if path.stat().st_size > FILE_BYTES_MAX:
        raise NoExport(f"{path} is larger than {FILE_BYTES_MAX} bytes")
    data = path.read_bytes()
    runs = _from_json(data) if data[:64].lstrip()[:1] == b"{" else _from_protos(data)
    if not runs:
        raise NoExport(f"{path} holds no run")
    return [_named(run, workflow_id, run_id, path) for run in runs]


def _from_json(data: bytes) -> list[ExportedRun]:
    try:
        found = json.loads(data)
        # Strict: a field that is not known here would be lost without a word.
        events = ParseDict(found.get("history", found), History()).events
        execution = ParseDict(found.get("execution", {}), WorkflowExecution())
        description = None
        if "description" in found:
            description = ParseDict(found["description"], DescribeWorkflowExecutionResponse())
    except (ValueError, ParseError, AttributeError, TypeError) as error:
        raise NoExport(f"the JSON is no history: {error}") from None
    return [ExportedRun(execution, events, description)]


def _from_protos(data: bytes) -> list[ExportedRun]:
    try:
        return [decode_run(data)]
    except ValueError:
        pass
    try:
        items = WorkflowExecutions.FromString(data).items
    except DecodeError:
        raise NoExport("the file is neither an exported run nor an export file of Temporal Cloud") from None
    return [ExportedRun(WorkflowExecution(), item.history.events, None) for item in items]


def _named(run: ExportedRun, workflow_id: str, run_id: str, path: Path) -> ExportedRun:
    """`run` with its ids: as told, else as its description and its first event have them."""
    execution = WorkflowExecution()
    execution.CopyFrom(run.execution)
    info = run.description.workflow_execution_info.execution if run.description else WorkflowExecution()
    first = _first(run.events)
    execution.workflow_id = (
        workflow_id or execution.workflow_id or info.workflow_id or _attribute(first, "workflow_id")
    )
    execution.run_id = (
        run_id or execution.run_id or info.run_id or _attribute(first, "original_execution_run_id")
    )
    if not execution.workflow_id or not execution.run_id:
        raise NoExport(f"{path} does not tell the run's ids: give --workflow-id and --run-id")
    return ExportedRun(execution, run.events, run.description)


def _first(events: Sequence[HistoryEvent]) -> HistoryEvent:
    return events[0] if events else HistoryEvent()


def _attribute(event: HistoryEvent, name: str) -> str:
    return str(getattr(event.workflow_execution_started_event_attributes, name))
