"""The official `temporal` command: what it says of each outcome, and that its ways lead where they should.

Only exit codes and errors are compared where the output tells of times, hosts and counts.
"""

import asyncio
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from .commands import activity
from .conftest import Server
from .raw import Scenario
from .snapshots import expect, grouped

TEMPORAL = str(Path(sys.executable).parent / "temporal")
COMMAND_SECONDS = 40.0


class Cli:
    """The command, with this server's address."""

    def __init__(self, server: Server, s: Scenario, home: Path) -> None:
        self._s = s
        self._namespace = re.sub("[^a-z0-9-]", "-", s.prefix)
        self._options = ("--address", server.address, "--color", "never")
        # Nobody's own configuration counts.
        self._env = {"HOME": str(home), "TEMPORAL_CONFIG_FILE": str(home / "none.toml")}

    async def text(self, line: str) -> tuple[int, str]:
        """Run a command; words in capitals stand for the scenario's ids."""
        names = {
            "WF": self._s.wf,
            "SECOND": self._s.id("second"),
            "TQ": self._s.tq,
            "SCHEDULE": self._s.id("schedule"),
            "NAMESPACE": self._namespace,
        }
        any_name = re.compile(rf"\b({'|'.join(names)})\b")
        words = [any_name.sub(lambda found: names[found[1]], word) for word in shlex.split(line)]
        process = await asyncio.create_subprocess_exec(
            TEMPORAL,
            *words,
            *self._options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._env,
        )
        async with asyncio.timeout(COMMAND_SECONDS):
            told, _ = await process.communicate()
        return process.returncode or 0, told.decode()

    async def outcome(self, line: str) -> str:
        """A command's error, or that all was well."""
        code, text = await self.text(line)
        if code == 0:
            return "ok"
        errors = [found for found in text.splitlines() if found.startswith("Error")]
        shown = self._s.names.clean(" ".join(errors) or text)
        return f"exit {code}: {shown.replace(self._namespace, 'NAMESPACE')}"

    async def outcomes(self, lines: str) -> str:
        """Commands, a line each, by their outcomes."""
        outcomes: dict[str, str] = {}
        for line in lines.strip().splitlines():
            again = " (again)" if line in outcomes else ""
            outcomes[line + again] = await self.outcome(line)
        return grouped(outcomes)

    async def json(self, line: str) -> object:
        """The command's JSON."""
        code, text = await self.text(f"{line} -o json")
        assert code == 0, text
        return json.loads(text)


@pytest.fixture
def cli(server: Server, s: Scenario, tmp_path: Path) -> Cli:
    return Cli(server, s, tmp_path)


async def test_workflow_commands(s: Scenario, cli: Cli) -> None:
    s.started.append(s.id("second"))
    start = "workflow start --type demo --task-queue TQ --workflow-id WF"
    outcomes = await cli.outcomes(f"""
{start} --input 1 --memo k=1 --search-attribute 'ScenarioKeyword="ada"' --static-summary text --run-timeout 1h
{start}
{start} --fail-existing
{start} --id-conflict-policy TerminateExisting
workflow describe --workflow-id WF
workflow describe --workflow-id WF --raw
workflow describe --workflow-id none
workflow show --workflow-id WF
workflow show --workflow-id WF --detailed
workflow show --workflow-id none
workflow list --query "WorkflowId='WF'"
workflow list --query "what"
workflow count --query "GROUP BY ExecutionStatus"
workflow signal --workflow-id WF --name go --input 1
workflow signal --workflow-id none --name go
workflow update describe --workflow-id WF --update-id none
workflow cancel --workflow-id WF
workflow cancel --workflow-id none
workflow terminate --workflow-id WF --reason enough
workflow terminate --workflow-id WF
workflow cancel --workflow-id WF
workflow signal --workflow-id WF --name go
workflow result --workflow-id WF
{start} --id-reuse-policy RejectDuplicate
workflow signal-with-start --type demo --task-queue TQ --workflow-id SECOND --signal-name go
workflow update-options --workflow-id SECOND --versioning-override-behavior auto_upgrade
workflow delete --workflow-id SECOND --run-id 11111111-2222-3333-4444-555555555555 --yes
workflow delete --workflow-id SECOND --yes
workflow delete --workflow-id none --yes
""")
    expect(
        outcomes,
        """
            ok
              workflow start --type demo --task-queue TQ --workflow-id WF --input 1 --memo k=1
                  --search-attribute 'ScenarioKeyword="ada"' --static-summary text --run-timeout 1h, workflow
                  start --type demo --task-queue TQ --workflow-id WF, workflow start --type demo --task-queue
                  TQ --workflow-id WF --id-conflict-policy TerminateExisting, workflow describe --workflow-id
                  WF, workflow describe --workflow-id WF --raw, workflow show --workflow-id WF, workflow show
                  --workflow-id WF --detailed, workflow list --query "WorkflowId='WF'", workflow count --query
                  "GROUP BY ExecutionStatus", workflow signal --workflow-id WF --name go --input 1, workflow
                  cancel --workflow-id WF, workflow terminate --workflow-id WF --reason enough, workflow
                  cancel --workflow-id WF (again), workflow start --type demo --task-queue TQ --workflow-id WF
                  --id-reuse-policy RejectDuplicate, workflow signal-with-start --type demo --task-queue TQ
                  --workflow-id SECOND --signal-name go, workflow update-options --workflow-id SECOND
                  --versioning-override-behavior auto_upgrade, workflow delete --workflow-id SECOND --yes
            exit 1: Error: failed starting workflow: Workflow execution is already running. WorkflowId: wf,
                  RunId: run1.
              workflow start --type demo --task-queue TQ --workflow-id WF --fail-existing
            exit 1: Error: failed describing workflow: workflow not found for ID: none
              workflow describe --workflow-id none
            exit 1: Error: displaying history failed: workflow not found for ID: none
              workflow show --workflow-id none
            exit 1: Error: failed listing workflows: invalid query: invalid expression: incomplete expression
              workflow list --query "what"
            exit 1: Error: failed signalling workflow: workflow not found for ID: none
              workflow signal --workflow-id none --name go
            exit 1: Error: failed to describe update: update "none" not found
              workflow update describe --workflow-id WF --update-id none
            exit 1: Error: failed to cancel workflow: workflow not found for ID: none
              workflow cancel --workflow-id none
            exit 1: Error: failed to terminate workflow: workflow execution already completed
              workflow terminate --workflow-id WF
            exit 1: Error: failed signalling workflow: workflow execution already completed
              workflow signal --workflow-id WF --name go
            exit 1: Error: workflow failed
              workflow result --workflow-id WF
            exit 1: Error: failed to delete workflow: workflow execution not found for workflow ID "second"
                  and run ID "run2"
              workflow delete --workflow-id SECOND --run-id 11111111-2222-3333-4444-555555555555 --yes
            exit 1: Error: failed to delete workflow: workflow not found for ID: none
              workflow delete --workflow-id none --yes
        """,
    )


async def test_what_a_worker_answers(s: Scenario, cli: Cli) -> None:
    await s.start()
    await s.step(activity("a", s.tq))
    await s.poll_activity()
    outcomes = await cli.outcomes("""
activity pause --workflow-id WF --activity-id a
activity unpause --workflow-id WF --activity-id a
activity update-options --workflow-id WF --activity-id a --start-to-close-timeout 20s
activity reset --workflow-id WF --activity-id a
activity complete --workflow-id WF --activity-id a --result 1
activity complete --workflow-id WF --activity-id a --result 1
activity fail --workflow-id WF --activity-id none
""")
    expect(
        outcomes,
        """
        ok
          activity pause --workflow-id WF --activity-id a, activity unpause --workflow-id WF --activity-id a,
              activity update-options --workflow-id WF --activity-id a --start-to-close-timeout 20s, activity
              reset --workflow-id WF --activity-id a, activity complete --workflow-id WF --activity-id a
              --result 1
        exit 1: Error: unable to complete Activity: cannot find pending activity with ActivityID a, check
              workflow execution history for more details
          activity complete --workflow-id WF --activity-id a --result 1 (again)
        exit 1: Error: unable to fail Activity: cannot find pending activity with ActivityID none, check
              workflow execution history for more details
          activity fail --workflow-id WF --activity-id none
    """,
    )
    await s.step()
    query = asyncio.create_task(cli.text("workflow query --workflow-id WF --type what"))
    await s.answer_query(await s.poll(), {"a": 1})
    code, text = await query
    assert code == 0, text
    assert '{"a":1}' in text.replace(" ", "")


async def test_schedule_commands(s: Scenario, cli: Cli) -> None:
    action = "--workflow-id WF --type demo --task-queue TQ"
    outcomes = await cli.outcomes(f"""
schedule create --schedule-id SCHEDULE --interval 5h/1h --notes text --pause-on-failure --overlap-policy BufferOne --paused {action}
schedule create --schedule-id SCHEDULE --interval 5h {action}
schedule create --schedule-id SCHEDULE-bad --cron what {action}
schedule list
schedule list --long
schedule describe --schedule-id SCHEDULE
schedule toggle --schedule-id SCHEDULE --unpause --reason text
schedule toggle --schedule-id SCHEDULE --pause --reason text
schedule trigger --schedule-id SCHEDULE
schedule backfill --schedule-id SCHEDULE --start-time 2025-01-01T00:00:00Z --end-time 2025-01-01T01:00:00Z
schedule update --schedule-id SCHEDULE --cron "0 12 * * 1" --time-zone Europe/Berlin {action}
""")
    expect(
        outcomes,
        """
        ok
          schedule create --schedule-id SCHEDULE --interval 5h/1h --notes text --pause-on-failure
              --overlap-policy BufferOne --paused --workflow-id WF --type demo --task-queue TQ, schedule list,
              schedule list --long, schedule describe --schedule-id SCHEDULE, schedule toggle --schedule-id
              SCHEDULE --unpause --reason text, schedule toggle --schedule-id SCHEDULE --pause --reason text,
              schedule trigger --schedule-id SCHEDULE, schedule backfill --schedule-id SCHEDULE --start-time
              2025-01-01T00:00:00Z --end-time 2025-01-01T01:00:00Z, schedule update --schedule-id SCHEDULE
              --cron "0 12 * * 1" --time-zone Europe/Berlin --workflow-id WF --type demo --task-queue TQ
        exit 1: Error: schedule with this ID is already registered
          schedule create --schedule-id SCHEDULE --interval 5h --workflow-id WF --type demo --task-queue TQ
        exit 1: Error: Invalid schedule spec: CronString does not have 5-7 fields
          schedule create --schedule-id SCHEDULE-bad --cron what --workflow-id WF --type demo --task-queue TQ
    """,
    )
    described = await cli.json("schedule describe --schedule-id SCHEDULE")
    assert isinstance(described, dict)
    spec = described["schedule"]["spec"]
    expect(
        json.dumps([spec.get("timezoneName"), spec["structuredCalendar"][0]["dayOfWeek"]]),
        """
        ["Europe/Berlin", [{"start": 1, "end": 1, "step": 1}]]
    """,
    )
    expect(
        await cli.outcomes("schedule delete --schedule-id SCHEDULE"),
        """
        ok
          schedule delete --schedule-id SCHEDULE
    """,
    )


async def test_batch_and_operator_commands(s: Scenario, cli: Cli) -> None:
    await s.start()
    deadline = asyncio.get_running_loop().time() + 10
    while "Total: 1" not in (await cli.text("workflow count --query \"WorkflowId='WF'\""))[1]:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)
    outcomes = await cli.outcomes("""
workflow signal --query "WorkflowId='WF'" --name go --reason text --yes
workflow terminate --query "WorkflowId='WF'" --reason text --yes
batch list
batch describe --job-id none
batch terminate --job-id none --reason text
operator cluster health
operator cluster describe
operator cluster system
operator cluster list
operator namespace create --namespace NAMESPACE --retention 3d --description text --data k=v
operator namespace create --namespace NAMESPACE
operator namespace describe --namespace NAMESPACE
operator namespace describe --namespace none-such
operator namespace update --namespace NAMESPACE --description other
operator namespace list
operator search-attribute list
operator search-attribute create --name ScenarioKeyword --type Keyword
operator search-attribute create --name ScenarioKeyword --type Int
operator search-attribute remove --name NoSuchAttribute --yes
operator nexus endpoint list
task-queue describe --task-queue TQ
task-queue list-partition --task-queue TQ
task-queue config set --task-queue TQ --task-queue-type activity --queue-rps-limit 100 --queue-rps-limit-reason text
task-queue config get --task-queue TQ --task-queue-type activity
worker list
""")
    expect(
        outcomes,
        """
        ok
          workflow signal --query "WorkflowId='WF'" --name go --reason text --yes, workflow terminate --query
              "WorkflowId='WF'" --reason text --yes, batch list, operator cluster health, operator cluster
              describe, operator cluster system, operator cluster list, operator namespace create --namespace
              NAMESPACE --retention 3d --description text --data k=v, operator namespace describe --namespace
              NAMESPACE, operator namespace update --namespace NAMESPACE --description other, operator
              namespace list, operator search-attribute list, operator search-attribute create --name
              ScenarioKeyword --type Keyword, operator search-attribute remove --name NoSuchAttribute --yes,
              operator nexus endpoint list, task-queue describe --task-queue TQ, task-queue list-partition
              --task-queue TQ, task-queue config set --task-queue TQ --task-queue-type activity
              --queue-rps-limit 100 --queue-rps-limit-reason text, task-queue config get --task-queue TQ
              --task-queue-type activity, worker list
        exit 1: Error: could not find Batch Job 'none'
          batch describe --job-id none, batch terminate --job-id none --reason text
        exit 1: Error: unable to create namespace NAMESPACE: Namespace "NAMESPACE" already exists
          operator namespace create --namespace NAMESPACE
        exit 1: Error: unable to describe namespace none-such: Namespace none-such is not found.
          operator namespace describe --namespace none-such
        exit 1: Error: search attribute ScenarioKeyword already exists and has different type Keyword
          operator search-attribute create --name ScenarioKeyword --type Int
    """,
    )
