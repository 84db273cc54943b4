"""Tells a completion to a callback, whoever it is of. One of this very cell is no call: who waits knows it in the same batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from temporalio.api.common.v1 import Callback

from cloud.engine.runtime.nexus_breakers import TooManyCalls
from cloud.engine.runtime.nexus_completions import (
    CALLBACK_TOKEN_HEADER,
    Completion,
    CompletionRefused,
    NexusCompletions,
)
from cloud.engine.runtime.runtime import Runtime

SYSTEM_CALLBACK = "temporal://system"
"""The URL of callbacks that stay in the cell."""


class CallFailed(Exception):
    """A callback did not take its completion. `retryable`: it may the next time."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class CallbackCaller(Protocol):
    """Tells completions to services behind URLs."""

    async def complete(
        self, url: str, header: dict[str, str], completion: Completion, closed_at: int
    ) -> None:
        """Call `url`.

        Raises:
            CallFailed: it did not take the completion.
        """


class CallbackDelivery:
    """See the module's head."""

    def __init__(
        self, runtime: Runtime, completions: NexusCompletions, caller: CallbackCaller | None
    ) -> None:
        self._runtime = runtime
        self._completions = completions
        self._caller = caller

    async def deliver(
        self,
        namespace_id: str,
        callback: Callback,
        completion: Completion,
        closed_at: int,
        wanted: Callable[[], bool],
    ) -> None:
        """Tell `callback` of a namespace what ended at `closed_at` (ns). Of one in this cell nothing is awaited after it was told.

        Nothing is told if it is not `wanted` by then: who tells it left memory.

        Raises:
            CallFailed: it did not take it.
            Unflushed: who waits left memory.
        """
        if callback.nexus.url != SYSTEM_CALLBACK:
            await self._call(namespace_id, callback, completion, closed_at)
            return
        try:
            waiting = await self._completions.find(callback.nexus.header.get(CALLBACK_TOKEN_HEADER, ""))
            if wanted():
                waiting.complete(completion)
        except CompletionRefused as error:
            raise CallFailed(f"handler error ({error.kind}): {error}", retryable=False) from error

    async def _call(
        self, namespace_id: str, callback: Callback, completion: Completion, closed_at: int
    ) -> None:
        nexus = callback.nexus
        if self._caller is None or not nexus.url:
            raise CallFailed("this cell calls no callbacks outside itself", retryable=False)
        breakers, destination = self._runtime.nexus_breakers, (namespace_id, nexus.url)
        try:
            with breakers.counted(destination):
                await breakers.passed(destination)
                try:
                    await self._caller.complete(nexus.url, dict(nexus.header), completion, closed_at)
                except CallFailed as error:
                    breakers.note(destination, down=error.retryable)
                    raise
                except BaseException:
                    breakers.abandon(destination)
                    raise
                breakers.note(destination, down=False)
        except TooManyCalls as error:
            raise CallFailed(str(error), retryable=True) from None
