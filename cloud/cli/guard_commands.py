"""`tacit namespace guard`: which fields of a namespace's calls are readable, before and after the guard enforces."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Annotated

import grpc
import typer
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb

from cloud.cli.account_client import (
    AddressOption,
    ApiKeyOption,
    CallFailed,
    ProfileOption,
    ServerCaOption,
    control_plane,
)
from cloud.cli.namespace_commands import GUARD_TAG, Guard, NameArgument
from cloud.cli.output import Output, OutputOption, emit, fail, note
from cloud.controlplane.guard_findings import (
    DAYS_MAX,
    GET_GUARD_FINDINGS,
    FieldCount,
    decode_response,
    encode_request,
)

EXAMPLE = "Example: tacit namespace guard orders --days 30"


def guard(
    name: NameArgument,
    days: Annotated[
        int, typer.Option(min=1, max=DAYS_MAX, help="How many days to look back, today among them.")
    ] = 7,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show which fields of calls were not encrypted: how many calls, and what became of them.

    With the guard on `observe` this is what `enforce` would refuse.
    """
    with control_plane(address, api_key, server_ca, profile) as client:
        full_name = client.full_name(name)
        request = encode_request(days=days, namespaces=[full_name])
        found = client.call("GetNamespace", pb.GetNamespaceRequest(namespace=full_name)).namespace
        try:
            counts = decode_response(client.call_method(GET_GUARD_FINDINGS, request))
        except ValueError as error:
            fail(f"{client.connection.address}: {error}")
        except CallFailed as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            fail(
                f"{client.connection.address} does not tell what its guard saw: it is older than this command"
            )
    mode = Guard(found.tags.get(GUARD_TAG, Guard.ENFORCE.value))
    rows = _rows(counts)
    if output is Output.JSON:
        emit({"namespace": full_name, "guard": mode, "days": days, "fields": rows}, output)
        return
    emit(rows, output, empty=f"Nothing readable came in the last {days} days.")
    note(_advice(full_name, mode, found_any=bool(rows)))


def _rows(counts: list[FieldCount]) -> list[dict[str, object]]:
    """A row per field, over all days; what is seen most first."""
    calls: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    seen: dict[str, datetime] = {}
    for one in counts:
        calls[one.field][one.outcome] += one.count
        seen[one.field] = max(one.last_seen_at, seen.get(one.field, one.last_seen_at))
    order = sorted(calls, key=lambda field: (-sum(calls[field].values()), field))
    return [
        {
            "field": field,
            "observed": calls[field]["observed"],
            "refused": calls[field]["refused"],
            "last_seen": seen[field].replace(microsecond=0),
        }
        for field in order
    ]


def _advice(namespace: str, mode: Guard, *, found_any: bool) -> str:
    name = namespace.partition(".")[0]
    if mode is Guard.OFF:
        return f"The guard is off and counts nothing. To count: tacit namespace update {name} --guard observe"
    if mode is Guard.OBSERVE and found_any:
        return "The guard observes: it would refuse these calls if it enforced. Encrypt these fields first."
    if mode is Guard.OBSERVE:
        return (
            "The guard observes, and would have refused nothing. Once all of your clients have run in this time: "
            f"tacit namespace update {name} --guard enforce"
        )
    return "The guard enforces: calls with readable fields are refused."
