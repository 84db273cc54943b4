"""Search attributes and filters in Temporal's messages: blinded on the way to the service, revealed on the way back.

They are found by descriptors, as `codec.walk` finds payloads: every SearchAttributes, wherever it stands, and every filter of
a list, a count or a batch operation. So it holds for all calls of the protocol, those to come as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from temporalio.api.common.v1 import Payload, SearchAttributes

from codec.blind_index.filters import translated_filter
from codec.blind_index.index import BlindIndex, BlindIndexError
from codec.descriptors import held_type, is_map

_ATTRIBUTES = SearchAttributes.DESCRIPTOR.full_name
_FILTER_FIELDS = frozenset({"query", "visibility_query"})
_KEYWORD_TYPES = frozenset(
    {b"", b"Keyword", b"KeywordList", b"INDEXED_VALUE_TYPE_KEYWORD", b"INDEXED_VALUE_TYPE_KEYWORD_LIST"}
)

_Change = Callable[["IndexedMessages", Any], None]


class IndexedMessages:
    """Changes messages in place. For one thread at a time, but for what was compiled before."""

    def __init__(self, index: BlindIndex) -> None:
        self.index = index
        self._fields: dict[str, tuple[tuple[FieldDescriptor, str], ...]] = {}

    def blind(self, message: Any) -> None:
        """A request, or what a workflow asks for: attributes and filters as the service is to have them.

        Raises:
            BlindIndexError: a value is no keyword, or a filter asks what hashes can't tell.
            codec.KeyRingError: the ring can't be read.
        """
        self._walk(message, self._blind_attributes, filters=True)

    def reveal(self, message: Any) -> None:
        """A response, or what a workflow is told: attributes as they were given."""
        self._walk(message, self._reveal_attributes, filters=False)

    def concerns(self, message: Any) -> bool:
        """Whether messages of this type can hold what is changed here."""
        return bool(self._ways(message.DESCRIPTOR))

    def _walk(self, message: Any, change: Callable[[Any], None], *, filters: bool) -> None:
        if message.DESCRIPTOR.full_name == _ATTRIBUTES:
            change(message)
            return
        for field, kind in self._ways(message.DESCRIPTOR):
            if kind == "filter":
                if filters and (text := getattr(message, field.name)):
                    setattr(message, field.name, translated_filter(self.index, text))
            elif kind == "map":
                for value in getattr(message, field.name).values():
                    self._walk(value, change, filters=filters)
            elif kind == "list":
                for value in getattr(message, field.name):
                    self._walk(value, change, filters=filters)
            elif message.HasField(field.name):
                self._walk(getattr(message, field.name), change, filters=filters)

    def _ways(self, descriptor: Any) -> tuple[tuple[FieldDescriptor, str], ...]:
        """The fields of a type that lead to what is changed here, and how to go through each."""
        known = self._fields.get(descriptor.full_name)
        if known is None:
            known = self._fields[descriptor.full_name] = tuple(
                (field, kind) for field in descriptor.fields if (kind := _kind(field))
            )
        return known

    def _blind_attributes(self, attributes: Any) -> None:
        for name in self.index.attributes & attributes.indexed_fields.keys():
            self._change(name, attributes.indexed_fields[name], self.index.blind, strict=True)

    def _reveal_attributes(self, attributes: Any) -> None:
        for name in self.index.attributes & attributes.indexed_fields.keys():
            self._change(name, attributes.indexed_fields[name], self.index.reveal, strict=False)

    def _change(
        self, name: str, payload: Payload, change: Callable[[str, str], str], *, strict: bool
    ) -> None:
        """Change one value, or each of a list. What is unset stays so."""
        if payload.metadata.get("encoding") == b"binary/null" or not payload.data:
            return
        value: Any = None
        if (
            payload.metadata.get("encoding") == b"json/plain"
            and payload.metadata.get("type", b"") in _KEYWORD_TYPES
        ):
            try:
                value = json.loads(payload.data)
            except (ValueError, RecursionError):
                value = 0
            if value is None:
                return
        changed: object
        if isinstance(value, str):
            changed = change(name, value)
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            changed = [change(name, one) for one in value]
        elif strict:
            raise BlindIndexError(
                f"The search attribute {name} is to be stored as a keyed hash (blind-index), and its value is no keyword and "
                "no list of keywords. Give it such a value, or take it from blind-index."
            )
        else:
            return
        payload.data = json.dumps(changed, ensure_ascii=False).encode()


_REACHES: dict[str, bool] = {}


def _kind(field: Any) -> str:
    if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and field.name in _FILTER_FIELDS:
        # A filter is a string field of a request; `query` is also a message (a workflow's query), which is none.
        return "filter" if field.containing_type.full_name.endswith("Request") else ""
    held = held_type(field)
    if held is None or not _reaches(held, set()):
        return ""
    if is_map(field):
        return "map"
    return "list" if field.is_repeated else "one"


def _reaches(descriptor: Any, on_the_way: set[str]) -> bool:
    """Whether messages of a type can hold search attributes or filters, at any depth."""
    name = descriptor.full_name
    if name == _ATTRIBUTES:
        return True
    if name in _REACHES:
        return _REACHES[name]
    if name in on_the_way:
        return False
    on_the_way.add(name)
    found = any(_leads(field, on_the_way) for field in descriptor.fields)
    # What was cut short by a cycle is not to be remembered as no, but for the type that began.
    if found or len(on_the_way) == 1:
        _REACHES[name] = found
    on_the_way.discard(name)
    return found


def _leads(field: Any, on_the_way: set[str]) -> bool:
    if field.type == FieldDescriptor.TYPE_STRING:
        return (
            field.name in _FILTER_FIELDS
            and not field.is_repeated
            and field.containing_type.full_name.endswith("Request")
        )
    held = held_type(field)
    return held is not None and _reaches(held, on_the_way)
