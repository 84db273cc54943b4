"""What scenarios touch of the protocol: every call of theirs is looked through for methods, commands, events, details and enum values."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import temporalio.api.errordetails.v1 as errordetails
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.testservice.v1 import service_pb2 as test_service
from temporalio.client import Client
from temporalio.service import RPCError

from cloud.rpc import methods_of
from tests.conformance.requests import methods

COVERAGE_FOLDER = os.environ.get("TACIT_CONFORMANCE_COVERAGE", "")
"""Where runs of the scenarios keep what they touched; nothing is kept without it."""

METHOD, COMMAND, EVENT, DETAIL, ENUM = "method", "command", "event", "error detail", "enum value"
Item = tuple[str, str]
"""A kind and a name, such as ("command", "START_TIMER")."""

_COMMAND_ENUM = CommandType.DESCRIPTOR.full_name
_EVENT_ENUM = EventType.DESCRIPTOR.full_name


class Recorder:
    """What each scenario touched, by its node id."""

    def __init__(self) -> None:
        self.touched: dict[str, set[Item]] = defaultdict(set)
        self.outcomes: dict[str, str] = {}

    def listen(self, client: Client, scenario: str) -> None:
        """Look through all that `client` sends and receives from now on."""
        service: Any = client.service_client
        inner = service._rpc_call

        async def recording(*, rpc: str, req: Message, **keywords: Any) -> Message:
            touched = self.touched[scenario]
            touched.add((METHOD, _camel_case(rpc)))
            touched.update(_items(req))
            try:
                answer: Message = await inner(rpc=rpc, req=req, **keywords)
            except RPCError as error:
                touched.update(
                    (DETAIL, detail.type_url.rpartition(".")[2]) for detail in error.grpc_status.details
                )
                raise
            touched.update(_items(answer))
            return answer

        service._rpc_call = recording

    def write(self, path: Path) -> None:
        """Keep it for the table; several test processes each add theirs."""
        path.mkdir(parents=True, exist_ok=True)
        content = {
            scenario: {"outcome": outcome, "touched": sorted(self.touched.get(scenario, ()))}
            for scenario, outcome in self.outcomes.items()
        }
        number = len(list(path.iterdir()))
        (path / f"{id(self)}-{number}.json").write_text(json.dumps(content))


def read(path: Path) -> dict[str, tuple[str, set[Item]]]:
    """What `Recorder.write` kept: outcome and items by scenario."""
    found: dict[str, tuple[str, set[Item]]] = {}
    for file in path.iterdir():
        for scenario, content in json.loads(file.read_text()).items():
            found[scenario] = (content["outcome"], {(kind, name) for kind, name in content["touched"]})
    return found


def universe() -> list[Item]:
    """All that there is to touch: what no scenario touches needs a reason."""
    services = [
        *methods(),
        *methods_of(test_service.DESCRIPTOR.services_by_name["TestService"]),
    ]
    enums: dict[str, EnumDescriptor] = {}
    for method in methods().values():
        _enums_of(method.request_type.DESCRIPTOR, enums, set())
    details = [message.name for message in errordetails.message_pb2.DESCRIPTOR.message_types_by_name.values()]
    return [
        *((METHOD, name) for name in services),
        *((COMMAND, name) for name in _values(CommandType.DESCRIPTOR)),
        *((EVENT, name) for name in _values(EventType.DESCRIPTOR)),
        *((DETAIL, name) for name in details),
        *(
            (ENUM, f"{enum.name}.{name}")
            for full_name, enum in sorted(enums.items())
            if full_name not in {_COMMAND_ENUM, _EVENT_ENUM}
            for name in _values(enum)
        ),
    ]


def _enums_of(message: Descriptor, found: dict[str, EnumDescriptor], seen: set[str]) -> None:
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in message.fields:
        if field.enum_type is not None:
            found[field.enum_type.full_name] = field.enum_type
        if field.message_type is not None:
            _enums_of(field.message_type, found, seen)


def _values(enum: EnumDescriptor) -> list[str]:
    """The values' short names, without the one that means nothing."""
    return [_short(enum, value.number) for value in enum.values if value.number]


def _short(enum: EnumDescriptor, number: int) -> str:
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name).lstrip("_")
    return value.name.removeprefix(f"{prefix}_")


def _items(message: Message) -> Iterator[Item]:
    for field, value in message.ListFields():
        values = value if field.is_repeated else (value,)
        if field.type == FieldDescriptor.TYPE_ENUM:
            for number in values:
                yield _enum_item(field.enum_type, number)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.message_type.GetOptions().map_entry:
                entry = field.message_type.fields_by_name["value"]
                if entry.type == FieldDescriptor.TYPE_MESSAGE:
                    for part in value.values():
                        yield from _items(part)
                elif entry.type == FieldDescriptor.TYPE_ENUM:
                    for number in value.values():
                        yield _enum_item(entry.enum_type, number)
                continue
            for part in values:
                yield from _items(part)


def _enum_item(enum: EnumDescriptor, number: int) -> Item:
    if enum.full_name == _COMMAND_ENUM:
        return COMMAND, _short(enum, number)
    if enum.full_name == _EVENT_ENUM:
        return EVENT, _short(enum, number)
    return ENUM, f"{enum.name}.{_short(enum, number)}"


def _camel_case(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
