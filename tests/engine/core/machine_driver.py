"""Drives one run through the pure core, and keeps what a store would keep, byte for byte."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads, RetryPolicy, TimeSkippingConfig, WorkflowType
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import (
    CommandType,
    ParentClosePolicy,
    VersioningBehavior,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    History,
    HistoryEvent,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Acceptance, Rejection, Request, Response
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from cloud.engine.core import (
    activity,
    activity_ends,
    activity_operations,
    cancellation,
    child,
    close,
    completion,
    external,
    machine,
    older_versioning,
    options,
    pause,
    reset,
    signal,
    start,
    versioning,
    workflow_task,
)
from cloud.engine.core.activity_rules import ActivityRule
from cloud.engine.core.callback import callback_of_key
from cloud.engine.core.clock import SECOND, duration
from cloud.engine.core.effects import Effect, StartNextRun
from cloud.engine.core.errors import CoreRefusal
from cloud.engine.core.limits import Limits
from cloud.engine.core.state import Execution, RunKey
from cloud.engine.core.turn import Surroundings, Turn
from cloud.engine.core.update import Attachment
from cloud.engine.runtime.cron import next_delay
from cloud.engine.store.rows import (
    decode_callback_progress,
    decode_nexus_progress,
    decode_progress,
    decode_volatile,
    encode,
)
from tests.engine.core import nexus_walk
from tests.engine.core.callback_walk import CallbackWalk

T = CommandType


class CountingIds:
    """Ids that a test can foresee."""

    def __init__(self) -> None:
        self.count = 0

    def run_id(self) -> str:
        self.count += 1
        return f"run-{self.count}"

    def request_id(self) -> str:
        self.count += 1
        return f"request-{self.count}"


@dataclass
class Stored:
    """What the rows of one run hold."""

    events: list[bytes] = field(default_factory=list)
    volatile: bytes = b""
    progress: dict[int, bytes] = field(default_factory=dict)
    nexus_progress: dict[int, bytes] = field(default_factory=dict)
    buffered: list[bytes] = field(default_factory=list)


class Driver:
    """One run, live and stored. After each transition `check` must hold."""

    def __init__(self, **options: object) -> None:
        self.version = ""  # of the worker that takes and answers tasks
        self.revision = 0
        self.build = ""  # of the worker, by rules of the older forms of versioning
        self.stamp = ""  # what it says of itself as it answers
        self.now = 1_700_000_000 * SECOND
        self.around = Surroundings(
            namespace="ns",
            namespace_id="ns-id",
            limits=Limits(),
            ids=CountingIds(),
            next_cron_delay=next_delay,
            nexus_endpoint=lambda name: f"id-of-{name}",
        )
        self.live = Execution(RunKey("ns-id", "wf", "run-0"))
        self.stored = Stored()
        self.effects: list[Effect] = []
        self.transition(lambda turn: self._begin(turn, **options))

    def _begin(self, turn: Turn, **options: object) -> None:
        attributes = WorkflowExecutionStartedEventAttributes(
            workflow_type=WorkflowType(name="demo"),
            task_queue=TaskQueue(name="tq"),
            workflow_task_timeout=duration(10 * SECOND),
            first_execution_run_id="run-0",
            original_execution_run_id="run-0",
            attempt=1,
            **options,  # type: ignore[arg-type]
        )
        start.begin(turn, attributes, request_id="start", meter="start_workflow")
        workflow_task.schedule(turn)

    def transition(self, change: Callable[[Turn], None]) -> bool:
        """Carry out a transition and store it. False if the core refused; then nothing may have changed."""
        turn = machine.open_turn(self.live, self.now, self.around)
        before = encode(self.live.volatile)
        try:
            change(turn)
        except CoreRefusal:
            assert not turn.dirty, "a refusal must leave the run as it was"
            assert encode(self.live.volatile) == before
            return False
        if turn.dirty:
            machine.close_turn(turn)
        self._store(turn)
        self.effects.extend(turn.effects)
        return True

    def _store(self, turn: Turn) -> None:
        if turn.events:
            self.stored.events.append(History(events=turn.events).SerializeToString())
        if turn.flushed:
            self.stored.buffered = [event.SerializeToString() for event in self.live.buffered]
        else:
            self.stored.buffered.extend(event.SerializeToString() for event in turn.newly_buffered)
        for event_id in turn.progressed:
            pending = self.live.activities.get(event_id)
            if pending is not None:
                self.stored.progress[event_id] = encode(pending.progress)
        for key in turn.nexus_progressed:
            calls = machine.calls_of(self.live, key)
            if calls is not None:
                self.stored.nexus_progress[key] = encode(calls)
        self.stored.volatile = encode(self.live.volatile)

    def rebuilt(self) -> Execution:
        """The run as a new process would load it."""
        return machine.rebuild(
            self.live.key,
            self.history(),
            volatile=decode_volatile(self.stored.volatile),
            progress={key: decode_progress(data) for key, data in self.stored.progress.items()},
            buffered=[HistoryEvent.FromString(data) for data in self.stored.buffered],
            nexus_progress={
                key: decode_nexus_progress(data)
                for key, data in self.stored.nexus_progress.items()
                if key > 0
            },
            callback_progress={
                callback_of_key(key): decode_callback_progress(data)
                for key, data in self.stored.nexus_progress.items()
                if key < 0
            },
        )

    def history(self) -> list[HistoryEvent]:
        return [event for data in self.stored.events for event in History.FromString(data).events]

    def check(self) -> None:
        """The rebuilt state equals the live one, and what is due is due at the same moment."""
        rebuilt = self.rebuilt()
        assert rebuilt == self.live
        assert self.live.buffered_size == sum(event.ByteSize() for event in self.live.buffered)
        assert self.live.intents_size == sum(self.live.intent_sizes.values())
        assert machine.due_at(rebuilt) == machine.due_at(self.live)
        assert machine.outstanding(rebuilt) == machine.outstanding(self.live)
        ids = [event.event_id for event in self.history()]
        assert ids == list(range(1, len(ids) + 1))
        assert self.live.next_event_id == len(ids) + 1
        if not self.live.running:
            assert self.live.workflow_task.scheduled_event_id == 0
            assert not self.live.buffered

    # --- what may happen to a run ---

    def reset(self, finish_event_id: int) -> bool:
        """Go on in a new run from before event `finish_event_id`. False if that is no reset point."""
        events, base_run_id = self.history(), self.live.key.run_id
        made = Execution(RunKey("ns-id", "wf", self.around.ids.run_id()))
        machine.fold(made, events[: finish_event_id - 1])
        try:
            reset.check_point(made, finish_event_id)
        except CoreRefusal:
            return False
        self.live = made
        self.stored = Stored([History(events=events[: finish_event_id - 1]).SerializeToString()])

        def change(turn: Turn) -> None:
            reset.begin(turn, base_run_id=base_run_id, reason="why")
            for event in events[finish_event_id - 1 :]:
                reset.reapply(turn, event, ())
            workflow_task.schedule(turn)
            machine.take_over(turn)

        return self.transition(change)

    def advance(self, ns: int) -> None:
        self.now += ns
        self.transition(machine.fire_due)

    def signal(self, request_id: str = "") -> bool:
        return self.transition(
            lambda turn: _none(
                signal.receive(turn, name="s", input=payloads("x"), identity="me", request_id=request_id)
            )
        )

    def start_task(self) -> bool:
        task = self.live.workflow_task
        return self.transition(
            lambda turn: workflow_task.start(
                turn,
                scheduled_event_id=task.scheduled_event_id,
                dispatch=task.dispatch,
                request_id=self.around.ids.request_id(),
                identity="worker",
                build_id=self.build or "b1",
                taker=versioning.Taker(self.version, self.revision, "dep:v2", self.revision, self.build),
            )
        )

    def complete_task(
        self,
        *commands: Command,
        sticky: bool = False,
        behavior: VersioningBehavior.ValueType = VersioningBehavior.VERSIONING_BEHAVIOR_UNSPECIFIED,
        messages: Sequence[ProtocolMessage] = (),
        sent_updates: Mapping[str, Request] | None = None,
        attachments: Mapping[str, Sequence[Attachment]] | None = None,
        checksum: str = "",
    ) -> completion.Completed | None:
        task = self.live.workflow_task
        request = RespondWorkflowTaskCompletedRequest(
            identity="worker", commands=commands, messages=messages, binary_checksum=checksum
        )
        if self.version:
            name, _, build_id = self.version.partition(":")
            request.deployment_options.deployment_name = name
            request.deployment_options.build_id = build_id
            request.deployment_options.worker_versioning_mode = completion.VERSIONED
            request.versioning_behavior = behavior
        if self.stamp:
            request.worker_version_stamp.build_id = self.stamp
            request.worker_version_stamp.use_versioning = True
        if sticky:
            request.sticky_attributes.worker_task_queue.name = "sticky"
            request.sticky_attributes.schedule_to_start_timeout.seconds = 5
        found: list[completion.Completed] = []

        def change(turn: Turn) -> None:
            workflow_task.require_in_flight(
                self.live, task.scheduled_event_id, task.started_event_id, task.attempt, task.started_time
            )
            found.append(
                completion.complete(
                    turn,
                    request,
                    check_search_attributes=lambda _: None,
                    eager=lambda _: False,
                    sent_updates=sent_updates or {},
                    attachments=attachments or {},
                    new_updates=False,
                )
            )

        return found[0] if self.transition(change) else None

    def fail_task(self) -> bool:
        if not self.live.workflow_task_in_flight:
            return False
        return self.transition(
            lambda turn: workflow_task.fail(
                turn,
                cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
                failure=Failure(message="broken"),
                identity="worker",
            )
        )

    def start_activity(self, event_id: int) -> bool:
        pending = self.live.activities[event_id]
        return self.transition(
            lambda turn: _none(
                activity.start(
                    turn,
                    scheduled_event_id=event_id,
                    stamp=pending.progress.stamp,
                    request_id=self.around.ids.request_id(),
                    identity="worker",
                    build_id=self.build,
                    version=self.version,
                    build=self.build,
                )
            )
        )

    def on_activity(self, event_id: int, change: Callable[[Turn, activity.Activity], None]) -> bool:
        def do(turn: Turn) -> None:
            pending = self.live.activities.get(event_id)
            attempt = pending.progress.attempt if pending else 0
            started = pending.progress.started_time if pending else 0
            change(turn, activity.require_started(self.live, event_id, attempt, started))

        return self.transition(do)

    def run_of_child(self, initiated: int) -> None:
        self.transition(lambda turn: child.started(turn, initiated, f"child-{initiated}"))

    def end_of_child(self, initiated: int) -> None:
        event = HistoryEvent(
            workflow_execution_completed_event_attributes=WorkflowExecutionCompletedEventAttributes(
                result=payloads("done")
            )
        )
        self.transition(
            lambda turn: child.ended(turn, initiated, f"child-{initiated}", f"child-{initiated}", event)
        )


def _none(_: object) -> None:
    return None


def for_good() -> Failure:
    """A failure after which an activity is not tried again."""
    failure = Failure(message="never")
    failure.application_failure_info.non_retryable = True
    return failure


def payloads(text: str) -> Payloads:
    return Payloads(payloads=[Payload(data=text.encode())])


# --- commands ---


def schedule_activity(activity_id: str, **times: int) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
    wanted = command.schedule_activity_task_command_attributes
    wanted.activity_id = activity_id
    wanted.activity_type.name = "act"
    wanted.task_queue.name = "tq"
    wanted.input.CopyFrom(payloads("in"))
    for name, seconds in ({"start_to_close_timeout": 30} | times).items():
        getattr(wanted, name).seconds = seconds
    wanted.retry_policy.CopyFrom(RetryPolicy(initial_interval=duration(SECOND), maximum_attempts=3))
    return command


def cancel_activity(event_id: int) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK)
    command.request_cancel_activity_task_command_attributes.scheduled_event_id = event_id
    return command


def start_timer(timer_id: str, seconds: int) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_START_TIMER)
    command.start_timer_command_attributes.timer_id = timer_id
    command.start_timer_command_attributes.start_to_fire_timeout.seconds = seconds
    return command


def cancel_timer(timer_id: str) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_CANCEL_TIMER)
    command.cancel_timer_command_attributes.timer_id = timer_id
    return command


def start_child(workflow_id: str) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION)
    wanted = command.start_child_workflow_execution_command_attributes
    wanted.workflow_id = workflow_id
    wanted.workflow_type.name = "demo"
    wanted.parent_close_policy = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
    return command


def signal_external(workflow_id: str) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION)
    wanted = command.signal_external_workflow_execution_command_attributes
    wanted.execution.workflow_id = workflow_id
    wanted.signal_name = "s"
    return command


def cancel_external(workflow_id: str) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION)
    command.request_cancel_external_workflow_execution_command_attributes.workflow_id = workflow_id
    return command


def record_marker(name: str) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_RECORD_MARKER)
    command.record_marker_command_attributes.marker_name = name
    return command


def upsert_memo(key: str, value: str) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES)
    fields = command.modify_workflow_properties_command_attributes.upserted_memo.fields
    fields[key].data = value.encode()
    return command


def upsert_search_attribute(key: str, value: str) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
    fields = command.upsert_workflow_search_attributes_command_attributes.search_attributes.indexed_fields
    fields[key].data = f'"{value}"'.encode()
    return command


def complete() -> Command:
    command = Command(command_type=T.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
    command.complete_workflow_execution_command_attributes.result.CopyFrom(payloads("out"))
    return command


def fail() -> Command:
    command = Command(command_type=T.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION)
    command.fail_workflow_execution_command_attributes.failure.message = "failed"
    return command


def continue_as_new() -> Command:
    command = Command(command_type=T.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
    command.continue_as_new_workflow_execution_command_attributes.SetInParent()
    return command


def cancel() -> Command:
    command = Command(command_type=T.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION)
    command.cancel_workflow_execution_command_attributes.SetInParent()
    return command


def protocol_message(message_id: str) -> Command:
    command = Command(command_type=T.COMMAND_TYPE_PROTOCOL_MESSAGE)
    command.protocol_message_command_attributes.message_id = message_id
    return command


def update_message(update_id: str, body: Acceptance | Rejection | Response) -> ProtocolMessage:
    message = ProtocolMessage(id=f"{update_id}/{type(body).__name__}", protocol_instance_id=update_id)
    message.body.Pack(body)
    return message


def _response(update_id: str) -> Response:
    response = Response()
    response.meta.update_id = update_id
    response.outcome.success.CopyFrom(payloads("done"))
    return response


class RandomWalk:
    """Lets a seeded chance decide what happens next to a run."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        options: dict[str, object] = {}
        if self.random.random() < 0.3:
            options["workflow_run_timeout"] = duration(self.random.choice([20, 500]) * SECOND)
        if self.random.random() < 0.2:
            options["retry_policy"] = RetryPolicy(
                initial_interval=duration(SECOND),
                backoff_coefficient=2,
                maximum_interval=duration(9 * SECOND),
                maximum_attempts=2,
            )
        if self.random.random() < 0.2:
            options["cron_schedule"] = "@every 10s"
            options["first_workflow_task_backoff"] = duration(10 * SECOND)
        self.calls_operations = seed % 3 == 0  # in walks of their own: all else would come up too seldom
        self.skips_time = (
            seed % 4 == 1 and not self.calls_operations
        )  # in walks of their own: they come to other moments
        if self.skips_time:
            options["time_skipping_config"] = TimeSkippingConfig(enabled=True, max_session_skip_count=9)
        self.versions = random.Random(
            seed + 1_000_000
        )  # its own, so that other subjects' walks stay as they were
        self.versioned = self.versions.random() < 0.3
        if self.versioned and self.versions.random() < 0.5:
            options["inherited_pinned_version"] = WorkerDeploymentVersion(
                deployment_name="dep", build_id="v1"
            )
        self.builds = random.Random(seed + 2_000_000)
        self.by_builds = not self.versioned and self.builds.random() < 0.3
        if self.by_builds and self.builds.random() < 0.3:
            options["inherited_build_id"] = "A"
        self.driver = Driver(**options)
        if self.random.random() < 0.15:
            rule = ActivityRule("rule", "me", "why", 0, lambda _, pending: pending.progress.attempt == 2)
            self.driver.around = replace(self.driver.around, activity_rules=(rule,))
        self.names = 0
        self.callbacks = CallbackWalk(seed)
        self.waiting: dict[str, Request] = {}
        self.sent: dict[str, Request] = {}

    def step(self) -> None:
        driver, chance = self.driver, self.random
        actions: list[Callable[[], object]] = [
            lambda: driver.signal(chance.choice(["", "r1", "r2"])),
            lambda: driver.advance(chance.choice([1, SECOND, 6 * SECOND, 40 * SECOND])),
            lambda: driver.advance(SECOND),
            self.admit_update,
        ]
        if chance.random() < 0.05:
            actions.append(
                lambda: driver.transition(lambda turn: cancellation.request(turn, reason="", identity="me"))
            )
        if chance.random() < 0.05:
            actions.append(self.change_options)
        if chance.random() < 0.04:
            actions.append(self.reset)
        if chance.random() < (0.5 if driver.live.paused else 0.05):
            actions.append(self.pause_or_unpause)
        if self.skips_time and chance.random() < 0.3:
            actions.append(self.change_time_skipping)
        if chance.random() < 0.02:
            actions.append(
                lambda: driver.transition(
                    lambda turn: close.terminate(turn, reason="", details=None, identity="me")
                )
            )
        if driver.live.workflow_task_in_flight:
            actions += [self.complete_task] * 4 + [driver.fail_task]
        elif driver.live.has_pending_workflow_task:
            actions += [self.start_task] * 4
        for event_id in list(driver.live.activities):
            actions.append(lambda event_id=event_id: self.work_on(event_id))  # type: ignore[misc]
        for initiated in list(driver.live.children):
            actions += [
                lambda i=initiated: driver.run_of_child(i),  # type: ignore[misc]
                lambda i=initiated: driver.end_of_child(i),  # type: ignore[misc]
            ]
        for initiated in list(driver.live.external_signals):
            actions.append(
                lambda i=initiated: driver.transition(  # type: ignore[misc]
                    lambda turn: external.signal_outcome(turn, i, chance.choice([None, 1]))
                )
            )
        for initiated in list(driver.live.external_cancels):
            actions.append(
                lambda i=initiated: driver.transition(  # type: ignore[misc]
                    lambda turn: external.cancel_outcome(turn, i, chance.choice([None, 1]))
                )
            )
        for operation in list(driver.live.nexus_operations.values())[-2:]:
            for change in chance.sample(nexus_walk.changes(chance, operation), 3):
                actions.append(lambda change=change: driver.transition(lambda turn: _none(change(turn))))  # type: ignore[misc]
        chance.choice(actions)()
        for happens in self.callbacks.changes(driver.live):
            driver.transition(lambda turn, happens=happens: _none(happens(turn)))  # type: ignore[misc]

    def work_on(self, event_id: int) -> None:
        driver, chance = self.driver, self.random
        pending = driver.live.activities[event_id]
        if chance.random() < 0.2:
            self.operate_on(pending)
            return
        if not pending.progress.started_time:
            driver.start_activity(event_id)
            return
        change: Callable[[Turn, activity.Activity], None] = chance.choice(
            [
                lambda turn, a: activity_ends.complete(turn, a, result=payloads("r"), identity="w"),
                lambda turn, a: activity.heartbeat(turn, a, payloads("beat")),
                lambda turn, a: activity_ends.fail(turn, a, failure=Failure(message="no"), identity="w"),
                lambda turn, a: activity_ends.fail(turn, a, failure=for_good(), identity="w"),
                lambda turn, a: activity_ends.cancel(turn, a, details=None, identity="w"),
            ]
        )
        driver.on_activity(event_id, change)

    def admit_update(self) -> None:
        self.names += 1
        request = Request()
        request.meta.update_id = f"u{self.names}"
        request.input.name = "u"
        self.callbacks.give(request)
        self.waiting[request.meta.update_id] = request
        self.driver.transition(lambda turn: workflow_task.schedule(turn, speculative=True))

    def start_task(self) -> None:
        driver = self.driver
        if self.versioned and not driver.live.workflow_task_in_flight:
            driver.version = self.versions.choice(["", "dep:v1", "dep:v2"])
            if (
                versioning.effective_behavior(driver.live) == versioning.PINNED
                and self.versions.random() < 0.9
            ):
                driver.version = versioning.effective_version(driver.live)
            driver.revision += self.versions.randrange(2)
        if self.by_builds and not driver.live.workflow_task_in_flight:
            driver.build = self.builds.choice(["", "A", "B", "C"])
            driver.stamp = driver.build or self.builds.choice(["", "S"])
            if self.builds.random() < 0.2:
                driver.transition(self.assign)
        if self.driver.start_task():
            self.sent |= self.waiting
            self.waiting = {}

    def assign(self, turn: Turn) -> None:
        """As matching does when it stores a task."""
        turn.dirty = older_versioning.assign(turn.execution, self.builds.choice(["A", "B"])) or turn.dirty

    def pause_or_unpause(self) -> None:
        change = self.random.choice([pause.pause, pause.unpause])
        self.driver.transition(lambda turn: change(turn, identity="me", reason="why", request_id=""))

    def reset(self) -> None:
        driver = self.driver
        ends = [
            event.event_id
            for event in driver.history()
            if event.HasField("workflow_task_started_event_attributes")
        ]
        if ends and driver.reset(self.random.choice(ends) + self.random.choice([0, 1])):
            self.waiting, self.sent = {}, {}

    def change_options(self) -> None:
        driver, chance = self.driver, self.random
        wanted = options.current(driver.live)
        wanted.priority.priority_key = chance.randrange(1, 4)
        wanted.ClearField("versioning_override")
        if chance.random() < 0.5:
            wanted.versioning_override.auto_upgrade = True
        elif self.versioned and self.versions.random() < 0.7:
            target = WorkerDeploymentVersion(
                deployment_name="dep", build_id=self.versions.choice(["v1", "v2"])
            )
            if self.versions.random() < 0.5:
                wanted.versioning_override.one_time.target_deployment_version.CopyFrom(target)
            else:
                wanted.versioning_override.pinned.version.CopyFrom(target)
        driver.transition(lambda turn: options.update(turn, wanted, identity="me"))

    def change_time_skipping(self) -> None:
        driver, chance = self.driver, self.random
        wanted = options.current(driver.live)
        wanted.ClearField("time_skipping_config")
        forward = chance.random() < 0.7
        if forward or chance.random() < 0.7:
            wanted.time_skipping_config.enabled = forward or chance.random() < 0.7
            wanted.time_skipping_config.max_session_skip_count = chance.choice([1, 9])
        if forward:
            wanted.time_skipping_config.fast_forward_config.id = "f"
            wanted.time_skipping_config.fast_forward_config.duration.seconds = chance.choice([1, 20])
        driver.transition(lambda turn: options.update(turn, wanted, identity="me", fast_forward=forward))

    def operate_on(self, pending: activity.Activity) -> None:
        driver, chance = self.driver, self.random
        operations = activity_operations
        selection = chance.choice(
            [
                operations.Selection(activity_id=pending.scheduled.activity_id),
                operations.Selection(activity_type="act"),
                operations.Selection(everything=True),
            ]
        )
        options = operations.options_of(pending)
        options.start_to_close_timeout.seconds = chance.choice([3, 30, 300])
        options.heartbeat_timeout.seconds = chance.choice([0, 2, 20])
        options.schedule_to_close_timeout.seconds = chance.choice([0, 25])
        options.retry_policy.maximum_attempts = chance.choice([0, 2, 5])
        flag, delay = chance.random() < 0.5, chance.choice([0, 7 * SECOND])
        change: Callable[[Turn, list[activity.Activity]], None] = chance.choice(
            [
                lambda turn, meant: operations.pause(
                    turn, meant, identity="me", reason="why", request_id=chance.choice(["p1", "p2"])
                ),
                lambda turn, meant: operations.unpause(
                    turn, meant, reset_attempts=flag, reset_heartbeat=not flag, delay=lambda: delay
                ),
                lambda turn, meant: operations.reset(
                    turn,
                    meant,
                    reset_heartbeat=flag,
                    keep_paused=chance.random() < 0.5,
                    restore_options=chance.random() < 0.5,
                    delay=lambda: delay,
                ),
                lambda turn, meant: operations.set_options(turn, meant[0], options if flag else None),
            ]
        )
        driver.transition(lambda turn: change(turn, operations.select(driver.live, selection)))

    def complete_task(self) -> None:
        chance, driver = self.random, self.driver
        commands = [self.command() for _ in range(chance.choice([0, 0, 1, 2, 3]))]
        for command in commands:
            if command.HasField("schedule_activity_task_command_attributes") and self.by_builds:
                bound = self.builds.random() < 0.5
                command.schedule_activity_task_command_attributes.use_workflow_build_id = bound
        messages = [
            message
            for update_id in (*self.sent, *driver.live.admitted_updates)
            for message in self.answer(update_id)
        ]
        messages.extend(
            update_message(update.update_id, _response(update.update_id))
            for update in driver.live.updates.values()
            if not update.completed_event_id and chance.random() < 0.3
        )
        commands += [
            protocol_message(message.id) for message in messages if chance.random() < 0.7
        ]  # the others are carried out behind all commands
        if chance.random() < 0.08:
            commands.append(chance.choice([complete, fail, continue_as_new, cancel])())
        done = driver.complete_task(
            *commands,
            sticky=chance.random() < 0.5,
            behavior=self.versions.choice(
                [versioning.PINNED, versioning.AUTO_UPGRADE, versioning.UNSPECIFIED]
            ),
            messages=messages,
            sent_updates=self.sent,
            attachments=self.callbacks.attachments([*self.sent, *driver.live.admitted_updates]),
        )
        if done is not None and done.refusal is None:
            self.sent = {}

    def answer(self, update_id: str) -> list[ProtocolMessage]:
        accepted = Acceptance(
            accepted_request_message_id=f"{update_id}/request", accepted_request_sequencing_event_id=1
        )
        answers: list[list[Acceptance | Rejection | Response]] = [
            [],
            [Rejection(failure=Failure(message="no"))],
            [Rejection(failure=Failure(message="no"))],
            [accepted],
            [accepted, _response(update_id)],
            [_response(update_id)],  # before it was accepted: refused
        ]
        weights = [2, 4, 4, 4, 4, 1]
        return [update_message(update_id, body) for body in self.random.choices(answers, weights)[0]]

    def command(self) -> Command:
        chance, live = self.random, self.driver.live
        self.names += 1
        name = f"n{self.names}"
        makers: list[Callable[[], Command]] = [
            lambda: schedule_activity(name),
            lambda: schedule_activity(name, heartbeat_timeout=5, schedule_to_start_timeout=20),
            lambda: schedule_activity(name, schedule_to_close_timeout=15),
            lambda: start_timer(name, chance.choice([0, 1, 30])),
            lambda: start_child(name),
            lambda: signal_external(name),
            lambda: cancel_external(name),
            lambda: record_marker("m"),
            lambda: upsert_memo(chance.choice("ab"), chance.choice(["", "v"])),
            lambda: upsert_search_attribute(chance.choice("ab"), "v"),
            lambda: cancel_timer("unknown") if chance.random() < 0.1 else record_marker("core_patch"),
        ]
        if self.calls_operations:
            makers = [*makers[1:4], *nexus_walk.commands(chance, live)]
        if live.timers:
            makers.append(lambda: cancel_timer(chance.choice(list(live.timers))))
        if live.activities:
            makers.append(lambda: cancel_activity(chance.choice(list(live.activities))))
        return chance.choice(makers)()


def next_runs(driver: Driver) -> list[StartNextRun]:
    return [effect for effect in driver.effects if isinstance(effect, StartNextRun)]
