"""Usage by kind of action: the one method that the official CloudService lacks, whose usage has no kinds.

``/tacit.usage.v1.UsageService/GetUsageByKind`` takes and gives a ``google.protobuf.Struct``, so it needs no
proto of its own:

    request   {start, end, namespaces: [..]}      whole hours in RFC 3339, UTC; `namespaces` left out or
    empty: all response  {rows: [{namespace, hour, kind, workflow_type, count}]}

Keys may be added to both; an unknown key in a request is ignored, so that a newer client gets an answer. A
Struct's numbers are binary64, which holds a whole count up to 2**53 exactly; an hour's count stays far
below. Both sides' encodings are here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from billing import UsageCount, UsageSource, is_whole_hour
from cloud.rpc import CallContext, Handler, InvalidArgument, Method, PermissionDenied, ResourceExhausted

SERVICE = "tacit.usage.v1.UsageService"
GET_USAGE_BY_KIND = Method(
    service=SERVICE,
    name="GetUsageByKind",
    path=f"/{SERVICE}/GetUsageByKind",
    request_type=Struct,
    response_type=Struct,
)

SPAN_MAX = timedelta(days=31)
"""One call reads at most a month; whoever wants more calls again."""
NAMESPACES_MAX = 1_000
ROWS_MAX = 50_000
"""About 8 MB of response. A day of a busy account is some thousand rows."""
COUNT_MAX = 2**53

VisibleNamespaces = Callable[[CallContext], Collection[str]]
"""Which namespaces' usage a caller may see; answered from memory. A caller that may see none gets no rows."""


def usage_by_kind_handler(source: UsageSource, visible: VisibleNamespaces) -> Handler:
    """The method over `source`, showing each caller no more than the namespaces that `visible` names.

    The handler raises InvalidArgument (with all faults of the request), PermissionDenied (a namespace that
    the caller may not see, known or not) and ResourceExhausted (too many rows).
    """

    async def get_usage_by_kind(request: Message, context: CallContext) -> Message:
        if not isinstance(request, Struct):
            raise TypeError(f"GetUsageByKind takes a Struct, not a {type(request).__name__}")
        start, end, wanted = _parsed(request)
        allowed = frozenset(visible(context))
        if not wanted <= allowed:
            # One sentence for a namespace of somebody else and for one that is nobody's.
            raise PermissionDenied("Request unauthorized: no such namespace, or no right to see its usage.")
        namespaces = sorted(wanted or allowed)
        rows = await source.read(namespaces=namespaces, start=start, end=end) if namespaces else ()
        if len(rows) > ROWS_MAX:
            raise ResourceExhausted(
                f"the usage asked for has {len(rows)} rows, more than {ROWS_MAX} in one response: "
                "ask for fewer hours or fewer namespaces at a time"
            )
        return encode_response(rows)

    return get_usage_by_kind


def encode_request(*, start: datetime, end: datetime, namespaces: Sequence[str] = ()) -> Struct:
    """A request for usage in [`start`, `end`); no `namespaces`: of all that the caller may see."""
    request = Struct()
    request.update({"start": _text(start), "end": _text(end), "namespaces": list(namespaces)})
    return request


def encode_response(rows: Sequence[UsageCount]) -> Struct:
    """`rows` as the response, in a stable order."""
    response = Struct()
    listed = response.fields["rows"].list_value
    listed.SetInParent()  # an empty list is a list
    for row in sorted(rows, key=lambda row: (row.hour, row.namespace, row.kind, row.workflow_type)):
        fields = listed.values.add().struct_value.fields
        fields["namespace"].string_value = row.namespace
        fields["hour"].string_value = _text(row.hour)
        fields["kind"].string_value = row.kind
        fields["workflow_type"].string_value = row.workflow_type
        fields["count"].number_value = row.count
    return response


def decode_response(response: Struct) -> list[UsageCount]:
    """The rows of a response.

    Raises:
        ValueError: it is not of the form that this module writes; says which row.
    """
    if response.fields["rows"].WhichOneof("kind") != "list_value":
        raise ValueError("the answer has no list of rows: the service does not speak this method's form")
    rows = []
    for number, value in enumerate(response.fields["rows"].list_value.values, 1):
        try:
            rows.append(_decode_row(value.struct_value))
        except ValueError as error:
            raise ValueError(f"row {number} of the usage that was answered is broken: {error}") from None
    return rows


def _decode_row(row: Struct) -> UsageCount:
    count = row.fields["count"].number_value
    if not 0 <= count <= COUNT_MAX or count != int(count):
        raise ValueError(f"count {count} is not a whole number")
    return UsageCount(
        namespace=row.fields["namespace"].string_value,
        hour=_moment(row.fields["hour"].string_value),
        kind=row.fields["kind"].string_value,
        workflow_type=row.fields["workflow_type"].string_value,
        count=int(count),
    )


def _parsed(request: Struct) -> tuple[datetime, datetime, frozenset[str]]:
    faults: list[str] = []
    start, end = _hour(request, "start", faults), _hour(request, "end", faults)
    namespaces = _names(request, faults)
    if start is not None and end is not None:
        if end <= start:
            faults.append(f"end: {_text(end)} is not after start, {_text(start)}")
        elif end - start > SPAN_MAX:
            faults.append(f"end: more than {SPAN_MAX.days} days after start; ask month by month")
    if faults or start is None or end is None:
        raise InvalidArgument(f"GetUsageByKind: {'; '.join(faults)}")
    return start, end, namespaces


def _hour(request: Struct, key: str, faults: list[str]) -> datetime | None:
    if not _is(request, key, "string_value"):
        faults.append(f"{key}: is missing; give the beginning of an hour such as 2026-11-01T00:00:00Z")
        return None
    text = request.fields[key].string_value
    try:
        return _moment(text)
    except ValueError:
        faults.append(
            f"{key}: {text[:40]!r} is not the beginning of an hour in UTC such as 2026-11-01T00:00:00Z"
        )
        return None


def _names(request: Struct, faults: list[str]) -> frozenset[str]:
    if "namespaces" not in request.fields:
        return frozenset()
    if not _is(request, "namespaces", "list_value"):
        faults.append("namespaces: is not a list of names")
        return frozenset()
    values = request.fields["namespaces"].list_value.values
    if len(values) > NAMESPACES_MAX:
        faults.append(f"namespaces: {len(values)} are named, at most {NAMESPACES_MAX} can be")
        return frozenset()
    if not all(_is_name(value) for value in values):
        faults.append("namespaces: one is not a name")
    return frozenset(value.string_value for value in values)


def _is(request: Struct, key: str, kind: str) -> bool:
    return key in request.fields and request.fields[key].WhichOneof("kind") == kind


def _is_name(value: Value) -> bool:
    return value.WhichOneof("kind") == "string_value" and bool(value.string_value)


def _moment(text: str) -> datetime:
    """Parse the beginning of an hour in UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if not is_whole_hour(moment):
        raise ValueError(f"{text!r} is not the beginning of an hour in UTC")
    return moment.astimezone(UTC)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
