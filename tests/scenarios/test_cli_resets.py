"""The official CLI resets, pauses and describes workflows."""

import asyncio
import sys
from pathlib import Path

from temporalio.api.common.v1 import WorkerVersionStamp

from . import commands as c
from .conftest import Server
from .raw import Scenario
from .resets import newest
from .test_batch import listed, query
from .test_pause import status

CLI = Path(sys.executable).parent / "temporal"


async def cli(server: Server, *arguments: str) -> str:
    """Run a command of the CLI; fails if it does."""
    process = await asyncio.create_subprocess_exec(
        CLI,
        *arguments,
        "--address",
        server.address,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    return text


async def two_tasks(s: Scenario) -> None:
    await s.start()
    for build_id in ("b1", "b2"):
        await s.signal(build_id)
        stamp = WorkerVersionStamp(build_id=build_id)
        await s.complete(await s.poll(), c.timer(build_id, 600), worker_version_stamp=stamp)


async def timers(s: Scenario) -> list[str]:
    return [
        event.timer_started_event_attributes.timer_id
        for event in await s.history()
        if event.HasField("timer_started_event_attributes")
    ]


async def test_reset_to_tasks_and_events(s: Scenario, server: Server) -> None:
    await two_tasks(s)
    for target, left in ((("-t", "LastWorkflowTask"), ["b1"]), (("-t", "FirstWorkflowTask"), [])):
        before = await newest(s)
        await cli(server, "workflow", "reset", "-w", s.wf, "--reason", "why", *target)
        assert await newest(s) != before
        assert await timers(s) == left
    before = await newest(s)
    await cli(
        server, "workflow", "reset", "-w", s.wf, "--reason", "why", "-e", "4", "--reapply-exclude", "All"
    )
    assert await newest(s) != before


async def test_reset_by_query(s: Scenario, server: Server) -> None:
    s.wf = s.id("w0")
    await two_tasks(s)
    await listed(s, query(s), 1)
    await cli(
        server,
        "workflow",
        "reset",
        "--query",
        query(s),
        "-t",
        "BuildId",
        "--build-id",
        "b2",
        "--reason",
        "why",
        "-y",
    )
    async with asyncio.timeout(20):
        while await timers(s) != ["b1"]:
            await asyncio.sleep(0.1)


async def test_pause(s: Scenario, server: Server) -> None:
    await two_tasks(s)
    await cli(server, "workflow", "pause", "-w", s.wf, "--reason", "for a while")
    assert "for a while" in await cli(server, "workflow", "describe", "-w", s.wf)
    assert await status(s) == "PAUSED"
    await cli(server, "workflow", "unpause", "-w", s.wf, "--reason", "enough")
    assert await status(s) == "RUNNING"
