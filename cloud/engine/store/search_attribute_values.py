"""Search attributes: from the payloads a caller sends to the values that filters compare, and back for lists.

Payloads are ``json/plain``. A null or an empty list says that the attribute has no value; one value of a
scalar type may come as a list of one, which older SDKs send. The words of refusals are the server's of 1.32.

A value is indexed as: Keyword a string, KeywordList a list of strings, Text its folded words
(:func:`cloud.engine.store.visibility_values.words`), Datetime ns since 1970, the others as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store.visibility_attributes import (
    BOOL,
    DATETIME,
    DOUBLE,
    INT,
    KEYWORD,
    KEYWORD_LIST,
    PREDEFINED,
    SETTABLE,
    SYSTEM,
    TEXT,
    TYPE_NAMES,
    AttributeTypes,
)
from cloud.engine.store.visibility_values import INT64_MAX, INT64_MIN, storable, time_ns, well_formed, words


class Words(str):
    """The folded words of a text: searched for phrases, never compared as a whole."""

    __slots__ = ()


IndexedValue: TypeAlias = str | int | float | bool | list[str]

_JSON: Final = b"json/plain"
_NULL: Final = b"binary/null"
_SHOWN_MAX: Final = 100
"""Characters of a value that an error repeats."""
_DOUBLE_WHOLE_MAX: Final = 1e21
"""From here on a Double is written with an exponent, as Go's encoder does."""


class SearchAttributeError(ValueError):
    """Search attributes that a caller can't set; the message says which and why, in words for the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAttributeLimits:
    """Bounds of one set of search attributes, with the server's defaults
    (frontend.searchAttributes...Limit)."""

    keys: int = 100
    value_bytes: int = 2 * 1024
    total_bytes: int = 40 * 1024


DEFAULT_LIMITS: Final = SearchAttributeLimits()


def validate(
    attributes: SearchAttributes,
    custom: AttributeTypes,
    *,
    namespace: str,
    limits: SearchAttributeLimits = DEFAULT_LIMITS,
) -> None:
    """Check what a caller wants to set; `custom` are the types of the attributes that `namespace` defines.

    Raises:
        SearchAttributeError: an attribute is unknown or not the caller's to set, a value is not of its type,
            or a limit is passed. The caller of the API gets INVALID_ARGUMENT with its message.
    """
    given = attributes.indexed_fields
    if len(given) > limits.keys:
        raise SearchAttributeError(f"number of search attributes {len(given)} exceeds limit {limits.keys}")
    for name in sorted(given):
        _settable_type(name, custom, namespace)
    for name in sorted(given):
        kind, payload = _settable_type(name, custom, namespace), given[name]
        # Before it is parsed: a large value costs no more than its length.
        if len(payload.data) > limits.value_bytes:
            raise SearchAttributeError(
                f"search attribute {name} value size {len(payload.data)} exceeds size limit "
                f"{limits.value_bytes}"
            )
        try:
            _decode(payload, kind)
        except _ValueMismatchError as mismatch:
            raise SearchAttributeError(
                f"invalid value for search attribute {name} of type {TYPE_NAMES[kind]}: {mismatch.shown}"
            ) from None
    if attributes.ByteSize() > limits.total_bytes:
        raise SearchAttributeError(
            f"total size of search attributes {attributes.ByteSize()} exceeds size limit {limits.total_bytes}"
        )


def name_types(attributes: SearchAttributes, custom: AttributeTypes) -> None:
    """Put the type into the metadata of those valid attributes that came without."""
    for name, payload in attributes.indexed_fields.items():
        if "type" not in payload.metadata:
            payload.metadata["type"] = TYPE_NAMES[SETTABLE.get(name) or custom[name]].encode()


def indexed(attributes: SearchAttributes, custom: AttributeTypes) -> dict[str, IndexedValue] | None:
    """The values to filter by, for :class:`cloud.engine.store.visibility.VisibilityRow`; None when there are
    none.

    An attribute that is not defined (any more), or whose value is not of its type (any more), is left out: a
    run that exists must be listed whatever became of its namespace's definitions.
    """
    values = {
        name: _INDEX[kind](value) for name, (kind, value) in sorted(_readable(attributes, custom).items())
    }
    return values or None


def listed(attributes: SearchAttributes, custom: AttributeTypes) -> SearchAttributes | None:
    """The search attributes as lists send them: with their types in the metadata, without those that have no
    value.

    A list of one is sent as the value itself. None when there are none.
    """
    shown = {name: encode(value, kind) for name, (kind, value) in _readable(attributes, custom).items()}
    return SearchAttributes(indexed_fields=shown) if shown else None


def described(attributes: SearchAttributes, custom: AttributeTypes) -> SearchAttributes | None:
    """The search attributes as a description sends them: the payloads as set, types added, those without
    value gone."""
    shown: dict[str, Payload] = {}
    for name, (kind, _) in _readable(attributes, custom).items():
        payload = Payload()
        payload.CopyFrom(attributes.indexed_fields[name])
        if "type" not in payload.metadata:
            payload.metadata["type"] = TYPE_NAMES[kind].encode()
        shown[name] = payload
    return SearchAttributes(indexed_fields=shown) if shown else None


def encode(value: object, kind: IndexedValueType.ValueType) -> Payload:
    """`value` as a search attribute's payload, its type in the metadata."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _DOUBLE_WHOLE_MAX:
        value = int(value)
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return Payload(metadata={"encoding": _JSON, "type": TYPE_NAMES[kind].encode()}, data=data)


class _ValueMismatchError(Exception):
    """A payload that is not of its attribute's type; `shown` is as much of it as an error repeats."""

    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self.shown = shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}..."


def _settable_type(name: str, custom: AttributeTypes, namespace: str) -> IndexedValueType.ValueType:
    if name in SETTABLE:
        return SETTABLE[name]
    if name in SYSTEM or name in PREDEFINED:
        raise SearchAttributeError(f"{name} attribute can't be set in SearchAttributes")
    if name not in custom:
        raise SearchAttributeError(
            f"Namespace {namespace} has no mapping defined for search attribute {name}"
        )
    return custom[name]


def _readable(
    attributes: SearchAttributes, custom: AttributeTypes
) -> Mapping[str, tuple[IndexedValueType.ValueType, Any]]:
    found: dict[str, tuple[IndexedValueType.ValueType, Any]] = {}
    for name, payload in attributes.indexed_fields.items():
        kind = PREDEFINED.get(name, custom.get(name))
        if kind is None or name in SYSTEM:
            continue
        try:
            value = _decode(payload, kind)
        except _ValueMismatchError:
            continue
        if value is not None:
            found[name] = (kind, value)
    return found


def _decode(payload: Payload, kind: IndexedValueType.ValueType) -> Any:
    """The value of a payload, None if it says that there is none; a Datetime stays the text that it is."""
    encoding = payload.metadata.get("encoding", b"")
    if encoding == _NULL:
        return None
    if encoding != _JSON:
        raise _ValueMismatchError(
            f"the encoding must be json/plain, not {encoding.decode(errors='replace')!r}"
        )
    text = payload.data.decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _ValueMismatchError(f"{text[:_SHOWN_MAX]!r} is not JSON") from None
    if value is None or value == []:
        return None
    fits = _FITS[kind]
    if kind == KEYWORD_LIST:
        values = [("" if each is None else each) for each in value] if isinstance(value, list) else [value]
        if isinstance(value, list) and all(isinstance(each, str) for each in values):
            return [well_formed(each) for each in values]
    else:
        single = value[0] if isinstance(value, list) and len(value) == 1 else value
        if fits(single):
            return well_formed(single) if isinstance(single, str) else single
    raise _ValueMismatchError(value if isinstance(value, str) else text)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and INT64_MIN <= value <= INT64_MAX


def _is_double(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_FITS: Final[dict[int, Callable[[object], bool]]] = {
    KEYWORD: _is_text,
    KEYWORD_LIST: _is_text,
    TEXT: _is_text,
    INT: _is_int,
    DOUBLE: _is_double,
    BOOL: lambda value: isinstance(value, bool),
    DATETIME: lambda value: isinstance(value, str) and time_ns(value) is not None,
}
_INDEX: Final[dict[int, Callable[[Any], IndexedValue]]] = {
    KEYWORD: storable,
    KEYWORD_LIST: lambda value: [storable(each) for each in value],
    TEXT: lambda value: Words(words(value)),
    INT: int,
    DOUBLE: float,
    BOOL: bool,
    DATETIME: lambda value: time_ns(value) or 0,
}
