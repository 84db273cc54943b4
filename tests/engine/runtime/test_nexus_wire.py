"""Nexus's forms of payloads, links and failures: what is written comes back, and what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Link, Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure, NexusHandlerFailureInfo
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.nexus.v1 import Link as NexusLink

from cloud.engine.runtime import nexus_failures as failures
from cloud.engine.runtime import nexus_links, nexus_services
from cloud.engine.runtime import nexus_wire as wire

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)
names = texts.filter(bool)


@given(
    st.sampled_from([b"json/plain", b"binary/plain", b"json/protobuf", b"binary/encrypted", b"", b"x"]),
    st.dictionaries(st.sampled_from(["messageType", "key", "other"]), st.just(b"some.Type"), max_size=2),
    st.binary(max_size=20),
)
def test_payloads_come_back(encoding: bytes, others: dict[str, bytes], data: bytes) -> None:
    payload = Payload(metadata={"encoding": encoding, **others}, data=data)
    header, body = wire.write_payload(payload)
    assert wire.read_payload({"content-length": str(len(body)), **header}, body) == payload


def test_no_payload_is_null() -> None:
    assert wire.read_payload(*wire.write_payload(None)) == Payload(metadata={"encoding": b"binary/null"})


def test_a_payload_that_is_none_is_refused() -> None:
    with pytest.raises(wire.MalformedMessage):
        wire.read_payload({"content-type": "application/x-temporal-payload"}, b"\xff\xff")


@given(names, names, names)
def test_links_come_back(namespace: str, workflow_id: str, request_id: str) -> None:
    event = Link.WorkflowEvent(namespace=namespace, workflow_id=workflow_id, run_id="run")
    event.request_id_ref.request_id = request_id
    event.request_id_ref.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    links = [Link(workflow_event=event)]
    links.append(Link(activity=Link.Activity(namespace=namespace, activity_id=workflow_id, run_id="run")))
    sent = [made for link in links if (made := nexus_links.as_nexus(link)) is not None]
    assert len(sent) == 2
    assert wire.read_links({"nexus-link": wire.write_links(sent)}) == links


@given(texts, texts)
def test_foreign_links_are_left_out(url: str, kind: str) -> None:
    assert nexus_links.from_nexus([NexusLink(url=url, type=kind)]) == []


def test_only_so_many_links() -> None:
    event = Link.WorkflowEvent(namespace="n", workflow_id="w", run_id="r")
    event.event_ref.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    made = nexus_links.as_nexus(Link(workflow_event=event))
    assert made is not None
    assert len(nexus_links.from_nexus([made] * 100)) == nexus_links.LINKS_MAX


def failure() -> Failure:
    details = Payloads(payloads=[Payload(data=b"d")])
    return Failure(
        message="no luck",
        source="here",
        stack_trace="line",
        application_failure_info=ApplicationFailureInfo(type="Bad", details=details, non_retryable=True),
        cause=Failure(
            message="deeper",
            nexus_handler_failure_info=NexusHandlerFailureInfo(
                type="INTERNAL", retry_behavior=failures.NON_RETRYABLE
            ),
            encoded_attributes=Payload(data=b"sealed"),
        ),
    )


def test_failures_come_back() -> None:
    body = wire.write_failure(failures.as_nexus(failure()))
    assert failures.as_temporal(wire.read_failure(body)) == failure()


def test_an_error_that_only_wraps_its_cause_is_unwrapped() -> None:
    wrapper = NexusFailure(
        message="operation error",
        metadata={"type": "nexus.OperationError", wire.UNWRAP: "true"},
        details=b'{"state":"failed"}',
        cause=failures.as_nexus(failure()),
    )
    found = wire.unsuccessful(wire.read_failure(wire.write_failure(wrapper)), "")
    assert (found.failure, found.canceled) == (failure(), False)


@pytest.mark.parametrize(
    "body",
    [b"", b"no", b"[]", b'"x"', b'{"metadata":[1]}', b'{"cause":1}', b"[" * 100_000, b'{"cause":' * 5_000 + b"{}" + b"}" * 5_000],
)  # fmt: skip
def test_what_is_no_failure(body: bytes) -> None:
    with pytest.raises(wire.MalformedMessage):
        wire.read_failure(body)


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("temporal.api.failure.v1.Failure", b'{"applicationFailureInfo":1}'),
        ("temporal.api.failure.v1.Failure", b"no"),
        ("nexus.HandlerError", b"[]"),
        ("nexus.HandlerError", b'{"encodedAttributes":"?"}'),
        ("nexus.OperationError", b"1"),
        ("other", b"no"),
    ],
)
def test_failures_that_are_not_what_they_say(kind: str, details: bytes) -> None:
    with pytest.raises(failures.MalformedFailure):
        failures.as_temporal(NexusFailure(metadata={"type": kind}, details=details))


@given(texts | st.sampled_from([".", ".."]), texts)
def test_names_stay_behind_the_endpoint(service: str, operation: str) -> None:
    """Whatever they are called, a tenant's operations are below the URL that an operator chose."""
    if {service, operation} & {".", ".."}:
        with pytest.raises(nexus_services.NoPathPart):
            nexus_services.below("https://host/base", service, operation)
        return
    made = nexus_services.below("https://host/base?key=1", service, operation, query="callback=x")
    assert made.startswith("https://host/base/")
    assert made.endswith("?key=1&callback=x")
    path = made.removeprefix("https://host").partition("?")[0]
    assert path.count("/") == 3
    assert {".", ".."}.isdisjoint(path.split("/"))


def test_how_a_request_is_carried_is_not_a_tenants_to_say() -> None:
    sent = nexus_services.carried(
        {"Host": "inner", "Transfer-Encoding": "chunked", "Content-Length": "1", "Proxy-X": "y", "Key": "v"}
    )
    assert sent == {"key": "v"}
