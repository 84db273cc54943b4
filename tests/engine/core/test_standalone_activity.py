"""Standalone activities by random walks: what is stored is all there is, nothing is offered twice, and what is over stays over."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, RetryPolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartActivityExecutionRequest

from cloud.engine.core import standalone_activity as core
from cloud.engine.core import standalone_activity_operations as operations
from cloud.engine.core.clock import SECOND
from cloud.engine.core.errors import CoreRefusal, NoSuchTask
from cloud.engine.core.standalone_activity import Step
from cloud.engine.core.standalone_activity_state import Phase, StandaloneActivity
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.store.rows import decode_standalone, encode

DETAILS = Payloads(payloads=[Payload(data=b"d")])


class Walk:
    """One activity, live and as it is stored; `offered` are the stamps of the dispatches that workers may still take."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 1_700_000_000 * SECOND
        request = StartActivityExecutionRequest(
            activity_id="a",
            activity_type=ActivityType(name="act"),
            task_queue=TaskQueue(name="tq"),
            request_id="start",
            start_to_close_timeout=Duration(seconds=self.chance.choice((5, 500))),
            schedule_to_close_timeout=Duration(seconds=self.chance.choice((0, 100, 10_000))),
            schedule_to_start_timeout=Duration(seconds=self.chance.choice((0, 50))),
            heartbeat_timeout=Duration(seconds=self.chance.choice((0, 3))),
            start_delay=Duration(seconds=self.chance.choice((0, 0, 7))),
            retry_policy=RetryPolicy(
                initial_interval=Duration(seconds=2),
                backoff_coefficient=2,
                maximum_interval=Duration(seconds=60),
                maximum_attempts=self.chance.choice((0, 3)),
            ),
        )
        step = core.begin("run", request, self.now)
        self.activity = step.activity
        self.offered: list[int] = []
        self.requests = 0
        self._after(step)

    def request_id(self) -> str:
        self.requests += self.chance.random() < 0.8  # some are sent again
        return f"r{self.requests}"

    def asked(self) -> Asked:
        return Asked(self.now, "me", "why", self.request_id())

    def act(self) -> None:
        chance, state = self.chance, self.activity.state
        failure = Failure(message="boom")
        failure.application_failure_info.type = "Boom"
        failure.application_failure_info.non_retryable = chance.random() < 0.1
        if chance.random() < 0.2:
            failure.application_failure_info.next_retry_delay.seconds = 4
        options = ActivityOptions()
        options.CopyFrom(self.activity.options)
        options.start_to_close_timeout.seconds = chance.choice((5, 500))

        def update(step: Step) -> None:
            operations.check_update(step, start_delay=False)
            wanted = None if chance.random() < 0.3 else options
            operations.update(step, wanted, request_id=self.request_id(), retry_changed=True)

        def reset(step: Step) -> None:
            operations.reset(
                step,
                request_id=self.request_id(),
                reset_heartbeat=chance.random() < 0.5,
                keep_paused=chance.random() < 0.5,
                restore_options=chance.random() < 0.5,
                jitter=chance.choice((0, SECOND)),
            )

        held: list[Callable[[Step], None]] = [
            lambda step: core.heartbeat(step, chance.choice((None, DETAILS))),
            lambda step: core.fail(step, failure, "me", chance.choice((None, DETAILS))),
            lambda step: core.fail(step, failure, "me"),
            lambda step: core.confirm_cancel(step, DETAILS),
        ]
        if chance.random() < 0.05:
            held.append(lambda step: core.complete(step, DETAILS, "me"))
        always: list[Callable[[Step], None]] = [
            core.fire_due,
            lambda step: operations.pause(step, self.asked()),
            lambda step: operations.unpause(step, request_id=self.request_id(), jitter=0),
            reset,
            update,
        ]
        if chance.random() < 0.03:
            always += [
                lambda step: core.request_cancel(step, self.asked()),
                lambda step: core.terminate(step, self.asked()),
            ]
        if self.offered and chance.random() < 0.6:
            self.take(chance.choice(self.offered))
        elif state.phase.held and chance.random() < 0.6:
            self.step(chance.choice(held))
        else:
            self.step(chance.choice(always))
        self.now += chance.choice((1, SECOND // 2, 3 * SECOND))
        self.step(core.fire_due)
        due = core.due_at(self.activity)
        assert due == 0 or due > self.now

    def take(self, stamp: int) -> None:
        current = stamp == self.activity.state.progress.stamp
        waits = self.activity.state.phase == Phase.SCHEDULED
        step = Step(self.activity, self.now)
        try:
            core.start(step, stamp=stamp, request_id="poll", identity="worker", build_id="")
        except NoSuchTask:
            assert not (current and waits)
            self.offered.remove(stamp)
            return
        assert current and waits, "a worker took what was called off"  # noqa: PT018
        self._after(step)

    def step(self, change: Callable[[Step], None]) -> None:
        step = Step(self.activity, self.now)
        before = encode(self.activity.state)
        closed = self.activity.closed
        try:
            change(step)
        except CoreRefusal:
            assert not step.dirty
            assert encode(self.activity.state) == before
            return
        if not step.dirty:
            assert encode(self.activity.state) == before
        assert not (closed and step.dirty), "what is over changed"
        self._after(step)

    def _after(self, step: Step) -> None:
        state = self.activity.state
        stored = encode(state)
        again = StandaloneActivity.of("run", self.activity.request, decode_standalone(stored))
        assert again.state == state
        assert again.options == self.activity.options
        assert core.due_at(again) == core.due_at(self.activity)
        if step.offer:
            assert state.progress.stamp not in self.offered
            self.offered.append(state.progress.stamp)
        if state.phase == Phase.SCHEDULED and not state.progress.backing_off:
            assert state.progress.stamp in self.offered, "the attempt that waits was offered to nobody"
        if state.phase.closed:
            assert state.close_time
            assert state.has_result or self.activity.outcome_failure
            assert core.due_at(self.activity) == 0


@pytest.mark.parametrize("seed", range(150))
def test_random_walks(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(120):
        walk.act()
        if walk.activity.closed:
            for _ in range(10):
                walk.act()
            break


def test_walks_end_in_every_way() -> None:
    phases = set()
    for seed in range(400):
        walk = Walk(seed)
        for _ in range(150):
            walk.act()
            phases.add(walk.activity.state.phase)
            if walk.activity.closed:
                break
    assert phases == set(Phase)


def test_a_failure_that_is_tried_again_is_kept_short() -> None:
    walk = Walk(0)
    walk.activity.options.retry_policy.maximum_attempts = 0
    step = Step(walk.activity, walk.now, failure_size=100)
    core.start(step, stamp=walk.activity.state.progress.stamp, request_id="p", identity="w", build_id="")
    core.fail(step, Failure(message="x" * 10_000), "w")
    assert walk.activity.state.phase == Phase.SCHEDULED
    assert len(walk.activity.state.progress.last_failure) < 300
