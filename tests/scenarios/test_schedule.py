"""Schedules: what is defined, described, listed, changed and deleted."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.schedule.v1 import (
    CalendarSpec,
    IntervalSpec,
    Range,
    SchedulePatch,
    ScheduleSpec,
    StructuredCalendarSpec,
)
from temporalio.api.taskqueue.v1 import TaskQueue

from .commands import payloads, seconds
from .raw import Scenario
from .schedules import ScheduleScenario, every, schedule_of
from .snapshots import expect, grouped


@pytest.fixture
async def sched(s: Scenario) -> AsyncIterator[ScheduleScenario]:
    async with schedule_of(s) as found:
        yield found


async def test_a_description_tells_the_defaults(sched: ScheduleScenario) -> None:
    created = await sched.create(every(3600))
    assert created.conflict_token == b"\0\0\0\0\0\0\0\1"
    found = await sched.describe()
    sched.expect(
        found,
        """
            schedule.spec.interval=[{interval=3600s phase=0s}] schedule.action.start_workflow.workflow_id=wf
                  schedule.action.start_workflow.workflow_type.name=demo
                  schedule.action.start_workflow.task_queue=tq schedule.policies.overlap_policy=SKIP
                  schedule.policies.catchup_window=3.1536e+07s schedule.state={}
                  info.future_action_times=[...] info.create_time=<time> conflict_token=<8 bytes>
        """,
    )
    assert len(found.info.future_action_times) == 10
    assert all(at.seconds % 3600 == 0 for at in found.info.future_action_times)


async def test_what_is_defined_is_described(sched: ScheduleScenario) -> None:
    spec = ScheduleSpec(
        calendar=[CalendarSpec(second="*/20", hour="9-17/2", day_of_week="mon-fri", comment="work")],
        structured_calendar=[
            StructuredCalendarSpec(
                second=[Range(start=5)],
                minute=[Range(start=1, end=9, step=3)],
                hour=[Range(start=0, end=23)],
                day_of_month=[Range(start=1)],
                month=[Range(start=12)],
                day_of_week=[Range(start=0, end=6)],
                year=[Range(start=2099)],
            )
        ],
        cron_string=["CRON_TZ=Europe/Berlin 0 12 * * 7 # Sunday", "TZ=Europe/Berlin 1 2 3 4 * 2031"],
        interval=[IntervalSpec(interval=seconds(90), phase=seconds(7))],
        exclude_calendar=[CalendarSpec(month="dec", hour="*")],
        jitter=seconds(5),
    )
    await sched.create(
        spec,
        action={"input": payloads(1, "two"), "workflow_run_timeout": 60},
        policies={"overlap_policy": "BUFFER_ONE", "catchup_window": 1, "pause_on_failure": True},
        state={"paused": True, "notes": "not yet", "limited_actions": True, "remaining_actions": 3},
        memo={"m": 1},
        search_attributes={"ScenarioKeyword": "k"},
    )
    found = await sched.describe()
    sched.expect(
        found,
        """
            schedule.spec.interval=[{interval=90s phase=7s}] schedule.spec.jitter=5s
                  schedule.spec.structured_calendar=[{second=[{start=5 end=5 step=1}] minute=[{start=1 end=9
                  step=3}] hour=[{end=23 step=1}] day_of_month=[{start=1 end=1 step=1}] month=[{start=12
                  end=12 step=1}] year=[{start=2099 end=2099 step=1}] day_of_week=[{end=6 step=1}]},
                  {second=[{end=59 step=20}] minute=[{step=1}] hour=[{start=9 end=17 step=2}]
                  day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12 step=1}] day_of_week=[{start=1
                  end=5 step=1}] comment=work}, {second=[{step=1}] minute=[{step=1}] hour=[{start=12 end=12
                  step=1}] day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12 step=1}]
                  day_of_week=[{step=1}] comment=Sunday}, {second=[{step=1}] minute=[{start=1 end=1 step=1}]
                  hour=[{start=2 end=2 step=1}] day_of_month=[{start=3 end=3 step=1}] month=[{start=4 end=4
                  step=1}] year=[{start=2031 end=2031 step=1}] day_of_week=[{end=6 step=1}]}]
                  schedule.spec.exclude_structured_calendar=[{second=[{step=1}] minute=[{step=1}]
                  hour=[{end=23 step=1}] day_of_month=[{start=1 end=31 step=1}] month=[{start=12 end=12
                  step=1}] day_of_week=[{end=6 step=1}]}] schedule.spec.timezone_name=Europe/Berlin
                  schedule.action.start_workflow.workflow_id=wf
                  schedule.action.start_workflow.workflow_type.name=demo
                  schedule.action.start_workflow.task_queue=tq schedule.action.start_workflow.input=[1, 'two']
                  schedule.action.start_workflow.workflow_run_timeout=60s
                  schedule.policies.overlap_policy=BUFFER_ONE schedule.policies.catchup_window=10s
                  schedule.policies.pause_on_failure=true schedule.state.notes="not yet"
                  schedule.state.paused=true schedule.state.limited_actions=true
                  schedule.state.remaining_actions=3 info.future_action_times=[...] info.create_time=<time>
                  memo.fields={m: 1} search_attributes.indexed_fields={ScenarioKeyword: 'k'{type: Keyword}}
                  conflict_token=<8 bytes>
        """,
    )
    assert len(found.info.future_action_times) == 3


async def test_cron_lines(sched: ScheduleScenario) -> None:
    lines = {
        "five fields": "5 4 * * sun",
        "six fields": "5 4 1 jan * 2030",
        "seven fields": "30 5 4 1-3 */2 1,3 2030/5",
        "hourly": "@hourly",
        "daily": "@daily # at night",
        "midnight": "@midnight",
        "weekly": "@weekly",
        "monthly": "@monthly",
        "yearly": "@yearly",
        "every": "@every 1h30m",
        "every with phase": "@every 1d/2h",
        "days of the week": "0 0 * * 5-7",
        "odd days of the week": "0 0 * * 1-7/2",
    }
    found = []
    for name, line in lines.items():
        schedule_id = sched.s.id(name)
        await sched.create(ScheduleSpec(cron_string=[line]), schedule_id=schedule_id)
        spec = (await sched.describe(schedule_id)).schedule.spec
        found.append(f"{name}: {sched.shown(spec)}")
    expect(
        "\n".join(found),
        """
            five fields: structured_calendar=[{second=[{step=1}] minute=[{start=5 end=5 step=1}]
                  hour=[{start=4 end=4 step=1}] day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12
                  step=1}] day_of_week=[{step=1}]}]
            six fields: structured_calendar=[{second=[{step=1}] minute=[{start=5 end=5 step=1}] hour=[{start=4
                  end=4 step=1}] day_of_month=[{start=1 end=1 step=1}] month=[{start=1 end=1 step=1}]
                  year=[{start=2030 end=2030 step=1}] day_of_week=[{end=6 step=1}]}]
            seven fields: structured_calendar=[{second=[{start=30 end=30 step=1}] minute=[{start=5 end=5
                  step=1}] hour=[{start=4 end=4 step=1}] day_of_month=[{start=1 end=3 step=1}] month=[{start=1
                  end=12 step=2}] year=[{start=2030 end=2100 step=5}] day_of_week=[{start=1 end=1 step=1},
                  {start=3 end=3 step=1}]}]
            hourly: structured_calendar=[{second=[{step=1}] minute=[{step=1}] hour=[{end=23 step=1}]
                  day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12 step=1}] day_of_week=[{end=6
                  step=1}]}]
            daily: structured_calendar=[{second=[{step=1}] minute=[{step=1}] hour=[{step=1}]
                  day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12 step=1}] day_of_week=[{end=6
                  step=1}] comment="at night"}]
            midnight: structured_calendar=[{second=[{step=1}] minute=[{step=1}] hour=[{step=1}]
                  day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12 step=1}] day_of_week=[{end=6
                  step=1}]}]
            weekly: structured_calendar=[{second=[{step=1}] minute=[{step=1}] hour=[{step=1}]
                  day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12 step=1}]
                  day_of_week=[{step=1}]}]
            monthly: structured_calendar=[{second=[{step=1}] minute=[{step=1}] hour=[{step=1}]
                  day_of_month=[{start=1 end=1 step=1}] month=[{start=1 end=12 step=1}] day_of_week=[{end=6
                  step=1}]}]
            yearly: structured_calendar=[{second=[{step=1}] minute=[{step=1}] hour=[{step=1}]
                  day_of_month=[{start=1 end=1 step=1}] month=[{start=1 end=1 step=1}] day_of_week=[{end=6
                  step=1}]}]
            every: interval=[{interval=5400s}]
            every with phase: interval=[{interval=86400s phase=7200s}]
            days of the week: structured_calendar=[{second=[{step=1}] minute=[{step=1}] hour=[{step=1}]
                  day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12 step=1}]
                  day_of_week=[{step=1}, {start=5 end=6 step=1}]}]
            odd days of the week: structured_calendar=[{second=[{step=1}] minute=[{step=1}] hour=[{step=1}]
                  day_of_month=[{start=1 end=31 step=1}] month=[{start=1 end=12 step=1}]
                  day_of_week=[{step=1}, {start=1 end=6 step=2}]}]
        """,
    )


SPECS: dict[str, ScheduleSpec] = {
    "interval of nothing": ScheduleSpec(interval=[IntervalSpec()]),
    "interval below a second": every(0.5),
    "phase as long as the interval": every(5, 5),
    "negative phase": every(5, -1),
    "negative interval": every(-5),
    "four fields": ScheduleSpec(cron_string=["1 2 3 4"]),
    "eight fields": ScheduleSpec(cron_string=["1 2 3 4 5 6 7 8"]),
    "minute 61": ScheduleSpec(cron_string=["61 * * * *"]),
    "no such month": ScheduleSpec(cron_string=["0 0 1 foo *"]),
    "no such name": ScheduleSpec(cron_string=["@reboot"]),
    "zone alone": ScheduleSpec(cron_string=["TZ=UTC"]),
    "no such zone in a line": ScheduleSpec(cron_string=["TZ=Nope/Nope 0 0 * * *"]),
    "two zones": ScheduleSpec(cron_string=["TZ=UTC 0 0 * * *", "TZ=Europe/Berlin 0 0 * * *"]),
    "zones with and without": ScheduleSpec(cron_string=["TZ=UTC 0 0 * * *", "0 0 * * *"]),
    "line and spec disagree": ScheduleSpec(cron_string=["TZ=UTC 0 0 * * *"], timezone_name="Europe/Berlin"),
    "every what": ScheduleSpec(cron_string=["@every"]),
    "every foo": ScheduleSpec(cron_string=["@every foo"]),
    "every half second": ScheduleSpec(cron_string=["@every 500ms"]),
    "no such zone": ScheduleSpec(timezone_name="Nope/Nope"),
    "zone data of nothing": ScheduleSpec(timezone_data=b"x"),
    "ranges": ScheduleSpec(
        structured_calendar=[
            StructuredCalendarSpec(
                second=[Range(start=60)],
                minute=[Range(start=5, end=3)],
                hour=[Range(start=1, step=-1)],
                day_of_month=[Range(start=0)],
                month=[Range(start=13)],
                year=[Range(start=1999)],
                day_of_week=[Range(start=7)],
                comment="x" * 201,
            )
        ]
    ),
    "texts": ScheduleSpec(
        calendar=[
            CalendarSpec(
                second="60",
                minute="1/2/3",
                hour="5-3",
                day_of_month="1/",
                month="x",
                year="1999",
                day_of_week="8",
            )
        ]
    ),
    "more texts": ScheduleSpec(
        calendar=[
            CalendarSpec(
                second="1/0", minute="1-2-3", hour="-5", day_of_month="5-", month="feb-jan", day_of_week="s"
            )
        ]
    ),
    "excluded hour 25": ScheduleSpec(exclude_calendar=[CalendarSpec(hour="25")]),
    "ends before it starts": ScheduleSpec(
        interval=[IntervalSpec(interval=seconds(5))], start_time={"seconds": 50}, end_time={"seconds": 5}
    ),
}


async def test_specs_that_are_refused(sched: ScheduleScenario) -> None:
    outcomes = {
        name: await sched.refusal(sched.create(spec, schedule_id=sched.s.id(name), state={"paused": True}))
        for name, spec in SPECS.items()
    }
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: Invalid schedule spec: interval is too small
              interval of nothing, interval below a second, negative interval, every half second
            INVALID_ARGUMENT: Invalid schedule spec: phase cannot be greater than Interval
              phase as long as the interval
            INVALID_ARGUMENT: Invalid schedule spec: phase is negative
              negative phase
            INVALID_ARGUMENT: Invalid schedule spec: CronString does not have 5-7 fields
              four fields, eight fields, no such name
            INVALID_ARGUMENT: Invalid schedule spec: Minute is not in range [0-59]
              minute 61
            INVALID_ARGUMENT: Invalid schedule spec: Month is not in range [1-12]
              no such month
            INVALID_ARGUMENT: Invalid schedule spec: CronString has time zone but missing fields
              zone alone
            INVALID_ARGUMENT: Invalid schedule spec: unknown time zone Nope/Nope
              no such zone in a line, no such zone
            INVALID_ARGUMENT: Invalid schedule spec: conflicting timezone names
              two zones, zones with and without, line and spec disagree
            INVALID_ARGUMENT: Invalid schedule spec: CronString does not have interval after @every
              every what
            INVALID_ARGUMENT: Invalid schedule spec: time: invalid duration "foo"
              every foo
            INVALID_ARGUMENT: Invalid schedule spec: malformed time zone information
              zone data of nothing
            INVALID_ARGUMENT: Invalid schedule spec: invalid calendar spec: Second Start is not in range
                  [0-59], Minute End is before Start or not in range [0-59], Hour has invalid Step, DayOfMonth
                  Start is not in range [1-31], Month Start is not in range [1-12], Year Start is not in range
                  [2000-2100], DayOfWeek Start is not in range [0-6], comment is too long
              ranges
            INVALID_ARGUMENT: Invalid schedule spec: Second is not in range [0-59], Minute has too many
                  slashes, Hour End is before Start or not in range [0-23], DayOfWeek is not in range [0-7],
                  DayOfMonth missing step value, Month is not in range [1-12], Year is not in range
                  [2000-2100]
              texts
            INVALID_ARGUMENT: Invalid schedule spec: Second has invalid Step, Minute has too many dashes, Hour
                  Start is not in range [0-23], DayOfWeek is not in range [0-7], DayOfMonth End is before
                  Start or not in range [1-31], Month End is before Start or not in range [1-12]
              more texts
            INVALID_ARGUMENT: Invalid schedule spec: Hour is not in range [0-23]
              excluded hour 25
            accepted
              ends before it starts
        """,
    )


ACTIONS: dict[str, dict[str, Any]] = {
    "no workflow id": {"workflow_id": ""},
    "a long workflow id": {"workflow_id": "x" * 990},
    "no type": {"workflow_type": None},
    "a long type": {"workflow_type": WorkflowType(name="x" * 1001)},
    "no queue": {"task_queue": None},
    "a reserved queue": {"task_queue": TaskQueue(name="/_sys/q")},
    "a negative timeout": {"workflow_run_timeout": -1},
    "a cron schedule": {"cron_schedule": "* * * * *"},
    "reuse: allow": {"workflow_id_reuse_policy": 1},
    "reuse: reject": {"workflow_id_reuse_policy": 3},
}


async def test_actions_that_are_refused(sched: ScheduleScenario) -> None:
    outcomes = {
        name: await sched.refusal(sched.create(schedule_id=sched.s.id(name), action=action))
        for name, action in ACTIONS.items()
    }
    expect(
        grouped(outcomes),
        """
            accepted
              no workflow id, reuse: allow
            INVALID_ARGUMENT: WorkflowId exceeds maximum allowed length (1011/1000)
              a long workflow id
            INVALID_ARGUMENT: WorkflowType is not set on request.
              no type
            INVALID_ARGUMENT: WorkflowType length exceeds limit.
              a long type
            INVALID_ARGUMENT: taskQueue is not set
              no queue
            INVALID_ARGUMENT: task queue name cannot start with reserved prefix /_sys/
              a reserved queue
            INVALID_ARGUMENT: An invalid WorkflowRunTimeoutSeconds is set on request. cause: negative duration
              a negative timeout
            INVALID_ARGUMENT: Scheduled workflow must not contain CronSchedule
              a cron schedule
            INVALID_ARGUMENT: Scheduled workflow must not contain WorkflowIDReusePolicy
              reuse: reject
        """,
    )


async def test_calls_that_are_refused(sched: ScheduleScenario) -> None:
    await sched.create()
    unset: Any = ws.PatchScheduleRequest(namespace=sched.s.namespace, schedule_id=sched.id)
    outcomes = {
        "no request id": await sched.refusal(
            sched.s.service.create_schedule(
                ws.CreateScheduleRequest(
                    namespace=sched.s.namespace, schedule_id="x", schedule=sched.definition()
                )
            )
        ),
        "the id is taken": await sched.refusal(sched.create()),
        "no patch": await sched.refusal(sched.s.service.patch_schedule(unset)),
        "long notes": await sched.refusal(sched.patch(pause="x" * 1001)),
        "update without action": await sched.refusal(
            sched.s.service.update_schedule(
                ws.UpdateScheduleRequest(namespace=sched.s.namespace, schedule_id=sched.id)
            )
        ),
        "an unknown search attribute": await sched.refusal(
            sched.create(schedule_id=sched.s.id("other"), search_attributes={"Nope": 1})
        ),
        "of an unknown namespace": await sched.refusal(
            sched.s.service.describe_schedule(
                ws.DescribeScheduleRequest(namespace="no-such-namespace", schedule_id="x")
            )
        ),
    }
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: RequestId is not set on request.
              no request id
            ALREADY_EXISTS: schedule "sched" is already registered | WorkflowExecutionAlreadyStartedFailure
              the id is taken
            INVALID_ARGUMENT: Patch is not set on request.
              no patch
            INVALID_ARGUMENT: Schedule notes exceeds limit.
              long notes
            INVALID_ARGUMENT: Only StartWorkflow action is supported for schedules
              update without action
            INVALID_ARGUMENT: Namespace default has no mapping defined for search attribute Nope
              an unknown search attribute
            NOT_FOUND: Namespace no-such-namespace is not found. | NamespaceNotFoundFailure
                  namespace=no-such-namespace
              of an unknown namespace
        """,
    )


async def test_what_is_not_there_is_not_found(sched: ScheduleScenario) -> None:
    for call in (
        sched.describe(),
        sched.update(),
        sched.patch(pause="x"),
        sched.delete(),
        sched.times("2025-01-01", "2025-01-02"),
    ):
        assert (await sched.refusal(call)).startswith("NOT_FOUND: ")
    await sched.create()
    await sched.delete()
    assert (await sched.refusal(sched.describe())).startswith("NOT_FOUND: ")
    assert (await sched.refusal(sched.delete())).startswith("NOT_FOUND: ")


async def test_an_id_is_free_again_after_the_deletion(sched: ScheduleScenario) -> None:
    await sched.create(memo={"first": 1})
    await sched.delete()
    await sched.create(memo={"second": 2})
    sched.s.expect_message(
        (await sched.describe()).memo,
        """
            fields={second: 2}
        """,
    )


async def test_a_repeated_create_is_the_same(sched: ScheduleScenario) -> None:
    request_id = str(uuid.uuid4())
    first = await sched.create(request_id=request_id)
    assert await sched.create(every(60), request_id=request_id) == first
    assert not (await sched.describe()).schedule.spec.interval


async def test_an_update_replaces_all_but_what_was(sched: ScheduleScenario) -> None:
    await sched.create(
        every(3600),
        state={"paused": True, "notes": "wait"},
        memo={"m": 1},
        search_attributes={"ScenarioKeyword": "k", "ScenarioInt": 1},
    )
    await sched.update(every(60), action={"workflow_type": WorkflowType(name="other")})
    found = await sched.until(lambda found: found.info.HasField("update_time"))
    sched.expect(
        found,
        """
            schedule.spec.interval=[{interval=60s phase=0s}] schedule.action.start_workflow.workflow_id=wf
                  schedule.action.start_workflow.workflow_type.name=other
                  schedule.action.start_workflow.task_queue=tq schedule.policies.overlap_policy=SKIP
                  schedule.policies.catchup_window=3.1536e+07s schedule.state={}
                  info.future_action_times=[...] info.create_time=<time> info.update_time=<time>
                  memo.fields={m: 1} search_attributes.indexed_fields={ScenarioInt: 1{type: Int},
                  ScenarioKeyword: 'k'{type: Keyword}} conflict_token=<8 bytes>
        """,
    )
    await sched.update(every(60), search_attributes={"ScenarioKeyword": "new"})
    found = await sched.until(lambda found: "ScenarioInt" not in found.search_attributes.indexed_fields)
    sched.expect(
        found,
        """
            info.future_action_times=[...] info.create_time=<time> info.update_time=<time> memo.fields={m: 1}
                  search_attributes.indexed_fields={ScenarioKeyword: 'new'{type: Keyword}} conflict_token=<8
                  bytes>
        """,
        hide=frozenset({"schedule"}),
    )
    await sched.update(every(60), search_attributes={})
    found = await sched.until(lambda found: not found.search_attributes.indexed_fields)
    assert found.memo.fields


async def test_the_conflict_token_grows_with_every_change(sched: ScheduleScenario) -> None:
    await sched.create()
    await sched.update(every(3600))
    assert (await sched.until(lambda f: f.conflict_token[-1] == 2)).schedule.spec.interval
    await sched.patch(pause="why")
    assert (await sched.until(lambda f: f.conflict_token[-1] == 3)).schedule.state.paused
    await sched.patch(unpause="go on")
    found = await sched.until(lambda f: f.conflict_token[-1] == 4)
    sched.s.expect_message(
        found.schedule.state,
        """
            notes="go on"
        """,
    )
    await sched.update(every(7200), conflict_token=found.conflict_token)
    assert (await sched.until(lambda f: f.conflict_token[-1] == 5)).schedule.spec.interval[
        0
    ].interval.seconds == 7200


async def test_an_update_with_an_old_token_changes_nothing(sched: ScheduleScenario) -> None:
    """The real server says nothing of it; it is refused here, so that nobody takes it for done."""
    created = await sched.create()
    await sched.update(every(3600))
    await sched.until(lambda f: f.conflict_token[-1] == 2)
    assert await sched.refusal(sched.update(every(60), conflict_token=created.conflict_token)) in (
        "accepted",
        "FAILED_PRECONDITION: mismatched conflict token: the schedule was changed meanwhile; "
        "describe it and update it anew",
    )
    await asyncio.sleep(0.3)
    assert (await sched.describe()).schedule.spec.interval[0].interval.seconds == 3600


async def listed(sched: ScheduleScenario, query: str) -> list[str]:
    found = await sched.s.service.list_schedules(
        ws.ListSchedulesRequest(namespace=sched.s.namespace, query=query)
    )
    counted = await sched.s.service.count_schedules(
        ws.CountSchedulesRequest(namespace=sched.s.namespace, query=query)
    )
    assert counted.count == len(found.schedules)
    return sorted(sched.s.names.clean(each.schedule_id) for each in found.schedules)


async def until_listed(sched: ScheduleScenario, query: str, count: int) -> list[str]:
    """Lists of the real server come after the fact."""
    for _ in range(100):
        found = await listed(sched, query)
        if len(found) == count:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{query}: {found}")


async def test_lists_and_counts(sched: ScheduleScenario) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    for name, paused in (("a", False), ("b", True), ("c", False)):
        await sched.create(
            every(3600),
            schedule_id=sched.s.id(name),
            memo={"name": name},
            search_attributes={"ScenarioKeyword": mark},
            state={"paused": paused, "notes": f"of {name}"},
        )
    ours = f"ScenarioKeyword = '{mark}'"
    assert await until_listed(sched, ours, 3) == ["a", "b", "c"]
    assert await until_listed(sched, f"{ours} AND TemporalSchedulePaused = true", 1) == ["b"]
    assert await until_listed(sched, f"ScheduleId STARTS_WITH '{sched.s.prefix}:' AND {ours}", 3) == [
        "a",
        "b",
        "c",
    ]
    assert await until_listed(sched, f"ScheduleId IN ('{sched.s.id('a')}', 'x') AND {ours}", 1) == ["a"]
    assert await until_listed(sched, f"{ours} AND NOT (ScheduleId = '{sched.s.id('a')}')", 2) == ["b", "c"]
    found = await sched.s.service.list_schedules(
        ws.ListSchedulesRequest(
            namespace=sched.s.namespace, query=f"{ours} AND TemporalSchedulePaused = true"
        )
    )
    names = {mark: "<mark>"}
    text = sched.shown(found)
    for value, name in names.items():
        text = text.replace(value, name)
    expect(
        text,
        """
            schedules=[{schedule_id=b memo.fields={name: 'b'}
                  search_attributes.indexed_fields={ScenarioKeyword: '<mark>'{type: Keyword}}
                  info.spec.interval=[{interval=3600s phase=0s}] info.workflow_type.name=demo info.notes="of
                  b" info.paused=true info.future_action_times=[...]}]
        """,
    )
    pages = []
    token = b""
    for _ in range(3):
        page = await sched.s.service.list_schedules(
            ws.ListSchedulesRequest(
                namespace=sched.s.namespace, query=ours, maximum_page_size=1, next_page_token=token
            )
        )
        pages += [sched.s.names.clean(each.schedule_id) for each in page.schedules]
        token = page.next_page_token
    assert pages == ["c", "b", "a"]
    await sched.delete(sched.s.id("a"))
    assert await until_listed(sched, ours, 2) == ["b", "c"]


async def test_filters_that_are_refused(sched: ScheduleScenario) -> None:
    queries = (
        *("WorkflowId = 'x'", "WorkflowType = 'demo'", "ExecutionStatus = 'Running'", "RunId = 'x'"),
        *("StartTime > '2020-01-01T00:00:00Z'", "TaskQueue = 'x'", "TemporalScheduledById = 'x'"),
        *("BuildIds = 'x'", "Nope = 1", "foo", "GROUP BY TemporalSchedulePaused"),
    )
    expect(
        grouped({query: await sched.refusal(listed(sched, query)) for query in queries}),
        """
            INVALID_ARGUMENT: invalid query filter for schedules: cannot filter on "WorkflowId"
              WorkflowId = 'x'
            INVALID_ARGUMENT: invalid query filter for schedules: cannot filter on "WorkflowType"
              WorkflowType = 'demo'
            INVALID_ARGUMENT: invalid query filter for schedules: cannot filter on "ExecutionStatus"
              ExecutionStatus = 'Running'
            INVALID_ARGUMENT: invalid query filter for schedules: cannot filter on "RunId"
              RunId = 'x'
            INVALID_ARGUMENT: invalid query filter for schedules: cannot filter on "StartTime"
              StartTime > '2020-01-01T00:00:00Z'
            INVALID_ARGUMENT: invalid query filter for schedules: cannot filter on "TaskQueue"
              TaskQueue = 'x'
            INVALID_ARGUMENT: invalid query filter for schedules: cannot filter on "TemporalScheduledById"
              TemporalScheduledById = 'x'
            INVALID_ARGUMENT: invalid query filter for schedules: cannot filter on "BuildIds"
              BuildIds = 'x'
            INVALID_ARGUMENT: invalid query: invalid search attribute: Nope
              Nope = 1
            INVALID_ARGUMENT: invalid query: invalid expression: incomplete expression
              foo
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute TemporalSchedulePaused
              GROUP BY TemporalSchedulePaused
        """,
    )


TIMES: dict[str, tuple[ScheduleSpec, str, str]] = {
    "an interval with a phase": (every(7200, 600), "2025-01-01 00:10:00", "2025-01-01 06:10:00"),
    "spring in New York": (
        ScheduleSpec(calendar=[CalendarSpec(hour="1-3", minute="30")], timezone_name="America/New_York"),
        "2025-03-08 12:00:00",
        "2025-03-10 12:00:00",
    ),
    "autumn in New York": (
        ScheduleSpec(cron_string=["CRON_TZ=America/New_York 30 0-2 * * *"]),
        "2025-11-01 12:00:00",
        "2025-11-03 12:00:00",
    ),
    "midnight that is skipped": (
        ScheduleSpec(calendar=[CalendarSpec(hour="0-1")], timezone_name="Asia/Beirut"),
        "2025-03-29 12:00:00",
        "2025-03-31 12:00:00",
    ),
    "leap days": (ScheduleSpec(cron_string=["0 0 29 2 *"]), "2023-01-01 00:00:00", "2033-01-01 00:00:00"),
    "weekdays and days of the month must both match": (
        ScheduleSpec(cron_string=["0 12 13 * fri"]),
        "2025-01-01 00:00:00",
        "2027-01-01 00:00:00",
    ),
    "never": (ScheduleSpec(cron_string=["0 0 30 2 *"]), "2025-01-01 00:00:00", "2035-01-01 00:00:00"),
    "but not on Sundays, nor at noon": (
        ScheduleSpec(
            interval=[IntervalSpec(interval=seconds(6 * 3600))],
            exclude_calendar=[
                CalendarSpec(second="*", minute="*", hour="*", day_of_week="sun"),
                CalendarSpec(hour="12"),
            ],
        ),
        "2025-01-03 20:00:00",
        "2025-01-06 20:00:00",
    ),
    "from a start to an end": (
        ScheduleSpec(
            interval=[IntervalSpec(interval=seconds(3600))],
            start_time={"seconds": 1735707600},
            end_time={"seconds": 1735714800},
        ),
        "2024-12-01 00:00:00",
        "2025-12-01 00:00:00",
    ),
    "a calendar without seconds": (
        ScheduleSpec(structured_calendar=[StructuredCalendarSpec(minute=[Range(start=1)])]),
        "2025-01-01 00:00:00",
        "2026-01-01 00:00:00",
    ),
}


async def test_matching_times(sched: ScheduleScenario) -> None:
    found = []
    for name, (spec, start, end) in TIMES.items():
        await sched.create(spec, state={"paused": True})
        found.append(f"{name}: {(await sched.times(start, end)).replace(chr(10), ', ')}")
        await sched.delete()
    expect(
        "\n".join(found),
        """
            an interval with a phase: 2025-01-01 02:10:00, 2025-01-01 04:10:00, 2025-01-01 06:10:00
            spring in New York: 2025-03-09 06:30:00, 2025-03-09 07:30:00, 2025-03-10 05:30:00, 2025-03-10
                  06:30:00, 2025-03-10 07:30:00
            autumn in New York: 2025-11-02 04:30:00, 2025-11-02 05:30:00, 2025-11-02 06:30:00, 2025-11-02
                  07:30:00, 2025-11-03 05:30:00, 2025-11-03 06:30:00, 2025-11-03 07:30:00
            midnight that is skipped: 2025-03-29 22:00:00, 2025-03-30 21:00:00, 2025-03-30 22:00:00
            leap days: 2024-02-29 00:00:00, 2028-02-29 00:00:00, 2032-02-29 00:00:00
            weekdays and days of the month must both match: 2025-06-13 12:00:00, 2026-02-13 12:00:00,
                  2026-03-13 12:00:00, 2026-11-13 12:00:00
            never:
            but not on Sundays, nor at noon: 2025-01-04 00:00:00, 2025-01-04 06:00:00, 2025-01-04 18:00:00,
                  2025-01-06 00:00:00, 2025-01-06 06:00:00, 2025-01-06 18:00:00
            from a start to an end: 2025-01-01 05:00:00, 2025-01-01 06:00:00, 2025-01-01 07:00:00
            a calendar without seconds:
        """,
    )


async def test_matching_times_end_after_a_thousand(sched: ScheduleScenario) -> None:
    await sched.create(every(1), state={"paused": True})
    assert len((await sched.times("2025-01-01", "2025-02-01")).splitlines()) == 1000


async def test_an_initial_patch_is_carried_out(sched: ScheduleScenario) -> None:
    await sched.create(patch=SchedulePatch(pause="for now"))
    found = await sched.until(lambda f: f.schedule.state.paused)
    assert found.schedule.state.notes == "for now"
