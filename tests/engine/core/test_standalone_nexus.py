"""Standalone Nexus operations by random walks: what is stored is all there is, each wanted call is made once, what is over stays over."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import StartNexusOperationExecutionRequest

from cloud.engine.core import standalone_nexus as core
from cloud.engine.core.clock import SECOND
from cloud.engine.core.errors import CoreRefusal
from cloud.engine.core.nexus_answers import (
    Answer,
    OutOfTime,
    Pending,
    Refused,
    Succeeded,
    Unsuccessful,
    call_failure,
)
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.core.standalone_nexus import OperationStep
from cloud.engine.core.standalone_nexus_state import CancelPhase, OperationPhase, StandaloneOperation
from cloud.engine.store.rows import decode_operation, encode

RESULT = Payload(data=b"r")
BAD = Failure(message="bad")
NOT_NOW = Refused(BAD, retryable=True)


class Walk:
    """One operation, live and as it is stored."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 1_700_000_000 * SECOND
        request = StartNexusOperationExecutionRequest(
            operation_id="o",
            request_id="start",
            schedule_to_close_timeout=Duration(seconds=self.chance.choice((0, 100, 10_000))),
            schedule_to_start_timeout=Duration(seconds=self.chance.choice((0, 50))),
            start_to_close_timeout=Duration(seconds=self.chance.choice((0, 60))),
        )
        step = core.begin("run", request, self.now, request_id="operation", endpoint_id="e")
        self.operation = step.operation
        self.starts_out = self.cancels_out = 0
        self.requests = 0
        self._after(step)

    def asked(self) -> Asked:
        self.requests += self.chance.random() < 0.8  # some are sent again
        return Asked(self.now, "me", "why", f"r{self.requests}")

    def answer(self) -> Answer:
        timeout = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
        usual: list[Answer] = [NOT_NOW, NOT_NOW, Pending("token"), Pending("token")]
        rare: list[Answer] = [
            Refused(call_failure("too large", retryable=False), retryable=False),
            Succeeded(RESULT),
            Succeeded(None),
            Unsuccessful(BAD),
            Unsuccessful(BAD, canceled=True),
            OutOfTime(timeout),
        ]
        return self.chance.choice(rare if self.chance.random() < 0.15 else usual)

    def act(self) -> None:
        chance, state = self.chance, self.operation.state
        attempt = state.attempt - (chance.random() < 0.1)
        if core.awaits_start(self.operation) and chance.random() < 0.6:
            self.starts_out -= attempt == state.attempt
            self.step(lambda step: core.start_answered(step, attempt, self.answer()))
        elif core.awaits_cancel(self.operation) and chance.random() < 0.6:
            assert state.cancellation is not None
            cancelled = state.cancellation.attempt
            answer = chance.choice((NOT_NOW, NOT_NOW, Pending(), self.answer()))
            self.cancels_out -= 1
            self.step(lambda step: core.cancel_answered(step, cancelled, answer))
        else:
            always: list[Callable[[OperationStep], None]] = [
                core.fire_due,
                lambda step: core.request_cancel(step, self.asked()),
            ]
            if chance.random() < 0.05:
                always.append(lambda step: core.terminate(step, self.asked()))
                always.append(self.complete)
            self.step(chance.choice(always))
        self.now += chance.choice((1, SECOND // 2, 3 * SECOND))
        self.step(core.fire_due)
        due = core.due_at(self.operation)
        assert due == 0 or due > self.now

    def complete(self, step: OperationStep) -> None:
        core.require_pending(step.operation, self.chance.choice(("operation", "another")))
        outcome = self.chance.choice((Succeeded(RESULT), Unsuccessful(BAD), Unsuccessful(BAD, canceled=True)))
        core.complete(step, outcome, token="late", started_at=0, links=())

    def step(self, change: Callable[[OperationStep], None]) -> None:
        step = OperationStep(self.operation, self.now)
        before = encode(self.operation.state)
        closed = self.operation.closed
        try:
            change(step)
        except CoreRefusal:
            assert not step.dirty
            assert encode(self.operation.state) == before
            return
        if not step.dirty:
            assert encode(self.operation.state) == before
        assert not (closed and step.dirty), "what is over changed"
        self._after(step)

    def _after(self, step: OperationStep) -> None:
        operation, state = self.operation, self.operation.state
        again = StandaloneOperation("run", operation.request, decode_operation(encode(state)))
        assert again.state == state
        assert core.due_at(again) == core.due_at(operation)
        if operation.closed:
            assert state.close_time
            assert state.has_result or operation.outcome_failure
            assert core.due_at(operation) == 0
            assert not core.awaits_start(operation)
            assert not core.awaits_cancel(operation)
            return
        if step.call:
            self.starts_out += core.awaits_start(operation)
            self.cancels_out += core.awaits_cancel(operation)
        if core.awaits_start(operation):
            assert self.starts_out == 1, "the handler is to be asked to start it, and nobody does"
        else:
            self.starts_out = 0  # its answer comes too late
        assert self.cancels_out == core.awaits_cancel(operation)


@pytest.mark.parametrize("seed", range(150))
def test_random_walks(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(120):
        walk.act()
        if walk.operation.closed:
            for _ in range(10):
                walk.act()
            break


def test_walks_end_in_every_way() -> None:
    phases, cancellations = set(), set()
    for seed in range(400):
        walk = Walk(seed)
        for _ in range(150):
            walk.act()
            state = walk.operation.state
            phases.add(state.phase)
            if state.cancellation is not None:
                cancellations.add(state.cancellation.phase)
            if walk.operation.closed:
                break
    assert phases == set(OperationPhase)
    assert cancellations == set(CancelPhase)


def test_a_failure_that_is_tried_again_is_kept_short() -> None:
    walk = Walk(0)
    step = OperationStep(walk.operation, walk.now, failure_size=100)
    core.start_answered(step, 1, Refused(Failure(message="x" * 10_000), retryable=True))
    assert walk.operation.state.phase == OperationPhase.BACKING_OFF
    assert len(walk.operation.state.last_failure) < 300


def test_failures_of_the_call_itself_are_the_servers() -> None:
    walk = Walk(0)
    step = OperationStep(walk.operation, walk.now)
    core.start_answered(step, 1, Refused(call_failure("too large", retryable=False), retryable=False))
    failure = Failure.FromString(walk.operation.outcome_failure)
    assert (failure.message, failure.server_failure_info.non_retryable) == ("too large", True)
    assert walk.operation.state.phase == OperationPhase.FAILED
