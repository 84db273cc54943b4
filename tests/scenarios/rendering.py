"""Protobuf messages as short, stable text: ids named by role, times and other volatile fields left out."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import temporalio.api.errordetails.v1  # noqa: F401  (registers the detail types that errors carry)
from google.protobuf import any_pb2, duration_pb2, symbol_database, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.service import RPCError

IDENTITY = "tester"
"""Identity of every client and worker of the scenarios; only other identities are shown."""

HIDDEN = {"stack_trace", "poller_scaling_decision"}
"""Fields that are there or not by chance, or tell of the worker's make."""

OF_EVENTS = {"event_id", "event_type", "version", "task_id"}
"""Fields of an event that `histories` shows, or that count what happens in the whole server."""

VOLATILE = {
    "request_id", "task_token", "namespace_id", "history_size_bytes", "state_transition_count", "size_bytes",
    "external_payload_size_bytes", "external_payload_count",
}  # fmt: skip
"""Fields that differ between two equal runs: only that they are there is shown."""

PAST = 1_767_225_600
"""Moments before 2026 (in seconds since the epoch) are the scenario's own, and are shown as they are."""

BACKOFFS = {"first_workflow_task_backoff", "backoff_start_interval"}
"""Counted from the moment of the run's end, so they are shown in whole seconds, rounded up."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_OWN_ID = re.compile(_UUID.pattern + r"(:\d+)?")


class Names:
    """Gives the ids of one test their roles: `<prefix>:wf` is `wf`, the first run id seen is `run1`."""

    def __init__(self, prefix: str, namespace: str) -> None:
        self.prefix = prefix
        self.namespace = namespace
        self.aliases: dict[str, str] = {}  # names of another form than ids: by what they are shown as
        self._runs: dict[str, str] = {}

    def clean(self, text: str) -> str:
        """The text with every id of the test replaced by its role."""
        text = text.replace(f"{self.prefix}:", "")
        for name, alias in self.aliases.items():
            text = text.replace(name, alias)
        text = text.replace("\u00a0", " ")  # Go's protobuf library writes either, by the build
        text = re.sub(r"(.)\1{99,}", lambda found: f"<{len(found[0])} x {found[1]}>", text)
        return _UUID.sub(lambda found: self._runs.setdefault(found[0], f"run{len(self._runs) + 1}"), text)


def fields(message: Message, names: Names, hide: frozenset[str] = frozenset()) -> dict[str, str]:
    """Every set field that is worth showing, nested ones under dotted names."""
    return dict(_walk(message, names, hide, ""))


def render(message: Message, names: Names, hide: frozenset[str] = frozenset()) -> str:
    """A message on one line: `key=value key=value`."""
    return " ".join(f"{key}={value}" for key, value in fields(message, names, hide).items())


def error(caught: RPCError, names: Names) -> str:
    """A refusal: status, message, and each typed detail on a line of its own."""
    lines = [f"{caught.status.name}: {names.clean(caught.message)}"]
    for detail in caught.grpc_status.details:
        kind = detail.type_url.rsplit("/", 1)[-1]
        text = render(unpack(detail), names, frozenset({"start_request_id"}))
        lines.append(f"  {kind.rsplit('.', 1)[-1]} {text}".rstrip())
    return "\n".join(lines)


def unpack(packed: any_pb2.Any) -> Message:
    """The message inside an Any of a type that the temporalio package knows."""
    message = symbol_database.Default().GetSymbol(packed.type_url.rsplit("/", 1)[-1])()
    packed.Unpack(message)
    return message


def decode(payload: Payload) -> Any:
    """A payload's value, for the plain encodings that scenarios use."""
    encoding = payload.metadata.get("encoding", b"").decode()
    if encoding == "json/plain":
        return json.loads(payload.data)
    if encoding == "binary/null":
        return None
    return payload.data


def enum_name(field: FieldDescriptor, number: int) -> str:
    """An enum value without its type's prefix: `TIMEOUT_TYPE_HEARTBEAT` is `HEARTBEAT`."""
    assert field.enum_type is not None
    value = field.enum_type.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field.enum_type.name).upper() + "_"
    return value.name.removeprefix(prefix)


def _walk(message: Message, names: Names, hide: frozenset[str], path: str) -> Iterator[tuple[str, str]]:
    of_event = isinstance(message, HistoryEvent)
    for field, value in message.ListFields():
        key = f"{path}{field.name}"
        if field.name in HIDDEN or key in hide or (of_event and field.name in OF_EVENTS):
            continue
        if field.name in VOLATILE:
            # An id may have more behind it: how the server makes its own is nobody's business.
            yield key, names.clean(_OWN_ID.sub("<id>", value)) if isinstance(value, str) else "<set>"
            continue
        if field.message_type is not None and not field.is_repeated and _plain(value, names) is None:
            nested = list(_walk(value, names, hide, f"{key}."))
            yield from nested or [(key, "{}")]
            continue
        if field.name in BACKOFFS:
            whole = math.ceil(value.ToNanoseconds() / 1e9)
            yield key, "up to 1s" if whole == 1 else f"{whole}s" if whole < 3600 else "long"
            continue
        yield key, _text(field, value, names)


def _text(field: FieldDescriptor, value: Any, names: Names) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        pairs = (f"{key}: {_text(inner, value[key], names)}" for key in sorted(value))
        return "{" + names.clean(", ".join(pairs)) + "}"
    if field.is_repeated:
        return "[" + ", ".join(_one(field, item, names) for item in value) + "]"
    return _one(field, value, names)


def _one(field: FieldDescriptor, value: Any, names: Names) -> str:
    if field.enum_type is not None:
        return enum_name(field, value)
    if field.message_type is not None:
        plain = _plain(value, names)
        return plain if plain is not None else "{" + render(value, names) + "}"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        cleaned = names.clean(value)
        return cleaned if re.fullmatch(r"[\w:./@-]+", cleaned) else json.dumps(cleaned)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any, names: Names) -> str | None:
    """Messages that have a short form of their own; None for all others."""
    if isinstance(value, timestamp_pb2.Timestamp):
        if 0 < value.seconds < PAST:
            return value.ToJsonString()
        return "<time>" if value.seconds > 0 else "<zero>"
    if isinstance(value, duration_pb2.Duration):
        return f"{round(value.ToNanoseconds() / 1e9, 2):g}s"
    if isinstance(value, Payload):
        return _value(value, names)
    if isinstance(value, Payloads):
        return "[" + ", ".join(_value(item, names) for item in value.payloads) + "]"
    if isinstance(value, TaskQueue):
        kind = enum_name(TaskQueue.DESCRIPTOR.fields_by_name["kind"], value.kind).lower()
        of = f" of {value.normal_name}" if value.normal_name else ""
        return names.clean(value.name + ("" if kind == "normal" else f"({kind}{of})"))
    if isinstance(value, WorkerDeploymentVersion):
        return names.clean(f"{value.deployment_name}:{value.build_id}")
    return None


def _value(payload: Payload, names: Names) -> str:
    text = repr(decode(payload))
    more = [f"{key}: {told.decode()}" for key, told in sorted(payload.metadata.items()) if key != "encoding"]
    return names.clean(
        (text if len(text) < 80 else f"<{len(payload.data)} bytes>")
        + ("{" + ", ".join(more) + "}" if more else "")
    )
