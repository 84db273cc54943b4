"""`tacit history`: a run half way on the real server is exported, ended there, imported here, and completes."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from temporalio import activity, workflow
from temporalio.api.export.v1 import WorkflowExecutions
from temporalio.api.history.v1 import History
from temporalio.client import Client, WorkflowHistory
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from cloud.cli import history, history_files
from tests.processes import (
    BIN,
    COMMAND_SECONDS_MAX,
    ROOT,
    Server,
    clean_environment,
    free_port,
    tacit,
    temporal_dev,
)

TQ = "q"


@workflow.defn
class HalfWay:
    """Waits for a signal, an activity that needs its third attempt, and a timer."""

    def __init__(self) -> None:
        self.name = ""

    @workflow.run
    async def run(self) -> str:
        timer = asyncio.create_task(asyncio.sleep(10))
        work = asyncio.create_task(
            workflow.execute_activity(
                "flaky",
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=1),
            )
        )
        await workflow.wait_condition(lambda: bool(self.name))
        workflow.upsert_memo({"name": self.name})
        result: int = await work
        await timer
        return f"{self.name} after {result} attempts"

    @workflow.signal
    def call(self, name: str) -> None:
        self.name = name


class Flaky:
    def __init__(self, *, works: bool) -> None:
        self.works = works

    @activity.defn(name="flaky")
    async def run(self) -> int:
        info = activity.info()
        if self.works:
            assert info.heartbeat_details == [info.attempt - 1]
            return info.attempt
        activity.heartbeat(info.attempt)
        raise ApplicationError(f"attempt {info.attempt}", type="NotYet")


def worker(client: Client, *, works: bool) -> Worker:
    return Worker(
        client,
        task_queue=TQ,
        workflows=[HalfWay],
        activities=[Flaky(works=works).run],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


def dev(folder: Path) -> Server:
    """`tacit dev` in memory, on a free port."""
    port = free_port()
    return Server(
        name="tacit dev",
        command=[str(part) for part in (BIN / "tacit", "dev", "--port", port)],
        ports=[port],
        log=folder / "tacit-dev.log",
    )


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Server]:
    server = dev(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Server]:
    server = temporal_dev(tmp_path)
    server.start()
    yield server
    server.stop()


async def connected(server: Server) -> Client:
    for _ in range(100):
        try:
            return await Client.connect(server.address)
        except RuntimeError:
            await asyncio.sleep(0.1)
    return await Client.connect(server.address)


@pytest.mark.slow
async def test_a_run_of_the_real_server_goes_on_here(tmp_path: Path, real: Server, here: Server) -> None:
    there = await connected(real)
    file, protos = tmp_path / "run.json", tmp_path / "run.pb"
    for attempt in range(50):
        try:
            handle = await there.start_workflow(HalfWay.run, id="half", task_queue=TQ)
            break
        except Exception:  # the namespace of a fresh server takes a moment
            if attempt == 49:
                raise
            await asyncio.sleep(0.2)
    async with worker(there, works=False):
        await handle.signal(HalfWay.call, "Ada")
        await _until_attempt(handle, 2)
    exported = await asyncio.to_thread(
        tacit, "history", "export", "half", "--file", str(file), "--address", real.address, env={}
    )
    assert exported["run_id"] == handle.first_execution_run_id
    again = await history.read_run(there, "half", "")
    history_files.write(again, protos)
    assert history_files.read(protos) == [again]
    await handle.terminate("moved")

    imported = await asyncio.to_thread(
        tacit, "history", "import", str(file), "--address", here.address, env={}
    )
    assert imported == [
        {"workflow_id": "half", "run_id": exported["run_id"], "events": exported["events"], "open": True}
    ]
    mine = await connected(here)
    described = (await mine.get_workflow_handle("half").describe()).raw_description
    wanted = history_files.read(file)[0].description
    assert wanted is not None
    for told, meant in zip(described.pending_activities, wanted.pending_activities, strict=True):
        for field in ("activity_id", "attempt", "last_failure", "heartbeat_details", "last_worker_identity"):
            assert getattr(told, field) == getattr(meant, field), field
    assert described.workflow_execution_info.memo == wanted.workflow_execution_info.memo
    assert described.workflow_execution_info.start_time == wanted.workflow_execution_info.start_time
    async with worker(mine, works=True):
        result = await asyncio.wait_for(mine.get_workflow_handle("half").result(), 60)
    attempts = wanted.pending_activities[0].attempt
    assert result == f"Ada after {attempts} attempts"


async def _until_attempt(handle: object, wanted: int) -> None:
    for _ in range(300):
        described = (await handle.describe()).raw_description  # type: ignore[attr-defined]
        pending = described.pending_activities
        # Settled: it has seen the signal, and its activity waits for the next attempt.
        if (
            pending
            and pending[0].attempt >= wanted
            and pending[0].HasField("next_attempt_schedule_time")
            and described.workflow_execution_info.memo.fields
            and not described.HasField("pending_workflow_task")
        ):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the activity has not failed")


async def test_what_other_tools_write_is_read(tmp_path: Path, here: Server) -> None:
    mine = await connected(here)
    handle = await mine.start_workflow("Nobody", id="ended", task_queue=TQ)
    await handle.terminate("enough")
    told = await handle.fetch_history()
    shown = tmp_path / "shown.json"  # as `temporal workflow show --output json` has it
    shown.write_text(json.dumps(MessageToDict(History(events=told.events))))
    exported = WorkflowExecutions()
    exported.items.add().history.events.extend(told.events)
    cloud = tmp_path / "cloud.pb"
    cloud.write_bytes(exported.SerializeToString())
    second = tmp_path / "second"
    second.mkdir()
    for file in (shown, cloud):
        target = dev(second)
        target.start()
        try:
            imported = await asyncio.to_thread(
                tacit, "history", "import", str(file), "--address", target.address, env={}
            )
            assert imported[0]["run_id"] == handle.first_execution_run_id
            there = await connected(target)
            found = await there.get_workflow_handle("ended").fetch_history()
            assert found.events == told.events
        finally:
            target.stop()


def test_files_keep_all(tmp_path: Path) -> None:
    recorded = json.loads((ROOT / "tests/billing/histories/everything.json").read_text())
    events = WorkflowHistory.from_json("wf", recorded.get("history", recorded)).events
    for name in ("run.json", "run.pb"):
        run = history_files.ExportedRun(
            history_files.WorkflowExecution(workflow_id="wf", run_id="r"), events, None
        )
        history_files.write(run, tmp_path / name)
        found = history_files.read(tmp_path / name)
        assert list(found[0].events) == list(events)
        assert found[0].execution == run.execution


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{}", "does not tell the run's ids"),
        ('{"events": [{"nonsense": 1}]}', "the JSON is no history"),
        ("nothing of the kind", "neither an exported run nor an export file"),
    ],
)
def test_a_file_that_holds_no_run_is_told_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    done = subprocess.run(
        [BIN / "tacit", "history", "import", str(file), "--address", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == 1
    assert sentence in done.stderr
