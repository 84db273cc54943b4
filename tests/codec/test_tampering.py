"""Some cases of each kind of tampering; `python -m tests.tampering` runs 100,000."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from codec import ChainCodec
from tests.tampering import (
    KINDS,
    Kind,
    WrongValueError,
    compression,
    examine,
    objects,
    payloads,
    refused,
)

CASES = 60


@pytest.mark.parametrize("name", KINDS)
def test_tampering_is_an_error(name: str) -> None:
    assert examine(KINDS[name], CASES, number=20_261_126).cases >= CASES


def test_what_is_taken_for_good_is_told() -> None:
    """The runner itself: a codec that lets one kind of damage through is found out."""

    def careless(data: st.DataObject) -> None:
        altered = data.draw(st.binary(max_size=10))
        refused(ChainCodec(), [Payload(data=altered)])

    with pytest.raises(WrongValueError, match="taken for good"):
        examine(Kind("careless", careless, 1), 10, number=1)

    def nothing(data: st.DataObject) -> None:
        data.draw(st.booleans())

    with pytest.raises(AssertionError, match="only 0 cases"):
        examine(Kind("nothing", nothing, 1), 10, number=1)


def test_every_module_of_kinds_is_here() -> None:
    assert {kind.case.__module__ for kind in KINDS.values()} == {
        module.__name__ for module in (compression, objects, payloads)
    }
