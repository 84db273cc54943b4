"""Endpoints whose target is a URL: operations of other services, by the Nexus protocol over HTTP."""

import asyncio
import json

import aiohttp
from temporalio.api.common.v1 import Callback

from . import commands as c
from .nexus import (
    create_endpoint,
    endpoint_name,
    external_target,
    links_text,
    pending_until,
    request_cancel,
    schedule,
)
from .raw import Scenario
from .services import Sent, Service, reply, service
from .snapshots import expect
from .test_nexus_callbacks import until_called

HIDDEN = frozenset(
    {"host", "accept", "accept-encoding", "request-timeout", "content-length", "transfer-encoding"}
)


def shown(s: Scenario, sent: Sent) -> str:
    """A request as text, but for what differs each time."""
    lines = [f"{sent.method} {sent.path}"]
    lines += [f"?{key}={'...' if key == 'callback' else text}" for key, text in sent.query.items()]
    for key, text in sorted(sent.header.items()):
        if key in HIDDEN:
            continue
        secret = key in {"nexus-callback-temporal-callback-token", "nexus-operation-close-time"}
        dated = key == "nexus-operation-start-time"
        lines.append(f"{key}: {'...' if secret or dated else s.names.clean(text)}")
    lines.append(sent.body.decode())
    return "\n".join(lines)


async def called(s: Scenario, outside: Service, *values: object, **fields: object) -> None:
    """A workflow that calls the service."""
    endpoint = await create_endpoint(s, target=external_target(outside.url))
    await s.start()
    await s.step(schedule(endpoint, *values, **fields))


async def test_done_at_once(s: Scenario) -> None:
    link = (
        f"<temporal:///namespaces/{s.namespace}/workflows/there/run/history?eventID=1"
        '&eventType=WorkflowExecutionStarted&referenceType=EventReference>; type="temporal.api.common.v1.Link.WorkflowEvent"'
    )
    async with service(reply(200, {"answer": 42}, nexus_link=link)) as outside:
        await called(s, outside, "in", service="a service", operation="an/op", header={"Some-Key": "v"})
        expect(
            shown(s, await outside.next()),
            """
                POST /base/a%20service/an%2Fop
                ?callback=...
                content-type: application/json
                nexus-callback-temporal-callback-token: ...
                nexus-link:
                      <temporal:///namespaces/default/workflows/wf/run1/history?eventID=5&eventType=NexusOperationScheduled&referenceType=EventReference>;
                      type="temporal.api.common.v1.Link.WorkflowEvent"
                nexus-request-id: run2
                some-key: v
                temporal-nexus-failure-support: true
                user-agent: temporalio/server
                "in"
            """,
        )
        task = await s.poll()
        s.expect_events(
            task.history.events[5:6],
            """
                6 NexusOperationCompleted scheduled_event_id=5 result={'answer': 42} request_id=<id>
                      links=[{workflow_event.namespace=default workflow_event.workflow_id=there
                      workflow_event.run_id=run workflow_event.event_ref.event_id=1
                      workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED}]
            """,
        )
        expect(
            links_text(task.history.events[5].links, s.names),
            """
                workflow_event.namespace=default workflow_event.workflow_id=there workflow_event.run_id=run
                      workflow_event.event_ref.event_id=1
                      workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED
            """,
        )


async def test_kinds_of_results(s: Scenario) -> None:
    results = {
        "nothing": reply(200),
        "text": reply(200, "plain", content_type="text/plain"),
        "bytes": reply(200, "raw", content_type="application/octet-stream"),
        "proto in JSON": reply(
            200, "{}", content_type='application/json; format=protobuf; message-type="a.B"'
        ),
    }
    lines = []
    async with service(*results.values()) as outside:
        endpoint = await create_endpoint(s, target=external_target(outside.url))
        await s.start()
        task = await s.poll()
        for name in results:
            await s.complete(task, schedule(endpoint))
            await outside.next()
            task = await s.poll()
            completed = next(
                e
                for e in reversed(task.history.events)
                if e.HasField("nexus_operation_completed_event_attributes")
            )
            payload = completed.nexus_operation_completed_event_attributes.result
            lines.append(f"{name}: {dict(sorted(payload.metadata.items()))} {payload.data!r}")
    expect(
        "\n".join(lines),
        """
            nothing: {'encoding': b'binary/null'} b''
            text: {'encoding': b'unknown/nexus-content', 'type': b'text/plain'} b'plain'
            bytes: {'encoding': b'binary/plain'} b'raw'
            proto in JSON: {'encoding': b'json/protobuf', 'messageType': b'a.B'} b'{}'
        """,
    )


async def test_fails(s: Scenario) -> None:
    failure = {"message": "no luck", "metadata": {"k": "v"}, "details": {"why": "x"}}
    async with service(
        reply(424, failure, nexus_operation_state="failed"),
        reply(424, {"message": "stopped"}, nexus_operation_state="canceled"),
    ) as outside:
        await called(s, outside)
        task = await s.poll()
        s.expect_events(
            task.history.events[5:6],
            """
                6 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                      unsuccessfully" failure.cause.message="no luck"
                      failure.cause.application_failure_info.type=NexusFailure
                      failure.cause.application_failure_info.details=[{'metadata': {'k': 'v'}, 'details':
                      {'why': 'x'}}] failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                      failure.nexus_operation_execution_failure_info.endpoint=ep
                      failure.nexus_operation_execution_failure_info.service=svc
                      failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
            """,
        )
        endpoint = task.history.events[4].nexus_operation_scheduled_event_attributes.endpoint
        await s.complete(task, schedule(endpoint))
        task = await s.poll()
        s.expect_events(
            task.history.events[10:11],
            """
                11 NexusOperationCanceled scheduled_event_id=10 failure.message="nexus operation completed
                      unsuccessfully" failure.cause.message=stopped failure.cause.canceled_failure_info={}
                      failure.nexus_operation_execution_failure_info.scheduled_event_id=10
                      failure.nexus_operation_execution_failure_info.endpoint=ep
                      failure.nexus_operation_execution_failure_info.service=svc
                      failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
            """,
        )


async def test_refuses(s: Scenario) -> None:
    async with service(reply(404, {"message": "no such operation"})) as outside:
        await called(s, outside)
        task = await s.poll()
        s.expect_events(
            task.history.events[5:6],
            """
                6 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                      unsuccessfully" failure.cause.cause.message="no such operation"
                      failure.cause.nexus_handler_failure_info.type=NOT_FOUND
                      failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                      failure.nexus_operation_execution_failure_info.endpoint=ep
                      failure.nexus_operation_execution_failure_info.service=svc
                      failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
            """,
        )


async def test_stumbles(s: Scenario) -> None:
    async with service(reply(503, {"message": "not now"}), reply(200, "x")) as outside:
        await called(s, outside)
        await outside.next()
        expect(
            await pending_until(s, "BACKING_OFF"),
            """
                endpoint=ep service=svc operation=op scheduled_time=<time> state=BACKING_OFF attempt=1
                      last_attempt_complete_time=<time> last_attempt_failure.cause.message="not now"
                      last_attempt_failure.nexus_handler_failure_info.type=UNAVAILABLE
                      next_attempt_schedule_time=<time> scheduled_event_id=5
            """,
        )
        await outside.next()
        await s.poll()


async def test_answers_that_are_none(s: Scenario) -> None:
    lines = []
    answers = {
        "an unknown status": reply(418, {"message": "teapot"}),
        "started without a token": reply(201, {"state": "running"}),
        "started, and done": reply(201, {"state": "succeeded", "token": "t"}),
        "an end without a state": reply(424, {"message": "no"}),
        "not retryable, it says": reply(500, {"message": "no"}, nexus_request_retryable="false"),
    }
    for case, made in answers.items():
        async with service(made) as outside:
            endpoint = await create_endpoint(
                s, endpoint_name(s, case.replace(" ", "-").replace(",", "")), external_target(outside.url)
            )
            workflow_id = s.id(case)
            await s.start(workflow_id=workflow_id)
            await s.step(schedule(endpoint))
            await outside.next()
            for _ in range(40):
                found = (await s.describe(workflow_id)).pending_nexus_operations
                if not found or found[0].attempt:
                    break
                await asyncio.sleep(0.05)
            lines.append(f"{case}: {found[0].last_attempt_failure.message if found else 'failed'}")
            await s.terminate(workflow_id)
    expect(
        "\n".join(lines),
        """
            an unknown status: unexpected response status: "418 I'm a Teapot": teapot
            started without a token: empty operation token in response
            started, and done: invalid operation state in response info: "succeeded"
            an end without a state: invalid operation state header: "": no
            not retryable, it says: failed
        """,
    )


async def test_callback_over_http(s: Scenario) -> None:
    async with service(reply(500, "no"), reply(200)) as outside:
        callback = Callback(nexus=Callback.Nexus(url=outside.url, header={"Some-Key": "v"}))
        await s.start(completion_callbacks=[callback])
        await s.step(c.complete("out"))
        expect(
            shown(s, await outside.next()),
            """
                POST /base
                content-type: application/json
                nexus-link:
                      <temporal:///namespaces/default/workflows/wf/run1/history?eventID=1&eventType=WorkflowExecutionStarted&referenceType=EventReference>;
                      type="temporal.api.common.v1.Link.WorkflowEvent"
                nexus-operation-close-time: ...
                nexus-operation-start-time: ...
                nexus-operation-state: succeeded
                some-key: v
                user-agent: temporalio/server
                "out"
            """,
        )
        await outside.next()  # tried again
        found = await until_called(s, s.wf)
        expect(
            found.replace(outside.url, "URL"),
            """
                callback.nexus.url=URL trigger.workflow_closed={} registration_time=<time> state=SUCCEEDED
                      attempt=2 last_attempt_complete_time=<time>
            """,
        )


async def test_failure_to_a_callback_over_http(s: Scenario) -> None:
    async with service(reply(200)) as outside:
        await s.start(completion_callbacks=[Callback(nexus=Callback.Nexus(url=outside.url))])
        await s.step(c.fail(c.failure("no luck")))
        expect(
            shown(s, await outside.next()),
            """
                POST /base
                content-type: application/json
                nexus-link:
                      <temporal:///namespaces/default/workflows/wf/run1/history?eventID=1&eventType=WorkflowExecutionStarted&referenceType=EventReference>;
                      type="temporal.api.common.v1.Link.WorkflowEvent"
                nexus-operation-close-time: ...
                nexus-operation-start-time: ...
                nexus-operation-state: failed
                user-agent: temporalio/server
                {"message":"no
                      luck","metadata":{"type":"temporal.api.failure.v1.Failure"},"details":{"applicationFailureInfo":{"type":"Boom"}}}
            """,
        )


async def test_callback_refused_for_good(s: Scenario) -> None:
    async with service(reply(403, {"message": "not you"})) as outside:
        await s.start(completion_callbacks=[Callback(nexus=Callback.Nexus(url=outside.url))])
        await s.step(c.complete())
        found = await until_called(s, s.wf, "FAILED")
        expect(
            found.replace(outside.url, "URL"),
            """
                callback.nexus.url=URL trigger.workflow_closed={} registration_time=<time> state=FAILED
                      attempt=1 last_attempt_complete_time=<time> last_attempt_failure.message="handler error
                      (UNAUTHORIZED)" last_attempt_failure.application_failure_info.non_retryable=true
            """,
        )


async def test_started_and_cancelled(s: Scenario) -> None:
    async with service(
        reply(201, {"token": "the token", "state": "running"}), reply(202), reply(202)
    ) as outside:
        await called(s, outside, service="a service", operation="an/op")
        await outside.next()
        await s.step(request_cancel(5))
        expect(
            shown(s, await outside.next()),
            """
                POST /base/a%20service/an%2Fop/cancel
                nexus-operation-token: the token
                user-agent: temporalio/server
            """,
        )
        await s.poll()
        s.expect_events(
            (await s.history())[5:11],
            """
                6 NexusOperationStarted scheduled_event_id=5 operation_id="the token" request_id=<id>
                      operation_token="the token"
                7 WorkflowTaskScheduled
                8 WorkflowTaskStarted
                9 WorkflowTaskCompleted
                10 NexusOperationCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=9
                11 NexusOperationCancelRequestCompleted requested_event_id=10 scheduled_event_id=5
                      worker_may_ignore=true
            """,
        )


async def call_back(sent: Sent, body: bytes, *, url: str = "", **header: str) -> str:
    """What a service hears that tells how the operation ended which `sent` asked it to start."""
    prefix = "nexus-callback-"
    named = {key.removeprefix(prefix): text for key, text in sent.header.items() if key.startswith(prefix)}
    named |= {key.replace("_", "-"): text for key, text in header.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url or sent.query["callback"], data=body, headers=named) as response,
    ):
        text = await response.text()
        return f"{response.status} {json.loads(text)['message'] if text else ''}".strip()


async def test_started_and_completed_by_callback(s: Scenario) -> None:
    async with service(reply(201, {"token": "the token", "state": "running"})) as outside:
        await called(s, outside)
        sent = await outside.next()
        assert sent.query["callback"].endswith(f"/namespaces/{s.namespace}/nexus/callback")
        await s.step()
        succeeded = {"nexus_operation_state": "succeeded", "content_type": "application/json"}
        expect(
            await call_back(sent, b'"out"', **succeeded),
            """
                200
            """,
        )
        task = await s.poll()
        s.expect_events(
            task.history.events[5:10],
            """
                6 NexusOperationStarted scheduled_event_id=5 operation_id="the token" request_id=<id>
                      operation_token="the token"
                7 WorkflowTaskScheduled
                8 WorkflowTaskStarted
                9 WorkflowTaskCompleted
                10 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
            """,
        )
        assert (await call_back(sent, b'"again"', **succeeded)).startswith("404 ")
        await s.complete(task, c.complete())
        assert (await call_back(sent, b'"late"', **succeeded)).startswith("404 ")


async def test_failed_and_canceled_by_callback(s: Scenario) -> None:
    async with service(reply(201, {"token": "the token", "state": "running"})) as outside:
        await called(s, outside)
        sent = await outside.next()
        await s.step()
        json_failure = b'{"message":"no luck","metadata":{"k":"v"},"details":{"why":"x"}}'
        failed = {"nexus_operation_state": "failed", "content_type": "application/json"}
        await call_back(sent, json_failure, **failed)
        task = await s.poll()
        s.expect_events(
            task.history.events[9:10],
            """
                10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                      unsuccessfully" failure.cause.message="no luck"
                      failure.cause.application_failure_info.type=NexusFailure
                      failure.cause.application_failure_info.details=[{'metadata': {'k': 'v'}, 'details':
                      {'why': 'x'}}] failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                      failure.nexus_operation_execution_failure_info.endpoint=ep
                      failure.nexus_operation_execution_failure_info.service=svc
                      failure.nexus_operation_execution_failure_info.operation=op
                      failure.nexus_operation_execution_failure_info.operation_id="the token"
                      failure.nexus_operation_execution_failure_info.operation_token="the token"
                      request_id=<id>
            """,
        )
        endpoint = task.history.events[4].nexus_operation_scheduled_event_attributes.endpoint
        await s.complete(task, schedule(endpoint))
        sent = await outside.next()
        await s.step()
        await call_back(sent, b'{"message":"stopped"}', **failed | {"nexus_operation_state": "canceled"})
        task = await s.poll()
        s.expect_events(
            task.history.events[-3:-2],
            """
                19 NexusOperationCanceled scheduled_event_id=14 failure.message="nexus operation completed
                      unsuccessfully" failure.cause.message=stopped failure.cause.canceled_failure_info={}
                      failure.nexus_operation_execution_failure_info.scheduled_event_id=14
                      failure.nexus_operation_execution_failure_info.endpoint=ep
                      failure.nexus_operation_execution_failure_info.service=svc
                      failure.nexus_operation_execution_failure_info.operation=op
                      failure.nexus_operation_execution_failure_info.operation_id="the token"
                      failure.nexus_operation_execution_failure_info.operation_token="the token"
                      request_id=<id>
            """,
        )


async def test_completed_before_the_answer(s: Scenario) -> None:
    """A service may be done before its answer is: then the completion tells of the start too."""
    link = (
        f"<temporal:///namespaces/{s.namespace}/workflows/there/run/history?eventID=1"
        '&eventType=WorkflowExecutionStarted&referenceType=EventReference>; type="temporal.api.common.v1.Link.WorkflowEvent"'
    )
    async with service(reply(503, {"message": "not now"})) as outside:
        await called(s, outside)
        sent = await outside.next()
        expect(
            await call_back(
                sent,
                b"",
                nexus_operation_state="succeeded",
                nexus_operation_token="the token",
                nexus_operation_start_time="Wed, 21 Oct 2015 07:28:00 GMT",
                nexus_link=link,
            ),
            """
                200
            """,
        )
        task = await s.poll()
        s.expect_events(
            task.history.events[5:7],
            """
                6 NexusOperationStarted scheduled_event_id=5 operation_id="the token" request_id=<id>
                      operation_token="the token" event_time=unset links=[{workflow_event.namespace=default
                      workflow_event.workflow_id=there workflow_event.run_id=run
                      workflow_event.event_ref.event_id=1
                      workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED}]
                7 NexusOperationCompleted scheduled_event_id=5 result=b'' request_id=<id>
            """,
        )
        begun = task.history.events[5]
        assert begun.event_time.seconds == 1445412480
        expect(
            links_text(begun.links, s.names),
            """
                workflow_event.namespace=default workflow_event.workflow_id=there workflow_event.run_id=run
                      workflow_event.event_ref.event_id=1
                      workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED
            """,
        )


async def test_bad_completions(s: Scenario) -> None:
    async with service(reply(201, {"token": "the token", "state": "running"})) as outside:
        await called(s, outside)
        sent = await outside.next()
        await s.step()
        here = sent.query["callback"]
        elsewhere = here.replace(f"/namespaces/{s.namespace}/", "/namespaces/elsewhere/")
        good = {"nexus_operation_state": "succeeded"}
        outcomes = {
            "no state": await call_back(sent, b""),
            "running": await call_back(sent, b"", nexus_operation_state="running"),
            "failed, no failure": await call_back(sent, b"", nexus_operation_state="failed"),
            "failed, no JSON": await call_back(
                sent, b"no", nexus_operation_state="failed", content_type="application/json"
            ),
            "bad start time": await call_back(sent, b"", nexus_operation_start_time="yesterday", **good),
            "long token": await call_back(sent, b"", nexus_operation_token="t" * 4097, **good),
            "forged": await call_back(sent, b"", temporal_callback_token="forged", **good),
            "another namespace's path": await call_back(sent, b"", url=elsewhere, **good),
        }
        expect(
            "\n".join(f"{case}: {outcome}" for case, outcome in outcomes.items()),
            """
                no state: 400 invalid request operation state: ""
                running: 400 invalid request operation state: "running"
                failed, no failure: 400 invalid request content type: "application/octet-stream"
                failed, no JSON: 400 failed to decode Failure from request body
                bad start time: 400 failed to parse operation start time header
                long token: 400 operation token length exceeds allowed limit (4097/4096)
                forged: 400 invalid callback token
                another namespace's path: 400 invalid callback token
            """,
        )
        shorter = here.replace(f"/namespaces/{s.namespace}/", "/")
        assert await call_back(sent, b"", url=shorter, **good) == "200"
        await s.poll()
