"""Keyed hashes of search attributes, filters over them, and the messages that hold both."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    QueryWorkflowRequest,
    StartBatchOperationRequest,
    StartWorkflowExecutionRequest,
)

from codec import FixedKeys, Key, KeyMaterial, KeyRing, KeyState
from codec.blind_index import BlindIndex, BlindIndexError, IndexedMessages, translated_filter
from codec.blind_index.index import HASH_MARK, MARK, REVERSIBLE_BYTES_MAX

RING = KeyRing.create("orders.acme", key_id="k1")


def index(ring: KeyRing = RING, *names: str, binding: str | None = None) -> BlindIndex:
    return BlindIndex(FixedKeys(ring), names or ("CustomerId", "Tags"), binding=binding)


class TestValues:
    @given(st.text(max_size=300))
    def test_come_back_or_are_found(self, value: str) -> None:
        blind = index()
        stored = blind.blind("CustomerId", value)
        assert len(stored) <= 255
        assert stored.isascii()
        assert blind.blind("CustomerId", value) == stored
        assert blind.candidates("CustomerId", value) == [stored]
        assert blind.is_stored("CustomerId", stored)
        # Storing again what is stored changes nothing.
        assert blind.blind("CustomerId", stored) == stored
        if len(value.encode()) <= REVERSIBLE_BYTES_MAX:
            assert stored.startswith(MARK)
            assert blind.reveal("CustomerId", stored) == value
        else:
            assert stored.startswith(HASH_MARK)
            assert blind.reveal("CustomerId", stored) == stored

    def test_look_different_elsewhere(self) -> None:
        value = "customer-1"
        seen = {
            index().blind("CustomerId", value),
            index().blind("Tags", value),
            index(binding="other").blind("CustomerId", value),
            index(KeyRing.create("orders.acme")).blind("CustomerId", value),
        }
        assert len(seen) == 4
        assert not any(value in one for one in seen)
        # The same key under another namespace, or attribute, opens nothing.
        stored = index().blind("CustomerId", value)
        assert index(binding="other").reveal("CustomerId", stored) == stored
        assert index().reveal("Tags", stored) == stored

    def test_lengths_show_in_steps_of_sixteen(self) -> None:
        lengths = {len(index().blind("CustomerId", "x" * size)) for size in range(16)}
        assert len(lengths) == 1
        assert len(index().blind("CustomerId", "x" * 16)) > lengths.pop()

    def test_are_found_after_a_rotation_and_read(self) -> None:
        before = index().blind("CustomerId", "customer-1")
        rotated = RING.rotated(key_id="k2")
        after = index(rotated)
        assert after.blind("CustomerId", "customer-1") != before
        assert after.candidates("CustomerId", "customer-1") == [
            after.blind("CustomerId", "customer-1"),
            before,
        ]
        assert after.reveal("CustomerId", before) == "customer-1"
        gone = index(rotated.disabled("k1"))
        assert gone.candidates("CustomerId", "customer-1") == [after.blind("CustomerId", "customer-1")]
        assert gone.reveal("CustomerId", before) == before

    @given(st.text(max_size=80), st.integers(0, 400), st.integers(1, 255))
    def test_altered_ones_are_shown_as_they_are(self, value: str, at: int, change: int) -> None:
        blind = index()
        stored = bytearray(blind.blind("CustomerId", value).encode())
        at %= len(stored)
        stored[at] = 33 + (stored[at] + change) % 90
        altered = stored.decode()
        assert blind.reveal("CustomerId", altered) in (altered, value)
        for noise in (MARK, MARK + "AAAA", HASH_MARK, MARK + "é", MARK + "A" * 1000):
            assert blind.reveal("CustomerId", noise) == noise

    def test_known_ones_stay_as_they_were(self) -> None:
        """What is stored must be found by every later version."""
        key = Key(
            id="k",
            state=KeyState.ACTIVE,
            created=datetime(2026, 1, 1, tzinfo=UTC),
            material=KeyMaterial(bytes(range(32))),
        )
        blind = index(KeyRing(binding="orders.acme", keys=(key,)))
        assert blind.blind("CustomerId", "customer-1") == KNOWN
        assert blind.blind("CustomerId", "x" * 144) == KNOWN_HASH

    def test_names(self) -> None:
        for bad in ("", "a b", "WorkflowId", "TemporalPaused", "x" * 200):
            with pytest.raises(BlindIndexError, match="blind-index"):
                index(RING, bad)
        with pytest.raises(BlindIndexError, match="70000 bytes"):
            index().blind("CustomerId", "x" * 70_000)
        assert "customer" not in repr(index()).lower().replace("customerid", "")


KNOWN = "tacit-index-1:BAuzRVTothnmDCdQbRTfen8g3P1-ydWPTlBoZclZP9ErYI8"
KNOWN_HASH = "tacit-hash-1:BAuzTmbslBknxh4Wm1cPl4ov6R2_BsLAkXh19C78E7bmMzA"


class TestFilters:
    def one(self, value: str, name: str = "CustomerId") -> str:
        return f"'{index().blind(name, value)}'"

    def test_conditions_are_translated_and_the_rest_stays(self) -> None:
        a, b = self.one("a"), self.one("b")
        for written, wanted in {
            "CustomerId = 'a'": f"CustomerId = {a}",
            'CustomerId="a"': f"CustomerId = {a}",
            "`CustomerId` != 'a'": f"`CustomerId` != {a}",
            "CustomerId <> 'a'": f"CustomerId != {a}",
            "CustomerId IN ('a', \"b\")": f"CustomerId IN ({a}, {b})",
            "CustomerId not in ('a')": f"CustomerId NOT IN ({a})",
            "CustomerId IS NULL": "CustomerId IS NULL",
            "CustomerId is not null AND X=1": "CustomerId is not null AND X=1",
            "(WorkflowType='x' OR  CustomerId = 'a') AND Tags IN ('b') ORDER BY StartTime DESC": (
                f"(WorkflowType='x' OR  CustomerId = {a}) AND Tags IN ({self.one('b', 'Tags')}) ORDER BY StartTime DESC"
            ),
            "WorkflowId = 'CustomerId = x' AND StartTime > '2026'": "WorkflowId = 'CustomerId = x' AND StartTime > '2026'",
            "WorkflowType = 'it''s' AND CustomerId = 'a'": f"WorkflowType = 'it''s' AND CustomerId = {a}",
            "CustomerIdOther = 'a'": "CustomerIdOther = 'a'",
            "": "",
            "StartTime < '2026-01-01' AND X BETWEEN 1 AND 2": "StartTime < '2026-01-01' AND X BETWEEN 1 AND 2",
        }.items():
            assert translated_filter(index(), written) == wanted

    def test_values_are_read_as_the_service_reads_them(self) -> None:
        for written, value in (
            ("'it''s'", "it's"),
            ('"say ""hi"""', 'say "hi"'),
            (r"'it\'s'", "it's"),
            (r"'a\\b'", "a\\b"),
            ("''", ""),
            ("'Grüße'", "Grüße"),
        ):
            assert translated_filter(index(), f"CustomerId = {written}") == f"CustomerId = {self.one(value)}"

    def test_under_several_keys(self) -> None:
        blind = index(RING.rotated())
        a = ", ".join(f"'{one}'" for one in blind.candidates("CustomerId", "a"))
        assert translated_filter(blind, "CustomerId = 'a'") == f"CustomerId IN ({a})"
        assert translated_filter(blind, "CustomerId != 'a'") == f"CustomerId NOT IN ({a})"

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ("CustomerId < 'a'", "with <"),
            ("CustomerId >= 'a'", "with >="),
            ("CustomerId BETWEEN 'a' AND 'b'", "with BETWEEN"),
            ("CustomerId NOT BETWEEN 'a' AND 'b'", "with NOT BETWEEN"),
            ("CustomerId STARTS_WITH 'a'", "with STARTS_WITH"),
            ("CustomerId LIKE 'a%'", "with LIKE"),
            ("CustomerId = 5", "behind its = is no text in quotes"),
            ("CustomerId = other", "behind its = is no text in quotes"),
            ("CustomerId != ", "behind its != is missing"),
            ("X = 1 ORDER BY CustomerId DESC", "with DESC"),
            ("X = 1 GROUP BY CustomerId", "there"),
            ("'a' = CustomerId", "there"),
            ("CustomerId IN 'a'", "no list"),
            ("CustomerId IN ('a' 'b')", "no list"),
            ("CustomerId IN ('a',", "no list"),
            ("CustomerId IN ()", "no list"),
            ("CustomerId IN (5)", "no list"),
            ("CustomerId", "there"),
            ("CustomerId = 'secret", "behind its = is no text in quotes"),
        ],
    )
    def test_what_hashes_cannot_tell_is_refused(self, written: str, said: str) -> None:
        with pytest.raises(BlindIndexError, match="CustomerId is stored as keyed hashes") as caught:
            translated_filter(index(), written)
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)

    @given(st.text(alphabet="CustomerId='\"`\\()INot,x <>!AND", max_size=60))
    def test_anything_is_translated_or_refused(self, query: str) -> None:
        with contextlib.suppress(BlindIndexError):
            assert isinstance(translated_filter(index(), query), str)


def attribute(value: object, kind: str = "Keyword") -> Payload:
    return Payload(
        metadata={"encoding": b"json/plain", "type": kind.encode()}, data=json.dumps(value).encode()
    )


class TestMessages:
    def test_requests_are_blinded_and_answers_revealed(self) -> None:
        messages = IndexedMessages(index())
        request = StartWorkflowExecutionRequest()
        fields = request.search_attributes.indexed_fields
        fields["CustomerId"].CopyFrom(attribute("c1"))
        fields["Tags"].CopyFrom(attribute(["a", "b"], "KeywordList"))
        fields["Other"].CopyFrom(attribute("c1"))
        messages.blind(request)
        assert json.loads(fields["CustomerId"].data) == index().blind("CustomerId", "c1")
        assert json.loads(fields["Tags"].data) == [index().blind("Tags", one) for one in ("a", "b")]
        assert fields["Other"].data == b'"c1"'
        answer = ListWorkflowExecutionsResponse()
        answer.executions.add().search_attributes.CopyFrom(request.search_attributes)
        messages.reveal(answer)
        shown = answer.executions[0].search_attributes.indexed_fields
        assert (shown["CustomerId"].data, shown["Tags"].data) == (b'"c1"', b'["a", "b"]')

    def test_filters_of_requests_and_no_other_queries(self) -> None:
        messages = IndexedMessages(index())
        request = ListWorkflowExecutionsRequest(query="CustomerId = 'c1'")
        batch = StartBatchOperationRequest(visibility_query="CustomerId = 'c1'")
        for one in (request, batch):
            messages.blind(one)
        wanted = f"CustomerId = '{index().blind('CustomerId', 'c1')}'"
        assert (request.query, batch.visibility_query) == (wanted, wanted)
        query = QueryWorkflowRequest()
        query.query.query_type = "CustomerId = 'c1'"
        messages.blind(query)
        assert query.query.query_type == "CustomerId = 'c1'"

    def test_events(self) -> None:
        event = HistoryEvent()
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        fields["CustomerId"].CopyFrom(
            attribute(index().blind("CustomerId", "c1"), "INDEXED_VALUE_TYPE_KEYWORD")
        )
        IndexedMessages(index()).reveal(event)
        assert fields["CustomerId"].data == b'"c1"'

    def test_unset_values_stay_and_other_types_are_refused(self) -> None:
        messages = IndexedMessages(index())
        for unset in (
            Payload(metadata={"encoding": b"binary/null"}),
            attribute(None),
            attribute([], "KeywordList"),
        ):
            attributes = SearchAttributes(indexed_fields={"CustomerId": unset})
            messages.blind(attributes)
            assert json.loads(attributes.indexed_fields["CustomerId"].data or b"null") in (None, [])
        for bad in (
            attribute(5, "Int"),
            attribute("words", "Text"),
            attribute([1], "KeywordList"),
            Payload(data=b"x"),
        ):
            attributes = SearchAttributes(indexed_fields={"CustomerId": bad})
            with pytest.raises(BlindIndexError, match="no keyword"):
                messages.blind(attributes)
            messages.reveal(attributes)
