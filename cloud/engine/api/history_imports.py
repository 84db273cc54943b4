"""The call that imports a run: ``/tacit.history.v1.HistoryService/Import``. Temporal's own services have none.

An operator's call, and not one of tenants: only the development listener serves it. It takes and gives a
``google.protobuf.Struct``, so it needs no proto of its own:

    request   {namespace, upload, part, more}     `part`: base64 of a piece of the run; with `more` others follow
    response  {workflow_id, run_id, events, open}     once the last piece is there; else empty

A run is a serialized ``temporal.api.common.v1.Payloads`` (``encode_run``): a WorkflowExecution, its History, and the
DescribeWorkflowExecutionResponse if there is one. It may be larger than a message, hence the pieces; they are put
together under the caller's `upload` id, in the order in which they come.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from cloud.engine.api import checks
from cloud.engine.core import importing
from cloud.engine.core.state import RunKey
from cloud.engine.runtime.importing import Importing, RunExists, WorkflowIdTaken
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import (
    AlreadyExists,
    CallContext,
    FailedPrecondition,
    InvalidArgument,
    Method,
    ResourceExhausted,
)

SERVICE = "tacit.history.v1.HistoryService"
IMPORT_HISTORY = Method(
    service=SERVICE,
    name="Import",
    path=f"/{SERVICE}/Import",
    request_type=Struct,
    response_type=Struct,
)

RUN_BYTES_MAX = 128 * 1024 * 1024
UPLOADS_MAX = 8
UPLOADS_BYTES_MAX = 256 * 1024 * 1024
UPLOAD_IDLE_S = 300.0
PART_BYTES_MAX = 2 * 1024 * 1024

_PARTS = (WorkflowExecution, History, DescribeWorkflowExecutionResponse)


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A run as its server told of it. `description` may be missing where the run is closed."""

    execution: WorkflowExecution
    events: Sequence[HistoryEvent]
    description: DescribeWorkflowExecutionResponse | None


def encode_run(run: ExportedRun) -> bytes:
    """`run` as bytes: protos in payloads, each with its type's name."""
    parts: list[Message] = [run.execution, History(events=run.events)]
    if run.description is not None:
        parts.append(run.description)
    return Payloads(
        payloads=[
            Payload(
                metadata={
                    "encoding": b"binary/protobuf",
                    "messageType": part.DESCRIPTOR.full_name.encode(),
                },
                data=part.SerializeToString(),
            )
            for part in parts
        ]
    ).SerializeToString()


def decode_run(data: bytes) -> ExportedRun:
    """The inverse of `encode_run`.

    Raises:
        ValueError: the bytes are something else.
    """
    try:
        by_type = {
            payload.metadata["messageType"].decode(errors="replace"): payload.data
            for payload in Payloads.FromString(data).payloads
        }
        found = [
            part.FromString(by_type[part.DESCRIPTOR.full_name])
            for part in _PARTS
            if part.DESCRIPTOR.full_name in by_type
        ]
    except DecodeError:
        raise ValueError("the bytes are no exported run: they can't be read") from None
    execution, history, description = None, None, None
    for message in found:
        match message:
            case WorkflowExecution():
                execution = message
            case History():
                history = message
            case DescribeWorkflowExecutionResponse():
                description = message
    if execution is None or history is None:
        raise ValueError("the bytes are no exported run: its ids and its history are missing")
    return ExportedRun(execution, history.events, description)


@dataclass(slots=True)
class _Upload:
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    touched_at: float = 0.0


class HistoryImports:
    """See the module's head. `clock` is monotonic, in seconds."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._importing = Importing(runtime)
        self._clock = clock
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()

    async def import_history(self, request: Struct, context: CallContext) -> Struct:
        """Take a piece of a run; with the last one, make it a run of the namespace."""
        namespace = checks.namespace_of(self._runtime, _text(request, "namespace"))
        upload_id = _text(request, "upload")
        checks.require(upload_id, "upload")
        upload = self._take(upload_id, _part(request))
        if request.fields["more"].bool_value:
            return Struct()
        del self._uploads[upload_id]
        try:
            run = decode_run(b"".join(upload.parts))
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        if not run.execution.workflow_id or not checks.is_uuid(run.execution.run_id):
            raise InvalidArgument("the run has no workflow id, or a run id that is no UUID")
        key = RunKey(namespace.namespace_id, run.execution.workflow_id, run.execution.run_id)
        try:
            imported = importing.read(key, run.events, run.description, self._runtime.limits)
            hot = await self._importing.store(namespace, imported)
        except importing.NotSettled as error:
            raise FailedPrecondition(f"{key.workflow_id} can't be imported now: {error}") from None
        except importing.NotImportable as error:
            raise InvalidArgument(f"{key.workflow_id} can't be imported: {error}") from None
        except (RunExists, WorkflowIdTaken) as error:
            raise AlreadyExists(str(error)) from None
        response = Struct()
        response.update(
            {
                "workflow_id": key.workflow_id,
                "run_id": key.run_id,
                "events": len(imported.events),
                "open": hot.execution.running,
            }
        )
        return response

    def _take(self, upload_id: str, part: bytes) -> _Upload:
        now = self._clock()
        for other in [k for k, u in self._uploads.items() if now - u.touched_at > UPLOAD_IDLE_S]:
            del self._uploads[other]
        upload = self._uploads.get(upload_id)
        if upload is None:
            if len(self._uploads) >= UPLOADS_MAX:
                raise ResourceExhausted(f"{UPLOADS_MAX} uploads are under way: wait for one to end")
            upload = self._uploads[upload_id] = _Upload()
        size = upload.size + len(part)
        if (
            size > RUN_BYTES_MAX
            or sum(u.size for u in self._uploads.values()) + len(part) > UPLOADS_BYTES_MAX
        ):
            del self._uploads[upload_id]
            raise ResourceExhausted(
                f"the run is larger than {RUN_BYTES_MAX} bytes, or too many are uploaded at once"
            )
        upload.parts.append(part)
        upload.size = size
        upload.touched_at = now
        return upload


def _text(request: Struct, name: str) -> str:
    return request.fields[name].string_value if name in request.fields else ""


def _part(request: Struct) -> bytes:
    try:
        return base64.b64decode(_text(request, "part"), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument("part: is no base64") from None
