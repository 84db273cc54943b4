"""A process with schedules is killed again and again: each time is acted on once, none is left out."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.service import RPCError

from tests.processes import free_port

KILLS = 4
BACKFILLED = 61


def start(port: int, folder: Path) -> subprocess.Popen[bytes]:
    command = [
        *(str(Path(sys.executable).parent / "tacit"), "dev", "--headless"),
        *("--port", str(port), "--db", str(folder / "cell.db")),
    ]
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


async def connected(port: int) -> Client:
    deadline = time.monotonic() + 20
    while True:
        try:
            return await Client.connect(f"127.0.0.1:{port}")
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def count(handle: ScheduleHandle, above: int) -> int:
    """How many actions it took; waits until there are more than `above`."""
    deadline = time.monotonic() + 20
    while True:
        try:
            found = (await handle.describe()).info.num_actions
        except RPCError:
            found = 0
        if found > above:
            return found
        assert time.monotonic() < deadline, "the schedule does not go on"
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_every_time_is_acted_on_once_however_often_the_process_is_killed(tmp_path: Path) -> None:
    port = free_port()
    process = start(port, tmp_path)
    try:
        client = await connected(port)
        handle = await client.create_schedule(
            f"s-{uuid.uuid4().hex[:8]}",
            Schedule(
                action=ScheduleActionStartWorkflow("demo", id="wf", task_queue="nobody"),
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=1))]),
                policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL),
            ),
        )
        first = datetime(2025, 1, 1, tzinfo=UTC)
        await handle.backfill(
            ScheduleBackfill(start_at=first, end_at=first + timedelta(seconds=BACKFILLED - 1))
        )
        acted = 0
        for _ in range(KILLS):
            acted = await count(handle, acted + 5)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = start(port, tmp_path)
            client = await connected(port)
            handle = client.get_schedule_handle(handle.id)
        await count(handle, acted + BACKFILLED // 2)
        await handle.pause()
        described = (await handle.describe()).info
        runs = [each.id async for each in client.list_workflows(f"TemporalScheduledById = '{handle.id}'")]
    finally:
        process.kill()
        process.wait()
    times = sorted(datetime.fromisoformat(each.removeprefix("wf-")) for each in runs)
    assert len(set(times)) == len(times) == described.num_actions
    assert [at for at in times if at.year == 2025] == [
        first + timedelta(seconds=n) for n in range(BACKFILLED)
    ]
    own = [at for at in times if at.year > 2025]
    assert all(later - earlier == timedelta(seconds=1) for earlier, later in pairwise(own))
    assert described.num_actions_missed_catchup_window == described.num_actions_skipped_overlap == 0
