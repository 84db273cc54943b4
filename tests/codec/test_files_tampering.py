"""Nothing that is done to a file in the store, or to its handle, is taken for its content.

TACIT_FILE_TAMPERINGS is how many cases are tried (300).
"""

from __future__ import annotations

import asyncio
import os

from hypothesis import HealthCheck, given, settings

from codec import CodecError
from tests.codec.files_tampering import CONTENT, OLDER, Tampering, outcome, tamperings, world

CASES = int(os.environ.get("TACIT_FILE_TAMPERINGS", "300"))


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(tampering=tamperings())
def test_every_tampering_is_an_error(tampering: Tampering) -> None:
    found = asyncio.run(outcome(tampering))
    assert isinstance(found, CodecError), f"{tampering.kind}: content was taken in"
    # One sentence, and nothing of the content in it.
    assert "\n" not in str(found)


def test_without_any_it_is_read() -> None:
    honest = world()
    for handle, content in (
        (honest.victim, CONTENT),
        (honest.older, OLDER),
        (honest.others[1], CONTENT[::-1]),
    ):
        assert asyncio.run(outcome(Tampering("none", honest.objects, handle, honest.ring))) == content
