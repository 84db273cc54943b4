"""Markers (local activities, side effects, patches), and the properties a workflow sets on itself."""

from __future__ import annotations

from temporalio.api.common.v1 import Memo, Payload, SearchAttributes
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.state import Execution
from cloud.engine.core.turn import Turn

_E = EventType

FREE_MARKERS = frozenset({"Version", "core_patch"})
"""Markers that stand for a code version and are not usage (as the hosted service's web console counts)."""

FREE_SEARCH_ATTRIBUTE = "TemporalChangeVersion"
_EMPTY = (b"", b"null", b"[]")


def _apply_nothing(execution: Execution, event: HistoryEvent) -> None:
    """The event tells the workflow's code something, the service nothing."""


def is_unset(payload: Payload) -> bool:
    """Whether a payload stands for "remove this key"."""
    return payload.metadata.get("encoding") == b"binary/null" or payload.data in _EMPTY


def _merge(into: dict[str, Payload], changes: Memo | SearchAttributes) -> None:
    fields = changes.fields if isinstance(changes, Memo) else changes.indexed_fields
    for key, payload in fields.items():
        if is_unset(payload):
            into.pop(key, None)
        else:
            into[key] = payload


def _apply_search_attributes(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.upsert_workflow_search_attributes_event_attributes
    _merge(execution.search_attributes, attributes.search_attributes)


def _apply_memo(execution: Execution, event: HistoryEvent) -> None:
    _merge(execution.memo, event.workflow_properties_modified_event_attributes.upserted_memo)


APPLY = {
    _E.EVENT_TYPE_MARKER_RECORDED: _apply_nothing,
    _E.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: _apply_search_attributes,
    _E.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED: _apply_memo,
}


def upsert_search_attributes(turn: Turn, event: HistoryEvent) -> None:
    """Write an upsert of search attributes."""
    turn.append(event)
    keys = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
    if set(keys) != {FREE_SEARCH_ATTRIBUTE}:
        turn.meter("upsert_workflow_search_attributes")
    turn.ask(UpdateVisibility())


def upsert_memo(turn: Turn, event: HistoryEvent) -> None:
    """Write an upsert of the memo."""
    turn.append(event)
    turn.meter("modify_workflow_properties")
    turn.ask(UpdateVisibility())
