"""A run that is read from its history and description equals the one that they tell of; what they don't tell is refused."""

from __future__ import annotations

import copy
from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from cloud.engine.api.describe import describe_run
from cloud.engine.core import activity, importing, machine
from cloud.engine.core.activity_operations import options_of
from cloud.engine.core.state import ActivityProgress, Execution, NexusProgress, Sticky, VersionProgress
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.nexus_breakers import Breakers
from cloud.engine.store.rows import decode_callback_progress, decode_progress, decode_volatile, encode
from tests.engine.core.machine_driver import Driver, RandomWalk

STEPS = 60
NAMESPACE = Namespace(namespace_id="ns-id", name="ns")


def described(execution: Execution, now: int) -> DescribeWorkflowExecutionResponse:
    return describe_run(HotRun(execution, NAMESPACE), now, Breakers())


def read(driver: Driver) -> importing.Imported:
    return importing.read(
        driver.live.key, driver.history(), described(driver.live, driver.now), driver.around.limits
    )


def comparable(execution: Execution) -> Execution:
    """The run without what belongs to one server alone: its dispatches, its workers' calls, its sticky queues."""
    found = copy.deepcopy(execution)
    volatile = found.volatile
    volatile.sticky = Sticky()
    volatile.last_workflow_task_failure = b""
    volatile.problems = None  # how often in a row is not told
    if volatile.builds is not None:  # one that a worker used since is in the history, too
        known = (volatile.builds.assigned, *found.versioned_build_ids)
        volatile.builds.before = [each for each in volatile.builds.before if each not in known]
    version = volatile.version_progress or VersionProgress()
    # Of what its workers were told is not told; a closed run moves nowhere.
    volatile.version_progress = VersionProgress(version.transition, version.revision if found.running else 0)
    if not found.running:
        volatile.version_progress.transition = None
    volatile.ended_by_reset, volatile.reset_request_id = False, ""
    volatile.rejected_updates, volatile.settled_updates = [], 0
    if not found.running:
        volatile.close_propagated = True
        found.admitted_updates = {}  # nobody will answer them
    task = volatile.workflow_task
    task.sticky, task.sticky_timeout, task.stamp = False, 0, 0
    if task.unwritten and 0 < task.scheduled_event_id < found.next_event_id:
        task.scheduled_event_id = 1  # some event came since: which one makes no difference
    if not task.scheduled_event_id:
        task.attempt = 1
        task.original_scheduled_time = 0
    for operation in found.nexus_operations.values():
        operation.progress = NexusProgress()  # of closed runs only: nobody calls for them any more
        operation.closing = False
    found.volatile.rejections.clear()  # their callbacks have been called
    found.progress_size = 0  # a build id and options that are as scheduled count there
    for pending in found.activities.values():
        pending.progress_size = 0
        if not found.running:
            activity.restore(pending, ActivityProgress(scheduled_time=pending.scheduled_time))
            pending.closing = False
        progress = pending.progress
        if pending.changed_options == options_of(pending, original=True):
            pending.changed_options, progress.options = None, b""
        progress.request_id = progress.build_id = ""
        progress.use_versioning, progress.redirects = False, 0  # looked at apart, by `check`
        progress.stamp = 0
        progress.reset = progress.reset_heartbeat = False
        if progress.started_time:
            progress.scheduled_time = 0  # of the attempt: its worker was told
            progress.backing_off = False
        if progress.pause is not None:
            progress.pause.request_id = ""
            progress.backing_off = False  # it is offered when it is unpaused, whenever it was to be
            progress.scheduled_time = 0
    return found


def check(driver: Driver) -> str:
    """Import the run as it is. Gives why it is refused, which it may only be while it is not settled."""
    live = driver.live
    try:
        found = read(driver)
    except importing.NotSettled as refused:
        if isinstance(refused, importing.TaskInFlight):
            assert live.workflow_task_in_flight
        else:
            assert (
                machine.outstanding(live)
                or live.nexus_operations
                or live.workflow_task.speculative
                or any(found.progress.next_attempt_time for found in live.callbacks)
            )
        return type(refused).__name__
    assert not live.workflow_task_in_flight
    assert not live.buffered
    assert comparable(found.execution) == comparable(live)
    for scheduled_event_id, pending in live.activities.items() if live.running else ():
        # Whether the worker that holds an attempt is of the build id that it was assigned to is not told: it is taken for one.
        if pending.progress.started_time and pending.progress.use_versioning:
            assert found.execution.activities[scheduled_event_id].progress.use_versioning
    assert [e.SerializeToString() for e in found.events] == [e.SerializeToString() for e in driver.history()]
    # What is stored of it is rebuilt to the same.
    again = machine.rebuild(
        live.key,
        found.events,
        volatile=decode_volatile(encode(found.execution.volatile)),
        progress={k: decode_progress(encode(p.progress)) for k, p in found.execution.activities.items()},
        buffered=[],
        callback_progress={
            index: decode_callback_progress(encode(called.progress))
            for index, called in enumerate(found.execution.callbacks)
        },
    )
    assert again == found.execution
    assert machine.due_at(again) == machine.due_at(found.execution)
    return "imported"


def walk(seed: int) -> Counter[str]:
    steps = RandomWalk(seed)
    seen = Counter([check(steps.driver)])
    for _ in range(STEPS):
        steps.step()
        seen[check(steps.driver)] += 1
        if not steps.driver.live.running:
            break
    return seen


@given(st.integers(min_value=0))
@example(277285)  # a closed run that had been assigned to a build id of which no event tells
@settings(max_examples=60, deadline=None)
def test_what_is_read_equals_what_was_told_of(seed: int) -> None:
    walk(seed)


def test_walks_bring_runs_of_all_kinds() -> None:
    seen: Counter[str] = sum((walk(seed) for seed in range(25)), Counter())
    assert seen["imported"] > 200
    assert seen["TaskInFlight"] > 50
    assert seen["NotSettled"] > 5
