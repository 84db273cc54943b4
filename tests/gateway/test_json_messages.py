"""JSON to messages and back, for every message of the API and anything that a caller may send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DescribeTaskQueueRequest,
    ListWorkflowExecutionsRequest,
    StartWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)

from cloud.engine.api.history_imports import IMPORT_HISTORY
from cloud.gateway import METHOD_TABLE
from cloud.gateway.http.fields import set_query
from cloud.gateway.http.json_messages import NotThisMessage, parse, render
from cloud.gateway.http.routes import Routes, routes_of
from cloud.rpc import InvalidArgument, Method

METHODS = [needs.method for needs in METHOD_TABLE.values() if needs.method is not None]

jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", [method.request_type for method in METHODS])
def test_every_message_reads_its_own_json(kind: type[Message]) -> None:
    for shorthand in (True, False):
        assert parse(render(kind(), shorthand=shorthand, pretty=True), kind, shorthand=shorthand) == kind()


@given(values=st.lists(jsons, max_size=4))
def test_json_payloads_survive_in_shorthand(values: list[Any]) -> None:
    """But for JSON that is a payload's own form, and null, which stands for no value at all."""
    start = StartWorkflowExecutionRequest(
        input=Payloads(
            payloads=[
                Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())
                for value in values
            ]
        )
    )
    text = render(start, shorthand=True, pretty=False)
    assert json.loads(text) == {"input": values}
    read = parse(text, StartWorkflowExecutionRequest, shorthand=True)
    for payload, value in zip(read.input.payloads, values, strict=True):
        if value is None:
            assert payload.metadata["encoding"] == b"binary/null"
        elif not (isinstance(value, dict) and {"metadata", "_protoMessageType"} & set(value)):
            assert payload.metadata == {"encoding": b"json/plain"}
            assert json.loads(payload.data) == value


@given(
    data=st.binary(), encoding=st.sampled_from([b"", b"json/plain", b"json/protobuf", b"binary/null", b"x"])
)
def test_no_payload_breaks_an_answer(data: bytes, encoding: bytes) -> None:
    event = HistoryEvent()
    payload = Payload(metadata={"encoding": encoding}, data=data)
    event.workflow_execution_started_event_attributes.input.payloads.append(payload)
    event.workflow_execution_started_event_attributes.memo.fields["k"].CopyFrom(payload)
    json.loads(render(event, shorthand=True, pretty=False))
    long = render(event, shorthand=False, pretty=False)
    assert json_format.Parse(long, HistoryEvent()) == event


@settings(max_examples=300)
@given(
    value=st.dictionaries(
        st.sampled_from(["input", "memo", "searchAttributes", "workflowRunTimeout", "links", "workflowIdReusePolicy",
                         "versioningOverride", "priority", "completionCallbacks", "requestId", "userMetadata", "?"]),
        jsons | st.fixed_dictionaries({"fields": jsons, "payloads": jsons}),
        max_size=4,
    ),
    shorthand=st.booleans(),
)  # fmt: skip
def test_whatever_is_sent_is_read_or_refused(value: dict[str, Any], shorthand: bool) -> None:
    try:
        read = parse(json.dumps(value).encode(), StartWorkflowExecutionRequest, shorthand=shorthand)
    except NotThisMessage:
        return
    assert isinstance(read, StartWorkflowExecutionRequest)


@given(text=st.binary())
def test_whatever_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        parse(text, StartWorkflowExecutionRequest, shorthand=True)
    except NotThisMessage:
        pass
    else:
        assert not text.strip() or text.strip().startswith(b"{")


def test_values_of_query_parameters() -> None:
    request = CreateScheduleRequest()
    set_query(
        request,
        [
            ("schedule.policies.catchupWindow", "1h30m0.5s"),
            ("schedule.policies.pauseOnFailure", "TRUE"),
            ("schedule.spec.startTime", "2026-01-02T03:04:05.5+01:00"),
            ("schedule.spec.cronString", "a"),
        ],
        [],
    )
    assert request.schedule.policies.catchup_window.ToMilliseconds() == 5_400_500
    assert request.schedule.policies.pause_on_failure
    assert request.schedule.spec.start_time.ToJsonString() == "2026-01-02T02:04:05.500Z"
    assert request.schedule.spec.cron_string == ["a"]
    namespace = UpdateNamespaceRequest()
    set_query(namespace, [("updateInfo.data[a]", "b"), ("updateInfo.data[c]", "d")], [])
    assert namespace.update_info.data == {"a": "b", "c": "d"}
    queue = DescribeTaskQueueRequest()
    set_query(queue, [("taskQueueType", "TASK_QUEUE_TYPE_ACTIVITY"), ("reportStats", "1")], [])
    assert (queue.task_queue_type, queue.report_stats) == (2, True)


def test_what_the_path_has_filled_stays() -> None:
    request = ListWorkflowExecutionsRequest(namespace="mine")
    set_query(request, [("namespace", "another"), ("pageSize", "2")], [("namespace",)])
    assert request == ListWorkflowExecutionsRequest(namespace="mine", page_size=2)


@settings(max_examples=300)
@given(
    key=st.sampled_from(
        ["schedule", "schedule.spec", "schedule.spec.startTime", "schedule.policies.catchupWindow", "scheduleId",
         "schedule.policies.overlapPolicy", "schedule.state.limitedActions", "schedule.state.remainingActions",
         "schedule.spec.timezoneData", "schedule.spec.interval", "memo.fields[a]", "memo.fields", "a.b", "[", ""]
    ),
    text=st.text() | st.from_regex(r"[0-9.hmsnuZT:+-]{0,30}"),
)  # fmt: skip
def test_whatever_is_asked_is_read_or_refused(key: str, text: str) -> None:
    request = CreateScheduleRequest()
    try:
        set_query(request, [(key, text)], [])
    except InvalidArgument:
        return
    assert CreateScheduleRequest.FromString(request.SerializeToString()) == request


def test_a_method_of_our_own_has_no_path() -> None:
    """It has no proto that could give it one; the others are served all the same."""
    assert routes_of(IMPORT_HISTORY) == []
    Routes([*METHODS, IMPORT_HISTORY])


def test_every_path_of_the_protos_finds_its_method() -> None:
    routes = Routes(METHODS)
    served = 0
    for method in METHODS:
        for route in routes_of(method):
            segments = tuple(segment if segment is not None else "x" for segment in route.template)
            found = routes.find(route.verb, segments)
            assert found is not None
            assert found.route.method == method
            for path in route.variables:
                descriptor: Any = method.request_type.DESCRIPTOR
                for name in path[:-1]:
                    descriptor = descriptor.fields_by_name[name].message_type
                assert descriptor.fields_by_name[path[-1]].message_type is None
            served += 1
    assert served > 250
    assert routes.find("GET", ("api", "v1", "namespaces", "x", "workflows", "")) is not None
    assert routes.find("GET", ("api", "v1")) is None
    assert routes.find("GET", ()) is None
    assert not routes.other_verb("GET", ("nowhere",))


def test_an_unknown_form_of_path_is_refused() -> None:
    from cloud.gateway.http.routes import _route

    method: Method = METHODS[0]
    for path in ("/a/{b=**}", "/a/{b}:c", "/a//b", "/a/*"):
        with pytest.raises(ValueError, match="unknown form"):
            _route(method, "GET", path, False)
