"""The HTTP API: paths, JSON both ways, payloads in shorthand, refusals.

Where a refusal is about the form of a request, only its status is compared: the real server's sentences name
lines of its own source.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from .commands import activity, complete
from .conftest import Server
from .raw import Scenario
from .rendering import HIDDEN, OF_EVENTS, VOLATILE
from .snapshots import expect, grouped

_CAMEL_VOLATILE = {
    re.sub("_(.)", lambda found: found[1].upper(), name) for name in HIDDEN | OF_EVENTS | VOLATILE
} | {
    "startRequestId",
    "nextPageToken",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT.*Z")


class Http:
    """Calls of the HTTP API in the scenario's namespace, answered as stable text."""

    def __init__(self, session: aiohttp.ClientSession, s: Scenario) -> None:
        self._session = session
        self._s = s

    async def text(self, method: str, path: str, body: Any = None, **headers: str) -> str:
        """The status and the body as it came, whatever its form."""
        data = body if isinstance(body, (str, bytes)) or body is None else json.dumps(body)
        url = path if path.startswith("/") else f"/api/v1/namespaces/{self._s.namespace}/{path}"
        async with self._session.request(
            method, url, data=data, headers={name.replace("_", "-"): value for name, value in headers.items()}
        ) as response:
            return f"{response.status} {await response.text()}"

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> str:
        """The status, and the body without what differs from run to run."""
        status, _, text = (await self.text(method, path, body, **headers)).partition(" ")
        shown = json.dumps(_stable(json.loads(text)), sort_keys=True, ensure_ascii=False)
        return f"{status} {self._s.names.clean(shown)}"

    async def status(self, method: str, path: str, body: Any = None, **headers: str) -> str:
        """The HTTP status and the code of a refusal."""
        status, _, text = (await self.text(method, path, body, **headers)).partition(" ")
        return f"{status}, code {json.loads(text).get('code')}"


def _stable(value: Any) -> Any:
    if isinstance(value, list):
        return [_stable(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _stable(item)
        for key, item in value.items()
        if key not in _CAMEL_VOLATILE and item not in ({}, []) and not _TIME.fullmatch(str(item))
    }


@pytest.fixture
async def http(server: Server, s: Scenario) -> AsyncIterator[Http]:
    if not server.http_address:
        pytest.skip("needs the server's HTTP API (TACIT_SCENARIOS_HTTP_ADDRESS)")
    async with aiohttp.ClientSession(f"http://{server.http_address}") as session:
        yield Http(session, s)


def _start(s: Scenario, **fields: Any) -> dict[str, Any]:
    return {"workflowType": {"name": "demo"}, "taskQueue": {"name": s.tq}, "identity": "tester", **fields}


async def test_a_workflow_from_start_to_result(s: Scenario, http: Http) -> None:
    message = {"_protoMessageType": "some.Type", "name": "value"}
    body = _start(
        s,
        input=["text", 1, 2.5, None, {"nested": [True]}, [0], message],
        memo={"fields": {"note": {"a": 1}}},
        searchAttributes={"indexedFields": {"ScenarioKeyword": "ada"}},
        workflowIdReusePolicy="RejectDuplicate",
        workflowRunTimeout="60s",
    )
    expect(
        await http("POST", f"workflows/{s.wf}", body),
        """
            200 {"firstExecutionRunId": "run1", "link": {"workflowEvent": {"eventRef": {}, "namespace":
                  "default", "runId": "run1", "workflowId": "wf"}}, "runId": "run1", "started": true,
                  "status": "WORKFLOW_EXECUTION_STATUS_RUNNING"}
        """,
    )
    expect(
        await http("GET", f"workflows/{s.wf}"),
        """
        200 {"executionConfig": {"defaultWorkflowTaskTimeout": "10s", "taskQueue": {"kind":
              "TASK_QUEUE_KIND_NORMAL", "name": "tq"}, "workflowRunTimeout": "60s"}, "pendingWorkflowTask":
              {"attempt": 1, "state": "PENDING_WORKFLOW_TASK_STATE_SCHEDULED"}, "workflowExecutionInfo":
              {"execution": {"runId": "run1", "workflowId": "wf"}, "firstRunId": "run1", "historyLength": "2",
              "memo": {"fields": {"note": {"a": 1}}}, "rootExecution": {"runId": "run1", "workflowId": "wf"},
              "searchAttributes": {"indexedFields": {"ScenarioKeyword": {"data": "ImFkYSI=", "metadata":
              {"encoding": "anNvbi9wbGFpbg==", "type": "S2V5d29yZA=="}}}}, "status":
              "WORKFLOW_EXECUTION_STATUS_RUNNING", "taskQueue": "tq", "type": {"name": "demo"}},
              "workflowExtendedInfo": {"requestIdInfos": {"run2": {}}}}
    """,
    )
    expect(
        await http("POST", f"workflows/{s.wf}/signal/go", {"input": ["now"], "identity": "tester"}),
        """
            200 {"link": {"workflowEvent": {"namespace": "default", "requestIdRef": {}, "runId": "run1",
                  "workflowId": "wf"}}}
        """,
    )
    await s.step(complete("done"))
    history = await http("GET", f"workflows/{s.wf}/history")
    expect(
        history,
        """
            200 {"history": {"events": [{"workflowExecutionStartedEventAttributes": {"attempt": 1,
                  "firstExecutionRunId": "run1", "firstWorkflowTaskBackoff": "0s", "identity": "tester",
                  "input": ["text", 1, 2.5, {"metadata": {"encoding": "YmluYXJ5L251bGw="}}, {"nested":
                  [true]}, [0], {"_protoMessageType": "some.Type", "name": "value"}], "memo": {"fields":
                  {"note": {"a": 1}}}, "originalExecutionRunId": "run1", "searchAttributes": {"indexedFields":
                  {"ScenarioKeyword": {"data": "ImFkYSI=", "metadata": {"encoding": "anNvbi9wbGFpbg==",
                  "type": "S2V5d29yZA=="}}}}, "taskQueue": {"kind": "TASK_QUEUE_KIND_NORMAL", "name": "tq"},
                  "workflowId": "wf", "workflowRunTimeout": "60s", "workflowTaskTimeout": "10s",
                  "workflowType": {"name": "demo"}}}, {"workflowTaskScheduledEventAttributes": {"attempt": 1,
                  "startToCloseTimeout": "10s", "taskQueue": {"kind": "TASK_QUEUE_KIND_NORMAL", "name":
                  "tq"}}}, {"workflowExecutionSignaledEventAttributes": {"identity": "tester", "input":
                  ["now"], "signalName": "go"}}, {"workflowTaskStartedEventAttributes": {"identity": "tester",
                  "scheduledEventId": "2"}}, {"workflowTaskCompletedEventAttributes": {"identity": "tester",
                  "scheduledEventId": "2", "startedEventId": "4"}},
                  {"workflowExecutionCompletedEventAttributes": {"result": ["done"],
                  "workflowTaskCompletedEventId": "5"}}]}}
        """,
    )
    history = await http("GET", f"workflows/{s.wf}/history?noPayloadShorthand")
    expect(
        history,
        """
            200 {"history": {"events": [{"workflowExecutionStartedEventAttributes": {"attempt": 1,
                  "firstExecutionRunId": "run1", "firstWorkflowTaskBackoff": "0s", "identity": "tester",
                  "input": {"payloads": [{"data": "InRleHQi", "metadata": {"encoding": "anNvbi9wbGFpbg=="}},
                  {"data": "MQ==", "metadata": {"encoding": "anNvbi9wbGFpbg=="}}, {"data": "Mi41", "metadata":
                  {"encoding": "anNvbi9wbGFpbg=="}}, {"metadata": {"encoding": "YmluYXJ5L251bGw="}}, {"data":
                  "eyJuZXN0ZWQiOlt0cnVlXX0=", "metadata": {"encoding": "anNvbi9wbGFpbg=="}}, {"data": "WzBd",
                  "metadata": {"encoding": "anNvbi9wbGFpbg=="}}, {"data": "eyJuYW1lIjoidmFsdWUifQ==",
                  "metadata": {"encoding": "anNvbi9wcm90b2J1Zg==", "messageType": "c29tZS5UeXBl"}}]}, "memo":
                  {"fields": {"note": {"data": "eyJhIjoxfQ==", "metadata": {"encoding":
                  "anNvbi9wbGFpbg=="}}}}, "originalExecutionRunId": "run1", "searchAttributes":
                  {"indexedFields": {"ScenarioKeyword": {"data": "ImFkYSI=", "metadata": {"encoding":
                  "anNvbi9wbGFpbg==", "type": "S2V5d29yZA=="}}}}, "taskQueue": {"kind":
                  "TASK_QUEUE_KIND_NORMAL", "name": "tq"}, "workflowId": "wf", "workflowRunTimeout": "60s",
                  "workflowTaskTimeout": "10s", "workflowType": {"name": "demo"}}},
                  {"workflowTaskScheduledEventAttributes": {"attempt": 1, "startToCloseTimeout": "10s",
                  "taskQueue": {"kind": "TASK_QUEUE_KIND_NORMAL", "name": "tq"}}},
                  {"workflowExecutionSignaledEventAttributes": {"identity": "tester", "input": {"payloads":
                  [{"data": "Im5vdyI=", "metadata": {"encoding": "anNvbi9wbGFpbg=="}}]}, "signalName": "go"}},
                  {"workflowTaskStartedEventAttributes": {"identity": "tester", "scheduledEventId": "2"}},
                  {"workflowTaskCompletedEventAttributes": {"identity": "tester", "scheduledEventId": "2",
                  "startedEventId": "4"}}, {"workflowExecutionCompletedEventAttributes": {"result":
                  {"payloads": [{"data": "ImRvbmUi", "metadata": {"encoding": "anNvbi9wbGFpbg=="}}]},
                  "workflowTaskCompletedEventId": "5"}}]}}
        """,
    )
    history = await http("GET", f"workflows/{s.wf}/history?historyEventFilterType=2&waitNewEvent=true")
    expect(
        history,
        """
        200 {"history": {"events": [{"workflowExecutionCompletedEventAttributes": {"result": ["done"],
              "workflowTaskCompletedEventId": "5"}}]}}
    """,
    )


async def test_layouts(s: Scenario, http: Http) -> None:
    await http("POST", f"workflows/{s.wf}", _start(s, memo={"fields": {"k": "v"}}))
    path = f"workflows/{s.wf}"
    forms = {
        "plain": ("", {}),
        "pretty": ("?pretty", {}),
        "long": ("?noPayloadShorthand", {}),
        "pretty and long": ("?pretty&noPayloadShorthand=", {}),
        "accept json": ("", {"Accept": "application/json"}),
        "accept pretty": ("", {"Accept": "application/json+pretty"}),
        "accept long": ("", {"Accept": "application/json+no-payload-shorthand"}),
        "accept both": ("", {"Accept": "application/json+pretty+no-payload-shorthand"}),
        "accept both, wrongly": ("", {"Accept": "application/json+no-payload-shorthand+pretty"}),
        "the URL counts": ("?pretty", {"Accept": "application/json+no-payload-shorthand"}),
        "sent long": ("", {"Content_Type": "application/json+no-payload-shorthand; charset=utf-8"}),
    }
    outcomes = {}
    for name, (query, headers) in forms.items():
        text = await http.text("GET", path + query, **headers)
        memo = json.loads(text.partition(" ")[2])["workflowExecutionInfo"]["memo"]["fields"]["k"]
        outcomes[name] = ("indented, " if "{\n" in text else "on one line, ") + json.dumps(memo)
    expect(
        grouped(outcomes),
        """
        on one line, "v"
          plain, accept json, accept both, wrongly
        indented, "v"
          pretty, accept pretty, the URL counts
        on one line, {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "InYi"}
          long, accept long, sent long
        indented, {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "InYi"}
          pretty and long, accept both
    """,
    )


async def test_forms_that_are_read(s: Scenario, http: Http) -> None:
    one = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "MQ=="}
    null = {"metadata": {"encoding": "YmluYXJ5L251bGw="}}
    inputs: dict[str, tuple[Any, dict[str, str]]] = {
        "shorthand": ([1], {}),
        "long": ({"payloads": [one]}, {}),
        "both": ({"payloads": [1, one]}, {}),
        "long in a list": ([one, null], {}),
        "almost long": ([{"data": "MQ==", "more": 1}, {"data": "", "metadata": {"encoding": "!"}}], {}),
        "null": (None, {}),
        "nothing": ([], {}),
        "declared long": ({"payloads": [one]}, {"Content_Type": "application/json+no-payload-shorthand"}),
        "not as declared": ([1], {"Content_Type": "application/json+no-payload-shorthand"}),
        "no list": ("text", {}),
    }
    outcomes = {}
    for n, (name, (value, headers)) in enumerate(inputs.items()):
        workflow = s.id(f"wf{n}")
        s.started.append(workflow)
        status = (await http.text("POST", f"workflows/{workflow}", _start(s, input=value), **headers))[:3]
        if status == "200":
            text = await http.text(
                "GET", f"workflows/{workflow}/history?noPayloadShorthand&maximumPageSize=1"
            )
            event = json.loads(text[4:])["history"]["events"][0]["workflowExecutionStartedEventAttributes"]
            status = json.dumps(event.get("input", {}).get("payloads"), sort_keys=True)
        outcomes[name] = status
    expect(
        grouped(outcomes),
        """
        [{"data": "MQ==", "metadata": {"encoding": "anNvbi9wbGFpbg=="}}]
          shorthand, long, declared long
        [{"data": "MQ==", "metadata": {"encoding": "anNvbi9wbGFpbg=="}}, {"data": "MQ==", "metadata":
              {"encoding": "anNvbi9wbGFpbg=="}}]
          both
        [{"data": "MQ==", "metadata": {"encoding": "anNvbi9wbGFpbg=="}}, {"metadata": {"encoding":
              "YmluYXJ5L251bGw="}}]
          long in a list
        [{"data": "eyJkYXRhIjoiTVE9PSIsIm1vcmUiOjF9", "metadata": {"encoding": "anNvbi9wbGFpbg=="}}, {"data":
              "eyJkYXRhIjoiIiwibWV0YWRhdGEiOnsiZW5jb2RpbmciOiIhIn19", "metadata": {"encoding":
              "anNvbi9wbGFpbg=="}}]
          almost long
        null
          null, nothing
        400
          not as declared, no list
    """,
    )


async def test_refusals(s: Scenario, http: Http) -> None:
    await http("POST", f"workflows/{s.wf}", _start(s, requestId="first"))
    expect(
        await http("POST", f"workflows/{s.wf}", _start(s, requestId="second")),
        """
        409 {"code": 6, "details": [{"@type":
              "type.googleapis.com/temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure",
              "firstExecutionRunId": "run1", "runId": "run1"}], "message": "Workflow execution is already
              running. WorkflowId: wf, RunId: run1."}
    """,
    )
    expect(
        await http("GET", f"workflows/{s.id('none')}"),
        """
        404 {"code": 5, "details": [{"@type":
              "type.googleapis.com/temporal.api.errordetails.v1.NotFoundFailure"}], "message": "workflow not
              found for ID: none"}
    """,
    )
    expect(
        await http("POST", f"workflows/{s.id('other')}", {}),
        """
        400 {"code": 3, "message": "WorkflowType is not set on request."}
    """,
    )
    expect(
        await http("GET", "/api/v1/namespaces/none-such/workflows"),
        """
        404 {"code": 5, "details": [{"@type":
              "type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure", "namespace":
              "none-such"}], "message": "Namespace none-such is not found."}
    """,
    )
    expect(
        await http("GET", "/api/v1/nowhere"),
        """
        404 {"code": 5, "message": "Not Found"}
    """,
    )
    expect(
        await http("DELETE", f"workflows/{s.wf}"),
        """
        501 {"code": 12, "message": "Method Not Allowed"}
    """,
    )
    expect(
        await http("GET", "workflows?query=what"),
        """
        400 {"code": 3, "message": "invalid query: invalid expression: incomplete expression"}
    """,
    )
    expect(
        await http.status("POST", f"workflows/{s.wf}/query/q", {}, Grpc_Timeout="300m"),
        """
        504, code 4
    """,
    )


async def test_requests_of_a_wrong_form(s: Scenario, http: Http) -> None:
    bodies = {
        "an unknown field": '{"bogus": 1}',
        "a field twice": '{"workflowType": {"name": "a"}, "workflowType": {"name": "a"}}',
        "half a body": '{"workflowType": ',
        "a list": "[]",
        "a number": "1",
        "an unknown enum": '{"workflowIdReusePolicy": "Perhaps"}',
        "no duration": '{"workflowRunTimeout": "long"}',
        "text for a message": '{"workflowType": "demo"}',
        "text for a boolean": '{"requestEagerExecution": "true"}',
        "a large body": " " * (4 * 1024 * 1024 + 1),
    }
    queries = {
        "text for a number": "pageSize=x",
        "a number too large": "pageSize=99999999999",
        "two values": "pageSize=1&pageSize=2",
        "no base64": "nextPageToken=abc!",
        "unknown parameters": "bogus=1&what.ever=2",
    }
    outcomes = {name: await http.status("POST", f"workflows/{s.wf}", body) for name, body in bodies.items()}
    for name, query in queries.items():
        outcomes[name] = await http.status("GET", f"workflows?{query}")
    outcomes["a short enum"] = await http.status(
        "GET", f"workflows/{s.wf}/history?historyEventFilterType=CLOSE_EVENT"
    )
    outcomes["text for a message, in the query"] = await http.status(
        "GET", f"workflows/{s.wf}/history?execution=x"
    )
    outcomes["no time"] = await http.status("GET", "schedules/s/matching-times?startTime=soon")
    expect(
        grouped(outcomes),
        """
        400, code 3
          an unknown field, a field twice, half a body, a list, a number, an unknown enum, no duration, text
              for a message, text for a boolean, a large body, text for a number, a number too large, two
              values, no base64, a short enum, text for a message, in the query, no time
        200, code None
          unknown parameters
    """,
    )


async def test_namespaces_and_the_cluster(s: Scenario, http: Http) -> None:
    name = s.prefix.lower()[-40:].strip("-")
    body = {"namespace": name, "workflowExecutionRetentionPeriod": "86400s", "data": {"a": "b"}}
    expect(
        await http("POST", "/cluster/namespaces", body),
        """
        200 {}
    """,
    )
    expect(
        await http.status("POST", "/api/v1/namespaces", body),
        """
        409, code 6
    """,
    )
    update = {"updateInfo": {"description": "text"}}
    text = (await http.text("POST", f"/api/v1/namespaces/{name}/update", update)).partition(" ")[2]
    expect(
        json.loads(text)["namespaceInfo"]["description"],
        """
        text
    """,
    )
    text = (await http.text("GET", f"/cluster/namespaces/{name}")).partition(" ")[2]
    expect(
        json.dumps(json.loads(text)["namespaceInfo"]["data"]),
        """
        {"a": "b"}
    """,
    )
    for path in ("/system-info", "/api/v1/system-info", "/cluster", "/api/v1/cluster-info"):
        assert json.loads((await http.text("GET", path))[4:])["serverVersion"]
    attributes = json.loads((await http.text("GET", "/cluster/namespaces/default/search-attributes"))[4:])
    expect(
        attributes["systemAttributes"]["StartTime"],
        """
        INDEXED_VALUE_TYPE_DATETIME
    """,
    )


async def test_a_schedule(s: Scenario, http: Http) -> None:
    schedule = s.id("schedule")
    body = {
        "requestId": "r",
        "schedule": {
            "spec": {"calendar": [{"hour": "3", "minute": "15"}], "timezoneName": "Europe/Berlin"},
            "state": {"paused": True, "notes": "later"},
            "policies": {"overlapPolicy": "BufferOne"},
            "action": {
                "startWorkflow": {
                    "workflowId": s.wf,
                    "workflowType": {"name": "demo"},
                    "taskQueue": {"name": s.tq},
                    "input": ["x"],
                }
            },
        },
    }
    assert (await http("POST", f"schedules/{schedule}", body)).startswith("200")
    text = json.loads((await http.text("GET", f"schedules/{schedule}"))[4:])["schedule"]
    expect(
        json.dumps({**text, "spec": {}, "action": text["action"]["startWorkflow"]["input"]}),
        """
        {"spec": {}, "action": ["x"], "policies": {"overlapPolicy": "SCHEDULE_OVERLAP_POLICY_BUFFER_ONE",
              "catchupWindow": "31536000s"}, "state": {"notes": "later", "paused": true}}
    """,
    )
    times = "startTime=2026-01-01T00:00:00Z&endTime=2026-01-03T00:00:00%2B01:00"
    expect(
        await http.text("GET", f"schedules/{schedule}/matching-times?{times}"),
        """
        200 {"startTime":["2026-01-01T02:15:00Z","2026-01-02T02:15:00Z"]}
    """,
    )
    patch = {"patch": {"unpause": "go"}, "requestId": "p"}
    expect(
        await http("POST", f"schedules/{schedule}/patch", patch),
        """
        200 {}
    """,
    )
    expect(
        await http("DELETE", f"schedules/{schedule}?identity=tester"),
        """
        200 {}
    """,
    )
    expect(
        await http.status("GET", f"schedules/{schedule}"),
        """
        404, code 5
    """,
    )


async def test_an_activity_by_its_id(s: Scenario, http: Http) -> None:
    await http("POST", f"workflows/{s.wf}", _start(s))
    await s.step(activity("a", s.tq))
    await s.poll_activity()
    path = f"workflows/{s.wf}/activities/a"
    expect(
        await http("POST", f"{path}/heartbeat", {"details": [1]}),
        """
        200 {}
    """,
    )
    expect(
        await http("POST", f"{path}/complete", {"result": ["done"], "identity": "tester"}),
        """
        200 {}
    """,
    )
    task = await s.poll()
    expect(
        "\n".join(s.history_lines(task.history.events)[-3:]),
        """
        7 ActivityTaskCompleted result=['done'] scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
    """,
    )
    expect(
        await http("POST", f"workflows/{s.wf}/terminate", {"reason": "enough"}),
        """
        200 {}
    """,
    )
