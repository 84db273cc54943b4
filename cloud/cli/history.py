"""`tacit history export` and `import`: runs with all that is known of them, as files.

Exporting reads with Temporal's own calls, so it works on any server that speaks them. Importing asks a service of ours for
what Temporal's calls can't: to take a run over as it is. Only `tacit dev` serves that.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import grpc
import typer
from google.protobuf.struct_pb2 import Struct
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from cloud.cli import history_files
from cloud.cli.output import Output, OutputOption, emit, fail
from cloud.engine.api.history_imports import IMPORT_HISTORY, PART_BYTES_MAX, ExportedRun, encode_run

app = typer.Typer(
    help="Export runs of any Temporal server to files, and take them over into `tacit dev`.",
    epilog="Example: tacit history export order-17 --file order-17.json",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

CALL_TIMEOUT_S = 60.0
AGREEMENT_ATTEMPTS_MAX = 5
"""How often history and description are read until they are of one moment."""

T = TypeVar("T")

AddressOption = Annotated[str, typer.Option(help="HOST:PORT of the server, without TLS.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="The namespace.")]


@app.command("export", epilog="Example: tacit history export order-17 --file order-17.json")
def export_run(
    workflow_id: Annotated[str, typer.Argument(help="The workflow's id.")],
    file: Annotated[Path, typer.Option("--file", "-f", help="Where to: .json, or .pb for protos.")],
    run_id: Annotated[str, typer.Option(help="A run; without it, the newest.")] = "",
    address: AddressOption = "127.0.0.1:7233",
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TEXT,
) -> None:
    """Write a run to a file: its history, and what its server's description tells beside it."""

    async def export(client: Client) -> ExportedRun:
        return await read_run(client, workflow_id, run_id)

    run = _with_client(address, namespace, export)
    try:
        history_files.write(run, file)
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror}")
    emit(
        {
            "workflow_id": run.execution.workflow_id,
            "run_id": run.execution.run_id,
            "events": len(run.events),
            "file": file,
        },
        output,
    )


@app.command("import", epilog="Example: tacit history import order-17.json --namespace default")
def import_run(
    file: Annotated[
        Path,
        typer.Argument(
            help="A file of `tacit history export`, of `temporal workflow show`, or of Cloud's export."
        ),
    ],
    workflow_id: Annotated[
        str, typer.Option(help="The workflow's id, where the file does not tell it.")
    ] = "",
    run_id: Annotated[str, typer.Option(help="The run's id, where the file does not tell it.")] = "",
    address: AddressOption = "127.0.0.1:7233",
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TEXT,
) -> None:
    """Make the runs of a file runs of a namespace of `tacit dev`: open ones go on there."""
    try:
        runs = history_files.read(file, workflow_id, run_id)
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}")
    except history_files.NoExport as error:
        fail(str(error))
    imported = []
    with grpc.insecure_channel(address) as channel:
        for run in runs:
            try:
                imported.append(send_run(channel, namespace, run))
            except grpc.RpcError as error:
                fail(f"{run.execution.workflow_id} was not imported: {_sentence(error, address)}")
    emit(imported, output)


async def read_run(client: Client, workflow_id: str, run_id: str) -> ExportedRun:
    """A run's history and description, of one moment if the run lets that be.

    Raises:
        RPCError: the server refuses.
    """
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    before = await _describe(client, execution)
    execution.CopyFrom(before.workflow_execution_info.execution)
    attempts = 0
    while True:
        events = await _history(client, execution)
        after = await _describe(client, execution)
        attempts += 1
        if _moment(before) == _moment(after) or attempts >= AGREEMENT_ATTEMPTS_MAX:
            return ExportedRun(execution, events, after)  # if it does not rest, importing it will say so
        before = after


def _moment(description: DescribeWorkflowExecutionResponse) -> tuple[int, int]:
    info = description.workflow_execution_info
    return info.history_length, info.state_transition_count


async def _describe(client: Client, execution: WorkflowExecution) -> DescribeWorkflowExecutionResponse:
    return await client.workflow_service.describe_workflow_execution(
        DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=execution)
    )


async def _history(client: Client, execution: WorkflowExecution) -> list[HistoryEvent]:
    events: list[HistoryEvent] = []
    token = b""
    while True:
        page = await client.workflow_service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(
                namespace=client.namespace, execution=execution, next_page_token=token
            )
        )
        events.extend(page.history.events)
        token = page.next_page_token
        if not token:
            return events


def send_run(channel: grpc.Channel, namespace: str, run: ExportedRun) -> dict[str, object]:
    """Import `run`, in as many calls as its size takes. Gives what the service says of it.

    Raises:
        grpc.RpcError: it refuses.
    """
    call = channel.unary_unary(
        IMPORT_HISTORY.path,
        request_serializer=Struct.SerializeToString,
        response_deserializer=Struct.FromString,
    )
    data, upload = encode_run(run), uuid.uuid4().hex
    for start in range(0, len(data), PART_BYTES_MAX):
        part = data[start : start + PART_BYTES_MAX]
        more = start + PART_BYTES_MAX < len(data)
        request = Struct()
        request.update(
            {"namespace": namespace, "upload": upload, "part": base64.b64encode(part).decode(), "more": more}
        )
        response = call(request, timeout=CALL_TIMEOUT_S)
        if not more:
            return {
                "workflow_id": response["workflow_id"],
                "run_id": response["run_id"],
                "events": int(response.fields["events"].number_value),
                "open": response["open"],
            }
    raise AssertionError("an encoded run is never empty")


def _with_client(address: str, namespace: str, work: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        return await work(await Client.connect(address, namespace=namespace))

    try:
        return asyncio.run(run())
    except RPCError as error:
        fail(f"{address}: {error.message}")
    except RuntimeError as error:
        fail(f"{address} can't be reached: {error}")


def _sentence(error: grpc.RpcError, address: str) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"{address} takes no runs over: only `tacit dev` does"
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return f"{address} can't be reached: is the service running?"
    return str(error.details())
