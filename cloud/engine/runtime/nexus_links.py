"""Links between what calls and what is called: Temporal's own as URLs, which is how Nexus carries them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import Link as NexusLink

from cloud.engine.core import enum_names

LINKS_MAX = 10
"""Links of one answer that are kept."""

LINK_SIZE_MAX = 4_000
"""Bytes of a link's URL (the real server's limit on a link)."""

_WORKFLOW_EVENT = Link.WorkflowEvent.DESCRIPTOR.full_name
_ACTIVITY = Link.Activity.DESCRIPTOR.full_name
_NEXUS_OPERATION = Link.NexusOperation.DESCRIPTOR.full_name
_BY_EVENT = Link.WorkflowEvent.EventReference.DESCRIPTOR.name
_BY_REQUEST = Link.WorkflowEvent.RequestIdReference.DESCRIPTOR.name


def _event_type_name(event_type: EventType.ValueType) -> str:
    """NexusOperationScheduled for EVENT_TYPE_NEXUS_OPERATION_SCHEDULED."""
    return enum_names.camel(EventType, event_type, "EVENT_TYPE_")


_EVENT_TYPES = {_event_type_name(number): number for number in EventType.values()} | dict(EventType.items())


def as_nexus(link: Link) -> NexusLink | None:
    """A link in Nexus's form, None for one that has none."""
    match link.WhichOneof("variant"):
        case "workflow_event":
            event = link.workflow_event
            path = _path(event.namespace, "workflows", event.workflow_id, event.run_id, "history")
            query: dict[str, str] = {}
            if event.HasField("event_ref"):
                if event.event_ref.event_id:
                    query["eventID"] = str(event.event_ref.event_id)
                query["eventType"] = _event_type_name(event.event_ref.event_type)
                query["referenceType"] = _BY_EVENT
            elif event.HasField("request_id_ref"):
                query["eventType"] = _event_type_name(event.request_id_ref.event_type)
                query["referenceType"] = _BY_REQUEST
                query["requestID"] = event.request_id_ref.request_id
            return NexusLink(url=f"{path}?{urlencode(query)}" if query else path, type=_WORKFLOW_EVENT)
        case "activity":
            activity = link.activity
            path = _path(activity.namespace, "activities", activity.activity_id, activity.run_id, "details")
            return NexusLink(url=path, type=_ACTIVITY)
        case "nexus_operation":
            operation = link.nexus_operation
            path = _path(
                operation.namespace, "nexus-operations", operation.operation_id, operation.run_id, "details"
            )
            return NexusLink(url=path, type=_NEXUS_OPERATION)
        case _:
            return None


def _path(namespace: str, what: str, name: str, run_id: str, last: str) -> str:
    parts = "/".join(quote(part, safe=":@!$&'()*+,;=") for part in (namespace, what, name, run_id))
    return f"temporal:///namespaces/{parts}/{last}"


def from_nexus(links: Iterable[NexusLink]) -> list[Link]:
    """The links that are Temporal's own. Others, and those that can't be read, are left out: nothing depends on them."""
    found: list[Link] = []
    for link in links:
        if len(found) == LINKS_MAX:
            break
        if len(link.url) > LINK_SIZE_MAX:
            continue
        try:
            made = _read(link)
        except (ValueError, KeyError):
            continue
        if made is not None:
            found.append(made)
    return found


def _read(link: NexusLink) -> Link | None:
    url = urlsplit(link.url)
    parts = [unquote(part, errors="strict") for part in url.path.split("/")]
    if url.scheme != "temporal" or len(parts) != 7 or parts[:2] != ["", "namespaces"]:
        return None
    _, _, namespace, what, name, run_id, last = parts
    if not (namespace and name and run_id):
        return None
    match (link.type, what, last):
        case (_, "workflows", "history") if link.type == _WORKFLOW_EVENT:
            event = Link.WorkflowEvent(namespace=namespace, workflow_id=name, run_id=run_id)
            _read_reference(event, {key: values[0] for key, values in parse_qs(url.query).items()})
            return Link(workflow_event=event)
        case (_, "activities", "details") if link.type == _ACTIVITY:
            return Link(activity=Link.Activity(namespace=namespace, activity_id=name, run_id=run_id))
        case (_, "nexus-operations", "details") if link.type == _NEXUS_OPERATION:
            made = Link.NexusOperation(namespace=namespace, operation_id=name, run_id=run_id)
            return Link(nexus_operation=made)
        case _:
            return None


def _read_reference(event: Link.WorkflowEvent, query: dict[str, str]) -> None:
    event_type = EventType.ValueType(_EVENT_TYPES[query["eventType"]])
    if query.get("referenceType") == _BY_EVENT:
        event.event_ref.event_type = event_type
        event.event_ref.event_id = int(query.get("eventID") or 0)
    elif query.get("referenceType") == _BY_REQUEST:
        event.request_id_ref.event_type = event_type
        event.request_id_ref.request_id = query.get("requestID", "")
    else:
        raise ValueError("the link refers to its event in no known way")
