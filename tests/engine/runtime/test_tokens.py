"""Tokens: a tenant can neither forge nor move one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.engine.runtime.tokens import ACTIVITY_TASK, WORKFLOW_TASK, BadToken, Tokens, WorkflowTaskToken

TOKENS = Tokens(b"k" * 32)
CONTENT = WorkflowTaskToken("run", "wf", 2, 3, 1, 7)
TOKEN = TOKENS.make(WORKFLOW_TASK, "ns", CONTENT)


def test_comes_back_as_it_went() -> None:
    assert TOKENS.read(TOKEN, WORKFLOW_TASK, "ns", WorkflowTaskToken) == CONTENT


@pytest.mark.parametrize(
    ("tokens", "token", "kind", "namespace"),
    [
        pytest.param(TOKENS, TOKEN, WORKFLOW_TASK, "other", id="another namespace"),
        pytest.param(TOKENS, TOKEN, ACTIVITY_TASK, "ns", id="another use"),
        pytest.param(Tokens(b"x" * 32), TOKEN, WORKFLOW_TASK, "ns", id="another key"),
        pytest.param(TOKENS, b"", WORKFLOW_TASK, "ns", id="empty"),
        pytest.param(TOKENS, TOKEN[:-1], WORKFLOW_TASK, "ns", id="cut"),
        pytest.param(TOKENS, TOKEN + b"x", WORKFLOW_TASK, "ns", id="longer"),
        pytest.param(TOKENS, b"\x02" + TOKEN[1:], WORKFLOW_TASK, "ns", id="another form"),
    ],
)
def test_refused(tokens: Tokens, token: bytes, kind: int, namespace: str) -> None:
    with pytest.raises(BadToken):
        tokens.read(token, kind, namespace, WorkflowTaskToken)


@given(st.integers(0, len(TOKEN) * 8 - 1))
def test_any_flipped_bit_is_seen(bit: int) -> None:
    changed = bytearray(TOKEN)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadToken):
        TOKENS.read(bytes(changed), WORKFLOW_TASK, "ns", WorkflowTaskToken)


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(BadToken):
        TOKENS.read(data, WORKFLOW_TASK, "ns", WorkflowTaskToken)


def test_the_key_is_not_shown() -> None:
    assert "kkk" not in repr(TOKENS)
