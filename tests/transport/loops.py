"""The transport runs on uvloop in the servers and on asyncio's own loop in programs that embed one: both are tested.

Imported by the modules whose tests use a loop; the others need to run only once.
"""

from __future__ import annotations

import asyncio

import pytest
import uvloop


@pytest.fixture(
    scope="module",
    params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy],
    ids=["asyncio", "uvloop"],
)
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """The loop of each test."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy
