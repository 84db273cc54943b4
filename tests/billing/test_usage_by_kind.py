from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from billing import UsageCount
from cloud.controlplane import usage_by_kind
from cloud.controlplane.usage_by_kind import (
    GET_USAGE_BY_KIND,
    decode_response,
    encode_request,
    encode_response,
    usage_by_kind_handler,
)
from cloud.rpc import InvalidArgument, PermissionDenied, ResourceExhausted
from tests.billing.serving import FixedUsage, context

HOUR = datetime(2026, 11, 3, 4, tzinfo=UTC)
DAY = timedelta(days=1)


def row(namespace: str, count: int = 1, **changes: Any) -> UsageCount:
    fields = {"hour": HOUR, "kind": "start_timer", "workflow_type": "W", **changes}
    return UsageCount(namespace=namespace, count=count, **fields)


SOURCE_ROWS = [row("a.x", 2), row("b.x", 3), row("c.other", 4)]


async def ask(visible: list[str], request: Struct, source: FixedUsage | None = None) -> list[UsageCount]:
    handler = usage_by_kind_handler(source or FixedUsage(SOURCE_ROWS), lambda _: visible)
    response = await handler(request, context())
    assert isinstance(response, Struct)
    return decode_response(Struct.FromString(response.SerializeToString()))


def request(*namespaces: str) -> Struct:
    return encode_request(start=HOUR, end=HOUR + DAY, namespaces=namespaces)


async def test_without_names_a_caller_gets_all_it_may_see_and_no_more() -> None:
    source = FixedUsage(SOURCE_ROWS)
    assert await ask(["b.x", "a.x"], request(), source) == [row("a.x", 2), row("b.x", 3)]
    assert source.asked == [(["a.x", "b.x"], HOUR, HOUR + DAY)]


async def test_a_caller_that_may_see_nothing_does_not_reach_the_source() -> None:
    source = FixedUsage(SOURCE_ROWS)
    assert await ask([], request(), source) == []
    assert source.asked == []


async def test_names_narrow_what_is_read() -> None:
    assert await ask(["a.x", "b.x"], request("b.x")) == [row("b.x", 3)]


@pytest.mark.parametrize("named", [["c.other"], ["nobody.s"], ["a.x", "c.other"]])
async def test_another_s_namespace_and_nobody_s_are_refused_alike(named: list[str]) -> None:
    with pytest.raises(PermissionDenied) as caught:
        await ask(["a.x"], request(*named))
    assert caught.value.message == "Request unauthorized: no such namespace, or no right to see its usage."


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({}, ["start: is missing", "end: is missing"]),
        ({"start": 5, "end": None}, ["start: is missing", "end: is missing"]),
        ({"start": "tomorrow", "end": "2026-11-04T00:00:00Z"}, ["start: 'tomorrow' is not"]),
        (
            {"start": "2026-11-03T00:00:00", "end": "2026-11-04T00:00:00Z"},
            ["start: '2026-11-03T00:00:00' is not"],
        ),
        (
            {"start": "2026-11-03T00:30:00Z", "end": "2026-11-04T00:00:00Z"},
            ["start: '2026-11-03T00:30:00Z' is"],
        ),
        ({"start": "2026-11-04T00:00:00Z", "end": "2026-11-04T00:00:00Z"}, ["is not after start"]),
        ({"start": "2026-11-04T00:00:00Z", "end": "2027-11-04T00:00:00Z"}, ["more than 31 days"]),
        ({"start": "x", "end": "y", "namespaces": "a"}, ["start: ", "end: ", "namespaces: is not a list"]),
        ({"start": "x", "end": "y", "namespaces": ["a", 1]}, ["namespaces: one is not a name"]),
        ({"start": "x", "end": "y", "namespaces": [""]}, ["namespaces: one is not a name"]),
        ({"start": "x", "end": "y", "namespaces": ["a"] * 1001}, ["at most 1000 can be"]),
    ],
)
async def test_a_malformed_request_is_told_all_its_faults(fields: dict[str, Any], faults: list[str]) -> None:
    malformed = Struct()
    malformed.update(fields)
    with pytest.raises(InvalidArgument) as caught:
        await ask(["a.x"], malformed)
    for fault in faults:
        assert fault in caught.value.message


async def test_a_newer_client_s_unknown_field_is_ignored() -> None:
    newer = request()
    newer.update({"granularity": "minute"})
    assert len(await ask(["a.x"], newer)) == 1


async def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_by_kind, "ROWS_MAX", 1)
    with pytest.raises(ResourceExhausted, match="2 rows, more than 1"):
        await ask(["a.x", "b.x"], request())


rows = st.builds(
    UsageCount,
    namespace=st.text(min_size=1, max_size=8),
    hour=st.integers(0, 10_000).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n)),
    kind=st.text(min_size=1, max_size=8),
    workflow_type=st.text(max_size=8),
    count=st.integers(0, 2**53),
)


@given(st.lists(rows, max_size=8))
def test_rows_survive_the_wire(usage: list[UsageCount]) -> None:
    wire = Struct.FromString(encode_response(usage).SerializeToString())
    assert sorted(decode_response(wire), key=repr) == sorted(usage, key=repr)


@pytest.mark.parametrize(
    "broken",
    [{}, {"count": 1.5}, {"count": -1}, {"count": float("nan")}, {"count": float("inf")}, {"hour": "x"}],
)
def test_a_broken_answer_is_refused_by_row(broken: dict[str, Any]) -> None:
    good = {"namespace": "a", "hour": "2026-11-03T04:00:00Z", "kind": "k", "workflow_type": "", "count": 1}
    answer = Struct()
    answer.update({"rows": [good, {**good, **broken} if broken else {}]})
    with pytest.raises(ValueError, match="row 2 of the usage"):
        decode_response(answer)


def test_an_answer_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="no list of rows"):
        decode_response(Struct())


def test_the_path() -> None:
    assert GET_USAGE_BY_KIND.path == "/tacit.usage.v1.UsageService/GetUsageByKind"
