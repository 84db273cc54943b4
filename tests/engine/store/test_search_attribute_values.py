"""Search attributes as callers send them: what is taken, how it is indexed and shown, and the words of refusals.

The expectations marked by no comment are the answers of a server of 1.32 to the same payloads.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store.search_attribute_values import (
    SearchAttributeError,
    SearchAttributeLimits,
    described,
    encode,
    indexed,
    listed,
    validate,
)
from cloud.engine.store.visibility_values import INT64_MAX, INT64_MIN

TYPES = {
    "VisInt": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "VisDouble": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "VisBool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    "VisKeyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "VisTime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "VisWords": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "VisText": IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
}
HOUR_NS = 3600 * 10**9
NEW_YEAR_2026_NS = 1_767_225_600 * 10**9


def sent(
    name: str, data: bytes, encoding: bytes | None = b"json/plain", **metadata: bytes
) -> SearchAttributes:
    if encoding is not None:
        metadata["encoding"] = encoding
    return SearchAttributes(indexed_fields={name: Payload(metadata=metadata, data=data)})


@pytest.mark.parametrize(
    ("name", "data", "value", "shown"),
    [
        ("VisInt", b"1", 1, b"1"),
        ("VisInt", b" 1 ", 1, b"1"),
        ("VisInt", b"[1]", 1, b"1"),
        ("VisInt", b"-9223372036854775808", INT64_MIN, b"-9223372036854775808"),
        ("VisDouble", b"1", 1.0, b"1"),
        ("VisDouble", b"1.0", 1.0, b"1"),
        ("VisDouble", b"-2.25", -2.25, b"-2.25"),
        ("VisBool", b"true", True, b"true"),
        ("VisKeyword", b'"a"', "a", b'"a"'),
        ("VisKeyword", b'["a"]', "a", b'"a"'),
        ("VisKeyword", b'""', "", b'""'),
        ("VisKeyword", b'"\xff"', "\ufffd", '"\ufffd"'.encode()),
        ("VisKeyword", b'"\\ud800"', "\ufffd", '"\ufffd"'.encode()),
        ("VisKeyword", b'"a\\u0000b"', "a\ufffdb", b'"a\\u0000b"'),
        ("VisKeyword", '"ü☃𝄞"'.encode(), "ü☃𝄞", '"ü☃𝄞"'.encode()),
        ("VisTime", b'"2026-01-01T00:00:00Z"', NEW_YEAR_2026_NS, b'"2026-01-01T00:00:00Z"'),
        (
            "VisTime",
            b'"2026-01-01T00:00:00.123456789+02:00"',
            NEW_YEAR_2026_NS - 2 * HOUR_NS + 123_456_789,
            b'"2026-01-01T00:00:00.123456789+02:00"',
        ),
        ("VisTime", b'"9999-01-01T00:00:00Z"', INT64_MAX, b'"9999-01-01T00:00:00Z"'),
        ("VisTime", b'"0001-01-01T00:00:00Z"', INT64_MIN, b'"0001-01-01T00:00:00Z"'),
        ("VisWords", b'["a"]', ["a"], b'["a"]'),
        ("VisWords", b'["a","a"]', ["a", "a"], b'["a","a"]'),
        ("VisWords", b"[null]", [""], b'[""]'),
        ("VisText", b'"Some Text"', " some text ", b'"Some Text"'),
        ("BuildIds", b'["a"]', ["a"], b'["a"]'),
        ("BatcherUser", b'"a"', "a", b'"a"'),
        ("TemporalChangeVersion", b'["a"]', ["a"], b'["a"]'),
    ],
)
def test_values_are_taken(name: str, data: bytes, value: Any, shown: bytes) -> None:
    attributes = sent(name, data)
    validate(attributes, TYPES, namespace="n")
    found = indexed(attributes, TYPES)
    assert found == {name: value}
    assert found is not None
    assert isinstance(found[name], type(value))
    assert isinstance(found[name], bool) is isinstance(value, bool)
    in_list = listed(attributes, TYPES)
    assert in_list is not None
    assert in_list.indexed_fields[name].data == shown
    in_description = described(attributes, TYPES)
    assert in_description is not None
    assert in_description.indexed_fields[name].data == data
    for each in (in_list, in_description):
        assert each.indexed_fields[name].metadata["encoding"] == b"json/plain"
        assert each.indexed_fields[name].metadata["type"]


@pytest.mark.parametrize(
    ("data", "encoding"), [(b"null", b"json/plain"), (b"[]", b"json/plain"), (b"", b"binary/null")]
)
@pytest.mark.parametrize("name", sorted(TYPES))
def test_null_and_the_empty_list_are_no_value(name: str, data: bytes, encoding: bytes) -> None:
    attributes = sent(name, data, encoding)
    validate(attributes, TYPES, namespace="n")
    assert indexed(attributes, TYPES) is None
    assert listed(attributes, TYPES) is None
    assert described(attributes, TYPES) is None


def test_the_type_sent_along_is_not_believed() -> None:
    attributes = sent("VisInt", b"1", type=b"Keyword")
    validate(attributes, TYPES, namespace="n")
    in_list, in_description = listed(attributes, TYPES), described(attributes, TYPES)
    assert in_list is not None
    assert in_list.indexed_fields["VisInt"].metadata["type"] == b"Int"
    assert in_description is not None
    assert in_description.indexed_fields["VisInt"].metadata["type"] == b"Keyword"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("VisInt", b"[1,2]", "invalid value for search attribute VisInt of type Int: [1,2]"),
        ("VisInt", b"1.5", "invalid value for search attribute VisInt of type Int: 1.5"),
        ("VisInt", b"1.0", "invalid value for search attribute VisInt of type Int: 1"),
        ("VisInt", b"1e3", "invalid value for search attribute VisInt of type Int: 1e3"),
        ("VisInt", b'"1"', "invalid value for search attribute VisInt of type Int: "),
        ("VisInt", b"true", "invalid value for search attribute VisInt of type Int: true"),
        ("VisInt", b"99999999999999999999", "invalid value for search attribute VisInt of type Int: 9"),
        ("VisInt", b"{}", "invalid value for search attribute VisInt of type Int: "),
        ("VisInt", b"x", "invalid value for search attribute VisInt of type Int: "),
        ("VisInt", b"", "invalid value for search attribute VisInt of type Int: "),
        ("VisDouble", b"1e400", "invalid value for search attribute VisDouble of type Double: "),
        ("VisDouble", b"NaN", "invalid value for search attribute VisDouble of type Double: "),
        ("VisDouble", b"-Infinity", "invalid value for search attribute VisDouble of type Double: "),
        ("VisDouble", b"9" * 400, "invalid value for search attribute VisDouble of type Double: "),
        ("VisDouble", b"true", "invalid value for search attribute VisDouble of type Double: true"),
        ("VisBool", b"1", "invalid value for search attribute VisBool of type Bool: 1"),
        ("VisBool", b'"true"', "invalid value for search attribute VisBool of type Bool: "),
        ("VisKeyword", b'["a","b"]', "invalid value for search attribute VisKeyword of type Keyword: "),
        ("VisKeyword", b"5", "invalid value for search attribute VisKeyword of type Keyword: 5"),
        ("VisKeyword", b"[" * 2_000, "invalid value for search attribute VisKeyword of type Keyword: "),
        ("VisTime", b'"2026-01-01"', "invalid value for search attribute VisTime of type Datetime: "),
        (
            "VisTime",
            b'"2026-01-01T00:00:00"',
            "invalid value for search attribute VisTime of type Datetime: ",
        ),
        ("VisTime", b"5", "invalid value for search attribute VisTime of type Datetime: 5"),
        ("VisWords", b'"a"', "invalid value for search attribute VisWords of type KeywordList: "),
        ("VisWords", b"[1]", "invalid value for search attribute VisWords of type KeywordList: [1]"),
        ("VisWords", b'{"a":1}', "invalid value for search attribute VisWords of type KeywordList: "),
        ("VisText", b'[["a"]]', "invalid value for search attribute VisText of type Text: "),
        ("Unknown", b"1", "Namespace n has no mapping defined for search attribute Unknown"),
        ("", b"1", "Namespace n has no mapping defined for search attribute "),
        ("TemporalFoo", b"1", "Namespace n has no mapping defined for search attribute TemporalFoo"),
        ("WorkflowId", b'"a"', "WorkflowId attribute can't be set in SearchAttributes"),
        ("ExecutionStatus", b'"a"', "ExecutionStatus attribute can't be set in SearchAttributes"),
        (
            "TemporalWorkerDeployment",
            b'"a"',
            "TemporalWorkerDeployment attribute can't be set in SearchAttributes",
        ),
        (
            "VisKeyword",
            b'"' + b"a" * 2047 + b'"',
            "search attribute VisKeyword value size 2049 exceeds size limit 2048",
        ),
    ],
)
def test_refusals(name: str, data: bytes, message: str) -> None:
    attributes = sent(name, data)
    with pytest.raises(SearchAttributeError) as caught:
        validate(attributes, TYPES, namespace="n")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("encoding", [b"binary/plain", b"json/protobuf", b"binary/encrypted", b"\xff", None])
def test_only_json_is_read(encoding: bytes | None) -> None:
    with pytest.raises(SearchAttributeError, match="the encoding must be json/plain"):
        validate(sent("VisInt", b"1", encoding), TYPES, namespace="n")


def test_limits() -> None:
    one = Payload(metadata={"encoding": b"json/plain"}, data=b"1")
    limits = SearchAttributeLimits(keys=2, value_bytes=10, total_bytes=100)
    names = {f"K{number}": IndexedValueType.INDEXED_VALUE_TYPE_INT for number in range(3)}
    with pytest.raises(SearchAttributeError, match="number of search attributes 3 exceeds limit 2"):
        validate(
            SearchAttributes(indexed_fields=dict.fromkeys(names, one)), names, namespace="n", limits=limits
        )
    two = SearchAttributes(indexed_fields={"K0": one, "K1": one})
    validate(two, names, namespace="n", limits=limits)
    bound = SearchAttributeLimits(keys=2, value_bytes=10, total_bytes=two.ByteSize() - 1)
    with pytest.raises(SearchAttributeError, match=r"total size of search attributes .* exceeds size limit"):
        validate(two, names, namespace="n", limits=bound)


def test_what_is_not_defined_any_more_is_passed_over_in_lists() -> None:
    attributes = SearchAttributes(
        indexed_fields={
            "Gone": encode("a", TYPES["VisKeyword"]),
            "VisInt": encode("retyped", TYPES["VisKeyword"]),
            "VisKeyword": encode("kept", TYPES["VisKeyword"]),
            "TemporalWorkerDeployment": encode("d", TYPES["VisKeyword"]),
            "WorkflowId": encode("x", TYPES["VisKeyword"]),
        }
    )
    assert indexed(attributes, TYPES) == {"TemporalWorkerDeployment": "d", "VisKeyword": "kept"}
    shown = listed(attributes, TYPES)
    assert shown is not None
    assert set(shown.indexed_fields) == {"TemporalWorkerDeployment", "VisKeyword"}


@given(
    st.sampled_from(sorted(TYPES)),
    st.binary(max_size=40) | st.text(max_size=20).map(lambda t: json.dumps(t).encode()),
)
def test_whatever_is_sent_is_taken_or_refused(name: str, data: bytes) -> None:
    """And what is taken can be stored as JSON without NUL, in UTF-8."""
    attributes = sent(name, data)
    try:
        validate(attributes, TYPES, namespace="n")
    except SearchAttributeError:
        assert indexed(attributes, TYPES) is None
        return
    stored = json.dumps(indexed(attributes, TYPES), ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in stored
    stored.encode()
