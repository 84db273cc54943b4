"""Whom the older forms of worker versioning give tasks to: by sets of compatible build ids, and by rules."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.enums.v1 import (
    BuildIdTaskReachability,
    DescribeTaskQueueMode,
    TaskQueueType,
    TaskReachability,
)
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueVersionSelection
from temporalio.service import RPCError

from . import commands as c
from .builds import Workers
from .raw import Scenario
from .resets import reset
from .snapshots import expect, grouped
from .updates import accept, at, respond, sent

# --- sets --------------------------------------------------------------------------------------------------------


async def test_set_gets_new_workflows_and_keeps_them(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start()
    await w.step("1.0")
    await w.add_set("2.0")
    await s.signal()
    await w.nothing_for("2.0", "")
    await w.step("1.0")
    await s.start(workflow_id=s.id("wf2"))
    await w.step("2.0", c.complete())
    expect(
        await w.told(),
        """
        stamp=1.0
        BuildIds=["versioned:1.0"]
        4 WorkflowTaskCompleted worker_version=1.0
        8 WorkflowTaskCompleted worker_version=1.0
    """,
    )
    expect(
        await w.told(s.id("wf2")),
        """
        stamp=2.0
        BuildIds=["versioned:2.0"]
        4 WorkflowTaskCompleted worker_version=2.0
    """,
    )


async def test_compatible_build_id_takes_over(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start()
    await w.step("1.0")
    await w.add_compatible("1.1", "1.0")
    expect(
        await w.said(w.poll_once("1.0", timeout=4)),
        """
        OUT_OF_RANGE: Task queue has a newer compatible build: "1.1"
          NewerBuildExistsFailure default_build_id=1.1
    """,
    )
    expect(
        await w.said(w.poll_once("1.0", sticky=s.id("sticky"), timeout=4)),
        """
        OUT_OF_RANGE: Task queue has a newer compatible build: "1.1"
          NewerBuildExistsFailure default_build_id=1.1
    """,
    )
    expect(
        await w.said(w.poll_activity("1.0", timeout=4)),
        """
        OUT_OF_RANGE: Task queue has a newer compatible build: "1.1"
          NewerBuildExistsFailure default_build_id=1.1
    """,
    )
    await s.signal()
    await w.step("1.1")
    expect(
        await w.told(),
        """
        stamp=1.1
        BuildIds=["versioned:1.0","versioned:1.1"]
        4 WorkflowTaskCompleted worker_version=1.0
        8 WorkflowTaskCompleted worker_version=1.1
    """,
    )


async def test_set_of_a_sticky_worker(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start()
    await w.step("1.0", sticky=s.id("sticky"))
    polling = asyncio.create_task(w.poll("1.0", sticky=s.id("sticky")))
    await asyncio.sleep(1)
    await s.signal()
    task = await polling
    assert task.history.events[0].event_id > 1
    await w.complete(task, "1.0", sticky=s.id("sticky"))
    await w.add_compatible("1.1", "1.0")
    await s.signal()
    task = await w.poll("1.1")
    assert task.history.events[0].event_id == 1
    await w.complete(task, "1.1")
    expect(
        await w.told(),
        """
            stamp=1.1
            BuildIds=["versioned:1.0","versioned:1.1"]
            4 WorkflowTaskCompleted worker_version=1.0
            8 WorkflowTaskCompleted worker_version=1.0
            12 WorkflowTaskCompleted worker_version=1.1
        """,
    )


async def test_workflows_begun_without_versioning_stay_so(s: Scenario) -> None:
    w = Workers(s)
    await s.start()
    await s.step()
    await s.start(workflow_id=s.id("wf2"))
    await w.add_set("1.0")
    await s.signal()
    await w.step("")
    await w.step("1.0")
    await w.nothing_for("1.0", "")
    expect(
        await w.told(),
        """
            BuildIds=["unversioned"]
        """,
    )
    expect(
        await w.told(s.id("wf2")),
        """
            stamp=1.0
            BuildIds=["versioned:1.0"]
            4 WorkflowTaskCompleted worker_version=1.0
        """,
    )


async def test_activities_and_children_of_a_set(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start()
    task = await w.poll("1.0")
    await w.add_set("2.0")
    await w.complete(
        task,
        "1.0",
        c.activity("bound", s.tq, use_workflow_build_id=True),
        c.activity("free", s.tq),
        c.child(s.id("bound"), s.tq, inherit_build_id=True),
        c.child(s.id("free"), s.tq),
    )
    bound = await w.poll_activity("1.0")
    free = await w.poll_activity("2.0")
    assert (bound.activity_id, free.activity_id) == ("bound", "free")
    child, other = await w.poll_of("1.0", s.id("bound")), await w.poll_of("2.0", s.id("free"))
    await w.complete(child, "1.0", c.continue_as_new(inherit_build_id=True))
    await w.complete(other, "2.0", c.continue_as_new())
    child, other = await w.poll_of("1.0", s.id("bound")), await w.poll_of("2.0", s.id("free"))
    await w.complete(child, "1.0", c.complete())
    await w.complete(other, "2.0", c.complete())
    await s.complete_activity(bound, "done")
    await s.complete_activity(free, "done")
    expect(
        await w.told(),
        """
            stamp=1.0
            BuildIds=["versioned:1.0"]
            4 WorkflowTaskCompleted worker_version=1.0
            13 WorkflowTaskCompleted worker_version=1.0
        """,
    )
    expect(
        await w.told(s.id("bound")),
        """
            stamp=1.0
            BuildIds=["versioned:1.0"]
            1 WorkflowExecutionStarted source_version_stamp=1.0
            4 WorkflowTaskCompleted worker_version=1.0
        """,
    )
    expect(
        await w.told(s.id("free")),
        """
            stamp=2.0
            BuildIds=["versioned:2.0"]
            4 WorkflowTaskCompleted worker_version=2.0
        """,
    )


async def test_what_stays_in_its_set_can_not_leave_its_queue(s: Scenario) -> None:
    w = Workers(s)
    outcomes = {}
    for name, command in {
        "activity": c.activity("a", s.id("other"), use_workflow_build_id=True),
        "child": c.child(s.id("child"), s.id("other"), inherit_build_id=True),
        "next run": c.continue_as_new(queue=s.id("other"), inherit_build_id=True),
    }.items():
        await s.start(workflow_id=s.id(name))
        outcomes[name] = await w.said(s.complete(await s.poll(), command))
    expect(
        grouped(outcomes),
        """
        INVALID_ARGUMENT: BadScheduleActivityAttributes: Activity with UseCompatibleVersion cannot run on
              different task queue.
          activity
        INVALID_ARGUMENT: BadStartChildExecutionAttributes: StartChildWorkflowExecution with
              UseCompatibleVersion cannot run on different task queue.
          child
        INVALID_ARGUMENT: BadContinueAsNewAttributes: ContinueAsNew with UseCompatibleVersion cannot run on
              different task queue.
          next run
    """,
    )


async def test_worker_that_stops_using_versioning(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start()
    await w.step("1.0")
    await s.signal()
    task = await w.poll("1.0")
    expect(
        await w.said(s.complete(task)),
        """
            INVALID_ARGUMENT: Workflow using versioning must continue to use versioning.
        """,
    )
    expect(
        await w.said(w.complete(task, "1.1")),
        """
            accepted
        """,
    )
    expect(
        await w.told(),
        """
            stamp=1.1
            BuildIds=["versioned:1.0","versioned:1.1"]
            4 WorkflowTaskCompleted worker_version=1.0
            8 WorkflowTaskCompleted worker_version=1.1
        """,
    )


async def test_query_goes_to_the_set(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start()
    await w.step("1.0")
    await w.add_set("2.0")
    asking = asyncio.create_task(s.query())
    await w.nothing_for("2.0", "")
    await s.answer_query(await w.poll("1.0"), 42)
    assert (await asking).query_result.payloads[0].data == b"42"


# --- rules -------------------------------------------------------------------------------------------------------


async def test_rule_assigns_as_a_task_is_stored(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    await asyncio.sleep(1)
    expect(
        await w.told(),
        """
            assigned_build_id=A
            BuildIds=["assigned:A","versioned:A"]
        """,
    )
    await w.insert("B")
    await s.start(workflow_id=s.id("wf2"))
    await w.step("A", c.activity("bound", s.tq, use_workflow_build_id=True), c.activity("free", s.tq))
    await w.step("B", c.complete())
    pending = (await s.describe()).pending_activities
    expect(
        "\n".join(
            sorted(
                f"{each.activity_id}: {each.WhichOneof('assigned_build_id')} "
                f"{s.names.clean(each.last_independently_assigned_build_id)}"
                for each in pending
            )
        ),
        """
            bound: use_workflow_build_id
            free: last_independently_assigned_build_id B
        """,
    )
    bound, free = await w.poll_activity("A"), await w.poll_activity("B")
    assert (bound.activity_id, free.activity_id) == ("bound", "free")
    await s.complete_activity(bound)
    await s.complete_activity(free)
    await w.step("A", c.complete())
    expect(
        await w.told(),
        """
            assigned_build_id=A
            stamp=A
            BuildIds=["assigned:A","versioned:A"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
            7 ActivityTaskStarted worker_version=A
            10 ActivityTaskStarted worker_version=B
            12 WorkflowTaskStarted worker_version=A
            13 WorkflowTaskCompleted worker_version=A
        """,
    )
    expect(
        await w.told(s.id("wf2")),
        """
            assigned_build_id=B
            stamp=B
            BuildIds=["assigned:B","versioned:B"]
            3 WorkflowTaskStarted worker_version=B
            4 WorkflowTaskCompleted worker_version=B
        """,
    )


async def test_rule_assigns_as_a_worker_takes_the_task(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    polling = asyncio.create_task(w.poll("A"))
    await asyncio.sleep(1)
    await s.start()
    task = await polling
    await w.complete(task, "A", c.timer("t", 60))
    expect(
        await w.told(),
        """
            assigned_build_id=A
            stamp=A
            BuildIds=["assigned:A","versioned:A"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
        """,
    )


async def test_redirect_moves_workflows(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    await w.step("A", sticky=s.id("sticky"))
    await s.start(workflow_id=s.id("wf2"))
    await asyncio.sleep(1)
    await w.redirect("A", "B")
    expect(
        await w.said(w.poll_once("A", timeout=4)),
        """
            OUT_OF_RANGE: Task queue has a newer compatible build: "B"
              NewerBuildExistsFailure default_build_id=B
        """,
    )
    expect(
        await w.said(w.poll_once("A", sticky=s.id("sticky"), timeout=4)),
        """
            OUT_OF_RANGE: Task queue has a newer compatible build: "B"
              NewerBuildExistsFailure default_build_id=B
        """,
    )
    await w.step("B")
    await s.signal()
    await w.step("B")
    await w.redirect("B", "C")
    await s.signal()
    await w.step("C")
    expect(
        await w.told(),
        """
            assigned_build_id=C
            stamp=C
            BuildIds=["assigned:C","versioned:A","versioned:B","versioned:C"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
            7 WorkflowTaskStarted worker_version=B build_id_redirect_counter=1
            8 WorkflowTaskCompleted worker_version=B
            11 WorkflowTaskStarted worker_version=C build_id_redirect_counter=2
            12 WorkflowTaskCompleted worker_version=C
        """,
    )
    expect(
        await w.told(s.id("wf2")),
        """
            assigned_build_id=B
            stamp=B
            BuildIds=["assigned:B","versioned:A","versioned:B"]
            3 WorkflowTaskStarted worker_version=B build_id_redirect_counter=1
            4 WorkflowTaskCompleted worker_version=B
        """,
    )


async def test_redirect_moves_workflows_by_their_activities(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    await w.step("A", c.activity("a", s.tq, use_workflow_build_id=True))
    await w.redirect("A", "B")
    task = await w.poll_activity("B")
    await s.signal()
    await s.complete_activity(task)
    await w.step("B", c.complete())
    expect(
        await w.told(),
        """
            assigned_build_id=B
            stamp=B
            BuildIds=["assigned:B","versioned:A","versioned:B"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
            8 ActivityTaskStarted worker_version=B build_id_redirect_counter=1
            10 WorkflowTaskStarted worker_version=B build_id_redirect_counter=1
            11 WorkflowTaskCompleted worker_version=B
        """,
    )


async def test_what_follows_inherits_the_assigned_build_id(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    task = await w.poll("A")
    await w.insert("B")
    await w.complete(
        task,
        "A",
        c.child(s.id("bound"), s.tq, inherit_build_id=True),
        c.child(s.id("free"), s.tq),
    )
    child, other = await w.poll_of("A", s.id("bound")), await w.poll_of("B", s.id("free"))
    await w.complete(child, "A", c.continue_as_new(inherit_build_id=True))
    await w.complete(other, "B", c.continue_as_new())
    child, other = await w.poll_of("A", s.id("bound")), await w.poll_of("B", s.id("free"))
    await w.complete(child, "A", c.complete())
    await w.complete(other, "B", c.complete())
    expect(
        await w.told(),
        """
            assigned_build_id=A
            stamp=A
            BuildIds=["assigned:A","versioned:A"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
            10 WorkflowTaskStarted worker_version=A
            11 WorkflowTaskCompleted worker_version=A
        """,
    )
    expect(
        await w.told(s.id("bound")),
        """
            assigned_build_id=A
            inherited_build_id=A
            stamp=A
            BuildIds=["assigned:A","versioned:A"]
            1 WorkflowExecutionStarted inherited_build_id=A
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
        """,
    )
    expect(
        await w.told(s.id("free")),
        """
            assigned_build_id=B
            stamp=B
            BuildIds=["assigned:B","versioned:B"]
            3 WorkflowTaskStarted worker_version=B
            4 WorkflowTaskCompleted worker_version=B
        """,
    )


async def test_another_build_id_answers(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    task = await w.poll("A")
    outcomes = {
        "another": await w.said(w.complete(task, "B")),
        "none": await w.said(s.complete(task)),
        "the same": await w.said(w.complete(task, "A")),
    }
    expect(
        grouped(outcomes),
        """
            NOT_FOUND: this workflow task was dispatched to Build ID A, not B | NotFoundFailure
              another
            NOT_FOUND: this workflow task was dispatched to Build ID A, not | NotFoundFailure
              none
            accepted
              the same
        """,
    )


async def test_first_task_fails_and_rules_change(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    task = await w.poll("A")
    await w.insert("B")
    await s.fail_task(task)
    await w.step("B", c.timer("t", 60))
    expect(
        await w.told(),
        """
            assigned_build_id=B
            stamp=B
            BuildIds=["assigned:B","versioned:A","versioned:B"]
            3 WorkflowTaskStarted worker_version=A
            6 WorkflowTaskStarted worker_version=B
            7 WorkflowTaskCompleted worker_version=B
        """,
    )


async def test_what_pollers_say_of_themselves(s: Scenario) -> None:
    w = Workers(s)
    stray = ws.PollWorkflowTaskQueueRequest(
        namespace=s.namespace, task_queue=TaskQueue(name=s.tq), identity="x"
    )
    stray.worker_version_capabilities.use_versioning = True
    sticky = ws.PollWorkflowTaskQueueRequest(
        namespace=s.namespace, task_queue=TaskQueue(name=s.tq, kind=2), identity="x"
    )
    sticky.worker_version_capabilities.use_versioning = True
    sticky.worker_version_capabilities.build_id = "A"
    outcomes = {
        "no build id": await w.said(s.service.poll_workflow_task_queue(stray)),
        "long": await w.said(w.poll_once("x" * 256, timeout=4)),
        "sticky without its normal name": await w.said(s.service.poll_workflow_task_queue(sticky)),
    }
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: WorkerVersionStamp must be present if UseVersioning is true.
              no build id
            INVALID_ARGUMENT: Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID.
              long
            INVALID_ARGUMENT: NormalName must be set on sticky queue when UseVersioning is true or
                  DeploymentOptions are set.
              sticky without its normal name
        """,
    )


# --- what is told of a queue -------------------------------------------------------------------------------------


async def described(s: Scenario, versions: TaskQueueVersionSelection | None = None) -> str:
    """The task queue by version: reachability, pollers and backlog of workflow tasks."""
    found = await s.service.describe_task_queue(
        ws.DescribeTaskQueueRequest(
            namespace=s.namespace,
            task_queue=TaskQueue(name=s.tq),
            api_mode=DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED,
            versions=versions,
            task_queue_types=[1],  # type: ignore[list-item]
            report_pollers=True,
            report_stats=True,
            report_task_reachability=True,
        )
    )
    lines = []
    for build_id, info in sorted(found.versions_info.items()):
        of_type = info.types_info[1]
        reachability = BuildIdTaskReachability.Name(info.task_reachability)
        pollers = sorted(
            f"{each.worker_version_capabilities.build_id or 'unversioned'}" for each in of_type.pollers
        )
        lines.append(
            f"{build_id!r}: {reachability.removeprefix('BUILD_ID_TASK_REACHABILITY_')} "
            f"pollers={pollers} backlog={of_type.stats.approximate_backlog_count}"
        )
    return s.names.clean("\n".join(lines))


async def seen(s: Scenario, w: Workers, build_ids: Sequence[str]) -> None:
    """Have workers of build ids poll once, without getting a task."""
    polls = [asyncio.create_task(w.poll_once(each, timeout=10)) for each in build_ids]
    await asyncio.sleep(1)
    for poll in polls:
        poll.cancel()
        with contextlib.suppress(asyncio.CancelledError, RPCError):
            await poll


async def test_backlog_of_rules(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    await asyncio.sleep(1)
    selected = TaskQueueVersionSelection(build_ids=[w.id("A"), w.id("B")], unversioned=True)
    expect(
        await described(s, selected),
        """
            '': UNREACHABLE pollers=[] backlog=0
            'A': REACHABLE pollers=[] backlog=1
            'B': UNREACHABLE pollers=[] backlog=0
        """,
    )


async def test_reachability_by_rules(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    await w.step("A", c.complete())
    await w.insert("B")
    await w.redirect("A", "C")
    await s.start(workflow_id=s.id("wf2"))
    await w.step("B")
    await seen(s, w, ["C"])
    await asyncio.sleep(1)
    selected = TaskQueueVersionSelection(build_ids=[w.id(each) for each in ("A", "B", "C")], unversioned=True)
    expect(
        await described(s, selected),
        """
            '': UNREACHABLE pollers=[] backlog=0
            'A': UNREACHABLE pollers=['A'] backlog=0
            'B': REACHABLE pollers=['B'] backlog=0
            'C': CLOSED_WORKFLOWS_ONLY pollers=['C'] backlog=0
        """,
    )


async def test_described_without_a_choice(s: Scenario) -> None:
    w = Workers(s)
    await seen(s, w, [""])
    await w.insert("A")
    await w.insert("B", 50)
    await seen(s, w, ["A", "B"])
    expect(
        await described(s),
        """
            'A': REACHABLE pollers=['A'] backlog=0
        """,
    )


async def test_backlog_of_sets(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start()
    await seen(s, w, [""])
    selected = TaskQueueVersionSelection(build_ids=[w.id("1.0")], unversioned=True)
    expect(
        await described(s, selected),
        """
            '': REACHABLE pollers=['unversioned'] backlog=1
            '1.0': UNREACHABLE pollers=[] backlog=0
        """,
    )
    await w.step("1.0", c.complete())


async def test_pollers_and_what_they_say_of_their_build(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await seen(s, w, ["1.0"])
    plain = ws.PollWorkflowTaskQueueRequest(
        namespace=s.namespace, task_queue=TaskQueue(name=s.tq), identity="plain"
    )
    plain.worker_version_capabilities.build_id = s.id("9.9")
    polling = asyncio.create_task(s.service.poll_workflow_task_queue(plain, timeout=timedelta(seconds=10)))
    await asyncio.sleep(1)
    found = await s.service.describe_task_queue(
        ws.DescribeTaskQueueRequest(
            namespace=s.namespace,
            task_queue=TaskQueue(name=s.tq),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    polling.cancel()
    expect(
        s.names.clean(
            "\n".join(
                sorted(
                    f"{each.identity} {each.worker_version_capabilities.build_id} "
                    f"{each.worker_version_capabilities.use_versioning}"
                    for each in found.pollers
                )
            )
        ),
        """
            plain 9.9 False
            tester 1.0 True
        """,
    )


async def test_reachability_by_sets(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start()
    await w.step("1.0")
    await s.start(workflow_id=s.id("wf2"))
    await w.step("1.0", c.complete())
    await w.add_compatible("1.1", "1.0")
    await w.add_set("2.0")
    await asyncio.sleep(1)
    lines = []
    for kind in (
        TaskReachability.TASK_REACHABILITY_UNSPECIFIED,
        TaskReachability.TASK_REACHABILITY_OPEN_WORKFLOWS,
        TaskReachability.TASK_REACHABILITY_CLOSED_WORKFLOWS,
    ):
        found = await s.service.get_worker_task_reachability(
            ws.GetWorkerTaskReachabilityRequest(
                namespace=s.namespace,
                build_ids=[w.id(each) for each in ("1.0", "1.1", "2.0")],
                task_queues=[s.tq],
                reachability=kind,
            )
        )
        for of_build in found.build_id_reachability:
            names = [
                TaskReachability.Name(each).removeprefix("TASK_REACHABILITY_")
                for of_queue in of_build.task_queue_reachability
                for each in of_queue.reachability
            ]
            kind_name = TaskReachability.Name(kind).removeprefix("TASK_REACHABILITY_")
            lines.append(f"{kind_name} {of_build.build_id}: {' '.join(names)}")
    expect(
        s.names.clean("\n".join(lines)),
        """
            UNSPECIFIED 1.0:
            UNSPECIFIED 1.1: NEW_WORKFLOWS EXISTING_WORKFLOWS
            UNSPECIFIED 2.0: NEW_WORKFLOWS
            OPEN_WORKFLOWS 1.0:
            OPEN_WORKFLOWS 1.1: NEW_WORKFLOWS OPEN_WORKFLOWS
            OPEN_WORKFLOWS 2.0: NEW_WORKFLOWS
            CLOSED_WORKFLOWS 1.0:
            CLOSED_WORKFLOWS 1.1: NEW_WORKFLOWS CLOSED_WORKFLOWS
            CLOSED_WORKFLOWS 2.0: NEW_WORKFLOWS
        """,
    )


async def test_retry_stays_in_its_set(s: Scenario) -> None:
    w = Workers(s)
    await w.add_set("1.0")
    await s.start(retry_policy=c.retry(initial_interval=c.seconds(0.05), maximum_attempts=2))
    task = await w.poll("1.0")
    await w.complete(task, "1.0")
    await w.add_set("2.0")
    await s.signal()
    await w.step("1.0", c.fail())
    await w.step("1.0", c.complete())
    expect(
        await w.told(),
        """
            stamp=1.0
            BuildIds=["versioned:1.0"]
            1 WorkflowExecutionStarted source_version_stamp=1.0
            4 WorkflowTaskCompleted worker_version=1.0
        """,
    )


async def test_retry_is_assigned_anew(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start(retry_policy=c.retry(initial_interval=c.seconds(0.05), maximum_attempts=2))
    task = await w.poll("A")
    await w.insert("B")
    await w.complete(task, "A", c.fail())
    await w.step("B", c.complete())
    expect(
        await w.told(),
        """
            assigned_build_id=B
            stamp=B
            BuildIds=["assigned:B","versioned:B"]
            3 WorkflowTaskStarted worker_version=B
            4 WorkflowTaskCompleted worker_version=B
        """,
    )


async def test_reset_goes_on_with_the_assigned_build_id(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    await w.step("A")
    await s.signal()
    await w.step("A")
    await w.insert("B")
    run_id = await reset(s, 8)
    await w.step("A", c.complete())
    expect(
        await w.told(run_id=run_id),
        """
            assigned_build_id=A
            stamp=A
            BuildIds=["assigned:A","versioned:A"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
            7 WorkflowTaskStarted worker_version=A
            10 WorkflowTaskStarted worker_version=A
            11 WorkflowTaskCompleted worker_version=A
        """,
    )


async def test_update_finds_the_assigned_build_id(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    await w.step("A")
    await w.insert("B")
    update = sent(s)
    task = await w.poll("A")
    messages = [accept(task), respond()]
    await w.complete(task, "A", *map(at, messages), messages=messages)
    await update
    expect(
        await w.told(),
        """
            assigned_build_id=A
            stamp=A
            BuildIds=["assigned:A","versioned:A"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
            6 WorkflowTaskStarted worker_version=A
            7 WorkflowTaskCompleted worker_version=A
        """,
    )


async def test_activities_of_workflows_without_versioning(s: Scenario) -> None:
    w = Workers(s)
    await s.start()
    task = await s.poll()
    await w.add_set("1.0")
    await s.complete(task, c.activity("bound", s.tq, use_workflow_build_id=True), c.activity("free", s.tq))
    bound, free = await w.poll_activity(""), await w.poll_activity("1.0")
    assert (bound.activity_id, free.activity_id) == ("bound", "free")
    await s.complete_activity(bound)
    await s.complete_activity(free)
    await s.step(c.complete())
    expect(
        await w.told(),
        """
            BuildIds=["unversioned"]
        """,
    )


async def test_eager_activities(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    task = await w.poll("A")
    reply = await w.complete(
        task,
        "A",
        c.activity("bound", s.tq, use_workflow_build_id=True, request_eager_execution=True),
        c.activity("free", s.tq, request_eager_execution=True),
    )
    expect(
        " ".join(each.activity_id for each in reply.activity_tasks),
        """
            bound
        """,
    )
    for each in reply.activity_tasks:
        await s.complete_activity(each.task_token)
    await s.complete_activity(await w.poll_activity("A"))
    await w.step("A", c.complete())
    expect(
        await w.told(),
        """
            assigned_build_id=A
            stamp=A
            BuildIds=["assigned:A","versioned:A"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
            7 ActivityTaskStarted worker_version=A
            10 ActivityTaskStarted worker_version=A
            12 WorkflowTaskStarted worker_version=A
            13 WorkflowTaskCompleted worker_version=A
        """,
    )


async def test_next_task_with_the_answer(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    await s.start()
    task = await w.poll("A")
    await s.signal()
    reply = await w.complete(task, "A", return_new_workflow_task=True, sticky=s.id("sticky"))
    assert reply.workflow_task.task_token
    await w.complete(reply.workflow_task, "A", c.complete())
    expect(
        await w.told(),
        """
            assigned_build_id=A
            stamp=A
            BuildIds=["assigned:A","versioned:A"]
            3 WorkflowTaskStarted worker_version=A
            4 WorkflowTaskCompleted worker_version=A
            7 WorkflowTaskStarted worker_version=A
            8 WorkflowTaskCompleted worker_version=A
        """,
    )
