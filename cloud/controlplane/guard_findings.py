"""Which readable fields the plaintext guard saw: a method of our own, as usage by kind is.

``/tacit.usage.v1.UsageService/GetGuardFindings`` takes and gives a ``google.protobuf.Struct``:

    request   {days, namespaces: [..]}     `days` back from today (UTC), 1 to 90; `namespaces` left out or empty: all
    response  {rows: [{namespace, day, field, outcome, count, last_seen}]}     outcome: "observed" or "refused"

Keys may be added to both; an unknown key in a request is ignored. A row counts calls, not payloads. Both sides'
encodings are here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from cloud.rpc import CallContext, Handler, InvalidArgument, Method, PermissionDenied

SERVICE = "tacit.usage.v1.UsageService"
GET_GUARD_FINDINGS = Method(
    service=SERVICE,
    name="GetGuardFindings",
    path=f"/{SERVICE}/GetGuardFindings",
    request_type=Struct,
    response_type=Struct,
)

DAYS_MAX = 90
NAMESPACES_MAX = 1_000
_COUNT_MAX = 2**53

VisibleNamespaces = Callable[[CallContext], Collection[str]]


class CountedField(Protocol):
    """What was counted of a field on a day."""

    @property
    def namespace(self) -> str: ...  # noqa: D102

    @property
    def day(self) -> date: ...  # noqa: D102

    @property
    def field(self) -> str: ...  # noqa: D102

    @property
    def outcome(self) -> str: ...  # noqa: D102

    @property
    def count(self) -> int: ...  # noqa: D102

    @property
    def last_seen_at(self) -> datetime: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCount:
    """The same, as a client reads it."""

    namespace: str
    day: date
    field: str
    outcome: str
    count: int
    last_seen_at: datetime


ReadCounts = Callable[[Sequence[str], date], Awaitable[Sequence[CountedField]]]
"""What was counted in these namespaces on that day and later."""


def guard_findings_handler(
    read: ReadCounts, visible: VisibleNamespaces, clock: Callable[[], datetime]
) -> Handler:
    """The method over `read`, showing each caller no more than the namespaces that `visible` names.

    The handler raises InvalidArgument and PermissionDenied (a namespace that the caller may not see, known or not).
    """

    async def get_guard_findings(request: Message, context: CallContext) -> Message:
        if not isinstance(request, Struct):
            raise TypeError(f"GetGuardFindings takes a Struct, not a {type(request).__name__}")
        days, wanted = _parsed(request)
        allowed = frozenset(visible(context))
        if not wanted <= allowed:
            raise PermissionDenied("Request unauthorized: no such namespace, or no right to see its usage.")
        since = clock().astimezone(UTC).date() - timedelta(days=days - 1)
        return encode_response(await read(sorted(wanted or allowed), since))

    return get_guard_findings


def encode_request(*, days: int, namespaces: Sequence[str] = ()) -> Struct:
    """A request for the last `days`, today among them; no `namespaces`: of all that the caller may see."""
    request = Struct()
    request.update({"days": days, "namespaces": list(namespaces)})
    return request


def encode_response(rows: Sequence[CountedField]) -> Struct:
    """The answer with these rows."""
    response = Struct()
    response.update({"rows": [_encoded(row) for row in rows]})
    return response


def _encoded(row: CountedField) -> dict[str, str | int]:
    return {
        "namespace": row.namespace,
        "day": row.day.isoformat(),
        "field": row.field,
        "outcome": row.outcome,
        "count": row.count,
        "last_seen": row.last_seen_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def decode_response(response: Struct) -> list[FieldCount]:
    """The rows of an answer.

    Raises:
        ValueError: it is not of the form that this module writes.
    """
    if response.fields["rows"].WhichOneof("kind") != "list_value":
        raise ValueError("the answer has no list of rows: the service does not speak this method's form")
    return [_decoded(value.struct_value) for value in response.fields["rows"].list_value.values]


def _decoded(row: Struct) -> FieldCount:
    texts = {
        name: row.fields[name].string_value for name in ("namespace", "day", "field", "outcome", "last_seen")
    }
    count = row.fields["count"].number_value
    if not 0 <= count <= _COUNT_MAX or count != int(count):
        raise ValueError(f"count {count} is not a whole number")
    return FieldCount(
        namespace=texts["namespace"],
        day=date.fromisoformat(texts["day"]),
        field=texts["field"],
        outcome=texts["outcome"],
        count=int(count),
        last_seen_at=datetime.fromisoformat(texts["last_seen"]),
    )


def _parsed(request: Struct) -> tuple[int, frozenset[str]]:
    days = request.fields["days"].number_value if "days" in request.fields else 7.0
    # Written so that a NaN is refused.
    if not 1 <= days <= DAYS_MAX or days != int(days):
        raise InvalidArgument(f"GetGuardFindings: days: must be a whole number from 1 to {DAYS_MAX}")
    if "namespaces" not in request.fields:
        return int(days), frozenset()
    listed = request.fields["namespaces"]
    names = [value.string_value for value in listed.list_value.values]
    if listed.WhichOneof("kind") != "list_value" or len(names) > NAMESPACES_MAX or not all(names):
        raise InvalidArgument(
            f"GetGuardFindings: namespaces: must be a list of at most {NAMESPACES_MAX} names"
        )
    return int(days), frozenset(names)
